"""`python -m spacy reprtune sweep` and `learning-curve`: trainings that answer a question."""

from pathlib import Path
from typing import Callable, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, REPLACE, USE_GPU, config_overrides, experiment_config


def sweep_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(..., help="Training config", exists=True, dir_okay=False),
    unfreeze: str = typer.Option(
        "none,1,2,4,all", "--unfreeze", "-u", help="Points: none, all, or numbers of last blocks"
    ),
    seeds: int = typer.Option(3, "--seeds", "-s", help="Trainings per point", min=1),
    output: Path = typer.Option(
        Path("metrics/sweep.json"), "--output", "-o", help="JSON file for the results"
    ),
    plot: Optional[Path] = typer.Option(
        None, "--plot", "-p", help="Picture: .png, .svg or .pdf  [default: beside the JSON file]"
    ),
    replace: bool = REPLACE,
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Find out how many blocks of the encoder have to train.

    Trains the config with more and more trainable blocks, and reports how many are enough. All
    trainings share one cache of what the frozen blocks compute, so the whole sweep costs about as
    much as half as many full trainings. Each result is saved as soon as it is known, and after an
    interruption, the same command resumes. Settings of the config can be overridden as with
    `spacy train`, for example --paths.train FILE.
    """
    from ..training import sweep as sweeping

    config, _ = experiment_config(ctx, config_path, code_path, use_gpu)
    try:
        points = sweeping.parse_points(unfreeze)
        runs = sweeping.sweep(
            config, points, seeds, output, replace=replace, use_gpu=use_gpu, progress=True
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot sweep", str(error), exits=1)
    summary = sweeping.summarize(runs)
    smallest, best = sweeping.smallest_good_point(summary)
    rows = [
        (p.unfreeze, f"{p.mean:.4f}", f"{p.std:.4f}", f"{p.seconds:.0f}", str(p.n_runs))
        for p in summary
    ]
    header = ("trainable blocks", "score", "std", "seconds", "runs")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    msg.info(f"Best mean score: unfreeze = {best.unfreeze}")
    if seeds == 1:
        msg.warn("One seed has no spread, so a smaller point has to be as good as the best.")
    msg.good(f"Fewest blocks within one standard error of the best: unfreeze = {smallest.unfreeze}")

    def draw(path: Path) -> None:
        from ..reporting.experiment_plots import draw_sweep, save_figure

        figure = draw_sweep(summary, smallest)
        save_figure(figure, path, title=f"{config_path.name}, {seeds} seed(s) per point")

    _save_picture(draw, plot, output)


def learning_curve_cli(
    ctx: typer.Context,
    setfit_path: Path = typer.Argument(
        ..., help="Config with a reprtune_setfit", exists=True, dir_okay=False
    ),
    joint_path: Path = typer.Argument(
        ..., help="Config of joint training", exists=True, dir_okay=False
    ),
    per_class: str = typer.Option(
        "1,2,4,8,16,32,64", "--per-class", "-n", help="Texts per label, with commas between them"
    ),
    seeds: int = typer.Option(3, "--seeds", "-s", help="Samples and trainings per size", min=1),
    setfit_steps: Optional[int] = typer.Option(
        None, help="Steps of SetFit  [default: max_steps of its config]", min=1
    ),
    joint_steps: Optional[int] = typer.Option(
        None, help="Steps of joint training  [default: max_steps of its config]", min=1
    ),
    output: Path = typer.Option(
        Path("metrics/learning-curve.json"), "--output", "-o", help="JSON file for the results"
    ),
    plot: Optional[Path] = typer.Option(
        None, "--plot", "-p", help="Picture: .png, .svg or .pdf  [default: beside the JSON file]"
    ),
    use_gpu: int = USE_GPU,
) -> None:
    """
    Find out what more annotated texts would gain.

    Compares the linear probe, SetFit and joint training on more and more texts per label. Each
    result is saved as soon as it is known, and after an interruption, the same command resumes.
    Settings that both configs have can be overridden as with `spacy train`, for example
    --paths.train FILE.
    """
    from spacy.cli._util import setup_gpu, show_validation_error
    from spacy.util import load_config

    from ..training import learning_curve as curve

    overrides = config_overrides(ctx)
    setup_gpu(use_gpu)
    configs = []
    for path, steps in ((setfit_path, setfit_steps), (joint_path, joint_steps)):
        own = overrides if steps is None else {**overrides, "training.max_steps": steps}
        with show_validation_error(path):
            configs.append(load_config(path, overrides=own, interpolate=False))
    try:
        sizes = curve.parse_sizes(per_class)
        results = curve.learning_curve(
            *configs, sizes, seeds, output, use_gpu=use_gpu, progress=True
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot draw a learning curve", str(error), exits=1)
    points = curve.summarize(results)
    rows = [
        (p["recipe"], str(p["per_class"]), f"{p['mean']:.4f}", f"{p['std']:.4f}", str(p["n"]))
        for p in points
    ]
    header = ("recipe", "texts per label", "score", "std", "seeds")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))

    def draw(path: Path) -> None:
        from ..reporting.experiment_plots import draw_learning_curve, save_figure

        save_figure(draw_learning_curve(points), path, title=f"{seeds} seed(s) per size")

    _save_picture(draw, plot, output)


def _save_picture(draw: Callable[[Path], None], path: Optional[Path], results: Path) -> None:
    path = path or results.with_suffix(".png")
    try:
        draw(path)
    except ImportError:
        msg.warn("No picture: it needs matplotlib (pip install matplotlib).", f"Saved {results}.")
    except (ValueError, OSError) as error:
        msg.warn(f"No picture: {error}", f"Saved {results}.")
    else:
        msg.good(f"Saved {results} and {path}")
