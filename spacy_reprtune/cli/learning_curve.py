"""`python -m spacy reprtune learning-curve`: what more annotated texts bring."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def learning_curve_cli(
    ctx: typer.Context,
    setfit_path: Path = typer.Argument(
        ..., help="Config with a reprtune_setfit", exists=True, dir_okay=False
    ),
    joint_path: Path = typer.Argument(
        ..., help="Config of joint training", exists=True, dir_okay=False
    ),
    per_class: str = typer.Option(
        "1,2,4,8,16,32,64", "--per-class", "-n", help="Texts a label, with commas between them"
    ),
    seeds: int = typer.Option(3, "--seeds", "-s", help="Samples and trainings a size", min=1),
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
    use_gpu: int = typer.Option(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU"),
) -> None:
    """
    Find out what more annotated texts would bring.

    Compares the linear probe, SetFit and joint training on more and more texts a label.
    Each result is saved as soon as it is there: the same command goes on where it was stopped.
    Settings that both configs have can be overridden as with `spacy train`, for example
    --paths.train FILE.
    """
    from spacy.cli._util import parse_config_overrides, setup_gpu, show_validation_error
    from spacy.util import load_config

    from ..training import learning_curve as curve

    overrides = parse_config_overrides(ctx.args)
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
    except ValueError as error:
        msg.fail("Cannot draw a learning curve", str(error), exits=1)
    points = curve.summarize(results)
    rows = [
        (p["recipe"], str(p["per_class"]), f"{p['mean']:.4f}", f"{p['std']:.4f}", str(p["n"]))
        for p in points
    ]
    header = ("recipe", "texts a label", "score", "std", "seeds")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    picture = plot or output.with_suffix(".png")
    try:
        from ..reporting.learning_curve import plot_learning_curve

        plot_learning_curve(points, picture, title=f"{seeds} seed(s) a size")
    except ImportError:
        msg.warn("No picture: it needs matplotlib (pip install matplotlib).", f"Saved {output}.")
    except ValueError as error:
        msg.warn(f"No picture: {error}", f"Saved {output}.")
    else:
        msg.good(f"Saved {output} and {picture}")
