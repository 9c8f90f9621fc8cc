"""`python -m spacy reprtune sweep`: how many blocks have to train."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def sweep_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(..., help="Training config", exists=True, dir_okay=False),
    unfreeze: str = typer.Option(
        "none,1,2,4,all", "--unfreeze", "-u", help="Points: none, all, or numbers of last blocks"
    ),
    seeds: int = typer.Option(3, "--seeds", "-s", help="Trainings a point", min=1),
    output: Path = typer.Option(
        Path("metrics/sweep.json"), "--output", "-o", help="JSON file for the results"
    ),
    plot: Optional[Path] = typer.Option(
        None, "--plot", "-p", help="Picture: .png, .svg or .pdf  [default: beside the JSON file]"
    ),
    replace: bool = typer.Option(
        False, "--replace", help="Replace the results of another config or other data"
    ),
    code_path: Optional[Path] = typer.Option(
        None, "--code", "-c", help="Python file with registered functions to import"
    ),
    use_gpu: int = typer.Option(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU"),
) -> None:
    """
    Find out how many blocks of the encoder have to train.

    Trains the config with more and more trainable blocks, and says how many are enough. All
    trainings share one cache of what the frozen blocks give, so the whole sweep costs about as much
    as half as many full trainings. Each result is saved as soon as it is there: the same command
    goes on where it was stopped. Settings of the config can be overridden as with `spacy train`,
    for example --paths.train FILE.
    """
    from spacy.cli._util import (
        import_code,
        parse_config_overrides,
        setup_gpu,
        show_validation_error,
    )
    from spacy.util import load_config

    from ..training import sweep as sweeping

    overrides = parse_config_overrides(ctx.args)
    import_code(code_path)
    setup_gpu(use_gpu)
    with show_validation_error(config_path):
        config = load_config(config_path, overrides=overrides, interpolate=False)
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
    picture = plot or output.with_suffix(".png")
    try:
        from ..reporting.curve import plot_sweep

        plot_sweep(summary, smallest, picture, title=f"{config_path.name}, {seeds} seed(s) a point")
    except ImportError:
        msg.warn("No picture: it needs matplotlib (pip install matplotlib).", f"Saved {output}.")
    except ValueError as error:
        msg.warn(f"No picture: {error}", f"Saved {output}.")
    else:
        msg.good(f"Saved {output} and {picture}")
