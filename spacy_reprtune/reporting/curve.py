"""The picture of a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING, Sequence, Tuple

from ..training.sweep import Point
from .svg import FAINT, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_sweep(points: Sequence[Point], chosen: Point, path: Path, *, title: str) -> None:
    """Draw score and time against the trainable blocks.

    points (Sequence[Point]): From the least to the most that trains.
    chosen (Point): The point to mark.
    path (Path): PNG, SVG or PDF, by its suffix.
    title (str): Over the picture.
    RAISES (ImportError): matplotlib is not installed.
    """
    figure = draw_sweep(points, chosen)
    figure.axes[0].set_title(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_sweep(
    points: Sequence[Point], chosen: Point, *, size: Tuple[float, float] = (7.5, 4.2)
) -> "Figure":
    """Draw a sweep; see `plot_sweep`.

    size (Tuple[float, float]): Width and height in inches.
    RETURNS (Figure): The picture, without a title.
    RAISES (ImportError): matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    labels = [point.unfreeze for point in points]
    columns = range(len(points))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    times = axes.twinx()
    axes.set_zorder(times.get_zorder() + 1)
    axes.patch.set_visible(False)
    bars = times.bar(columns, [p.seconds for p in points], width=0.5, color=FAINT)
    times.set_ylabel("seconds a training (bars)", color=MUTED)
    times.tick_params(axis="y", colors=MUTED)
    times.set_ylim(0, max(p.seconds for p in points) * 1.6)
    times.bar_label(bars, fmt="{:.0f} s", color=MUTED, fontsize=8, padding=2)
    axes.errorbar(
        columns,
        [p.mean for p in points],
        yerr=[p.std for p in points],
        fmt="o-",
        color=SERIES[0],
        capsize=4,
    )
    column = labels.index(chosen.unfreeze)
    axes.plot([column], [chosen.mean], "o", ms=15, mfc="none", mec=SERIES[1], mew=2)
    axes.set_xticks(list(columns), labels)
    axes.set_xlabel("trainable blocks")
    spread = f"\n± standard deviation over {points[0].n_runs}" if points[0].n_runs > 1 else ""
    axes.set_ylabel(f"score on dev{spread}")
    axes.margins(y=0.15)
    axes.grid(axis="y", alpha=0.3)
    return figure
