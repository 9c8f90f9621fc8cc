"""The picture of a learning curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Sequence, Tuple

from .svg import MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"probe": MUTED, "setfit": SERIES[1], "joint": SERIES[0]}
NAMES = {"probe": "linear probe", "setfit": "SetFit", "joint": "joint training"}


def plot_learning_curve(points: Sequence[Dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw score against texts a label, a line a recipe.

    points (Sequence[Dict[str, Any]]): What `learning_curve.summarize` returned.
    path (Path): PNG, SVG or PDF, by its suffix.
    title (str): Over the picture.
    RAISES (ImportError): matplotlib is not installed.
    """
    figure = draw_learning_curve(points)
    figure.axes[0].set_title(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_learning_curve(
    points: Sequence[Dict[str, Any]], *, size: Tuple[float, float] = (7.5, 4.2)
) -> "Figure":
    """Draw a learning curve; see `plot_learning_curve`.

    size (Tuple[float, float]): Width and height in inches.
    RETURNS (Figure): The picture, without a title.
    RAISES (ImportError): matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    for recipe, colour in COLOURS.items():
        own = [point for point in points if point["recipe"] == recipe]
        if own:
            axes.errorbar(
                [point["per_class"] for point in own],
                [point["mean"] for point in own],
                yerr=[point["std"] for point in own],
                fmt="o-",
                color=colour,
                capsize=3,
                label=NAMES[recipe],
            )
    sizes = sorted({point["per_class"] for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("annotated texts a label")
    n = max(point["n"] for point in points)
    axes.set_ylabel("score on dev" + (f"\n± standard deviation over {n}" if n > 1 else ""))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
