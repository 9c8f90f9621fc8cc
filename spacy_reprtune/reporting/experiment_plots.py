"""Figures of experiments: a sweep over trainable blocks, a learning curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Sequence, Tuple

from ..training.sweep import Point
from .plots import score_axis
from .svg import FAINT, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"probe": MUTED, "setfit": SERIES[1], "joint": SERIES[0]}
NAMES = {"probe": "linear probe", "setfit": "SetFit", "joint": "joint training"}


def save_figure(figure: "Figure", path: Path, *, title: str) -> None:
    """Write a figure.

    figure (Figure): The figure.
    path (Path): PNG, SVG or PDF, by its suffix.
    title (str): Title above the figure.
    """
    figure.axes[0].set_title(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_sweep(
    points: Sequence[Point], chosen: Point, *, size: Tuple[float, float] = (7.5, 4.2)
) -> "Figure":
    """Draw score and time against the number of trainable blocks.

    points (Sequence[Point]): The points, from the fewest trainable blocks to the most.
    chosen (Point): The point to mark.
    size (Tuple[float, float]): Width and height in inches.
    RETURNS (Figure): The figure, without a title.
    RAISES (ImportError): matplotlib is not installed.
    """
    labels = [point.unfreeze for point in points]
    columns = range(len(points))
    figure, axes = _new_figure(size)
    times = axes.twinx()
    axes.set_zorder(times.get_zorder() + 1)
    axes.patch.set_visible(False)
    bars = times.bar(columns, [p.seconds for p in points], width=0.5, color=FAINT)
    times.set_ylabel("seconds per training (bars)", color=MUTED)
    times.tick_params(axis="y", colors=MUTED)
    times.set_ylim(0, max(p.seconds for p in points) * 1.6 or 1)
    times.bar_label(bars, fmt="{:.0f} s", color=MUTED, fontsize=8, padding=2)
    means, stds = [p.mean for p in points], [p.std for p in points]
    axes.errorbar(columns, means, yerr=stds, fmt="o-", color=SERIES[0], capsize=4)
    column = labels.index(chosen.unfreeze)
    axes.plot([column], [chosen.mean], "o", ms=15, mfc="none", mec=SERIES[1], mew=2)
    axes.set_xticks(list(columns), labels)
    axes.set_xlabel("trainable blocks")
    _scores_on_dev(axes, means, stds, points[0].n_runs)
    axes.grid(axis="y", alpha=0.3)
    return figure


def draw_learning_curve(
    points: Sequence[Dict[str, Any]], *, size: Tuple[float, float] = (7.5, 4.2)
) -> "Figure":
    """Draw score against texts per label, one line per recipe.

    points (Sequence[Dict[str, Any]]): Result of `learning_curve.summarize`.
    size (Tuple[float, float]): Width and height in inches.
    RETURNS (Figure): The figure, without a title.
    RAISES (ImportError): matplotlib is not installed.
    """
    figure, axes = _new_figure(size)
    for recipe, color in COLORS.items():
        own = [p for p in points if p["recipe"] == recipe]
        if own:
            xs, ys, stds = ([p[key] for p in own] for key in ("per_class", "mean", "std"))
            style = {"fmt": "o-", "color": color, "capsize": 3, "label": NAMES[recipe]}
            axes.errorbar(xs, ys, yerr=stds, **style)
    sizes = sorted({point["per_class"] for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("annotated texts per label")
    means, stds = ([point[key] for point in points] for key in ("mean", "std"))
    _scores_on_dev(axes, means, stds, max(point["n"] for point in points))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _new_figure(size: Tuple[float, float]) -> "Tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _scores_on_dev(axes: "Axes", means: Sequence[float], stds: Sequence[float], n: int) -> None:
    """Scale and name the axis of scores, whose bars are over n runs."""
    axes.set_ylabel("score on dev" + (f"\n± standard deviation over {n}" if n > 1 else ""))
    pairs = zip(means, stds, strict=True)
    score_axis(axes, "y", [mean + sign * std for mean, std in pairs for sign in (-1, 1)])
