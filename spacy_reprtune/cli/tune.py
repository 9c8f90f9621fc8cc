"""`python -m spacy reprtune tune`: search for the settings with the best score on dev."""

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, REPLACE, USE_GPU, experiment_config

if TYPE_CHECKING:
    from thinc.api import Config


def tune_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(
        ..., help="Training config with a section [tune.space]", exists=True, dir_okay=False
    ),
    minutes: float = typer.Option(..., "--minutes", "-m", help="Time for the search", min=0.0),
    best: Optional[Path] = typer.Option(
        None, "--best", "-b", help="File for the best config  [default: CONFIG-tuned.cfg]"
    ),
    output: Path = typer.Option(
        Path("metrics/tune.json"), "--output", "-o", help="JSON file for the results"
    ),
    replace: bool = REPLACE,
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Search for the settings with the best score on dev.

    The section [tune.space] of the config has lists of values by the dotted names of settings. As
    many combinations as fit into the time, those that change the fewest settings first, train for a
    ninth of the steps, the best of them for a third, and the best of those for all. All share one
    cache of what frozen blocks compute. Each result is saved as soon as it is known, and after an
    interruption, the same command resumes. Settings of the config can be overridden as with `spacy
    train`, for example --paths.train FILE.
    """
    from ..data.recipes import set_value
    from ..training import tune as tuning
    from ..training.full_config import full_config

    config, overrides = experiment_config(ctx, config_path, code_path, use_gpu)
    try:
        trials = tuning.tune(
            config, minutes, output, replace=replace, use_gpu=use_gpu, progress=True
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot tune", str(error), exits=1)
    rows = [
        (
            "\n".join(f"{n} = {v}" for n, v in trial.settings.items()) or "(the config itself)",
            str(trial.steps),
            f"{trial.score:.4f}",
            f"{trial.seconds:.0f}",
        )
        for trial in trials
    ]
    header = ("settings", "steps", "score", "seconds")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r"), multiline=True)
    changed = tuning.with_settings(full_config(config), trials[0].settings)
    text = config_path.read_text(encoding="utf8")
    for name, value in {**overrides, **trials[0].settings}.items():
        section, _, key = name.rpartition(".")
        text = set_value(text, section, key, value)
    if not _reads_as(text, changed):
        # A section that the file leaves to the defaults, or writes in one line, can't be added to.
        text = changed.to_str(interpolate=False)
    best = best or config_path.with_name(f"{config_path.stem}-tuned.cfg")
    best.parent.mkdir(parents=True, exist_ok=True)
    best.write_text(text, encoding="utf8")
    if trials[0].settings:
        msg.info(
            "The best of several looks better than it is: compare it with your config on a test set"
        )
    msg.good(f"Saved {best} and {output}")


def _reads_as(text: str, expected: "Config") -> bool:
    """RETURNS (bool): Whether a config, with all defaults filled in, is the expected one."""
    from thinc.api import Config

    from ..training.full_config import full_config
    from ..training.tune import with_settings

    try:
        written = full_config(Config().from_str(text, interpolate=False))
    except ValueError:
        return False
    return with_settings(written, {}) == expected
