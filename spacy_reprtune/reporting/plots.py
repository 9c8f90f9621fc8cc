"""Curves over predictions and trainings, a line a recipe."""

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

import numpy

from .svg import FAINT, MUTED, SERIES, SIZE, series_colour, series_marker, thin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Bins of a calibration curve, of which some have too few predictions to be of use.
BINS, FEWEST = 10, 5

Line = Tuple[Sequence[float], Sequence[float]]
Interval = Tuple[str, float, Optional[Tuple[float, float]]]


def draw_intervals(scores: Sequence[Interval], *, title: str) -> "Figure":
    """Draw scores with their intervals, the first one on top.

    scores (Sequence[Tuple[str, float, Optional[Tuple[float, float]]]]): Names, scores and
        intervals, None where there is none.
    title (str): What the scores are.
    RETURNS (Figure): The picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], 0.75 + 0.34 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    for row, (_, score, interval) in enumerate(scores):
        if interval:
            axes.plot(interval, [row, row], color=SERIES[0], lw=2, alpha=0.55)
        axes.plot([score], [row], "o", color=SERIES[0], ms=6)
        above = {"textcoords": "offset points", "xytext": (0, 6), "ha": "center", "fontsize": 8}
        axes.annotate(f"{score:.3f}", (score, row), **above)
    axes.set_yticks(range(len(scores)), [_short(name) for name, _, _ in scores])
    axes.set_ylim(len(scores) - 0.5, -0.7)
    axes.margins(x=0.08)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(title)
    return figure


def draw_precision_recall(lines: Dict[str, Tuple[Line, float]]) -> "Figure":
    """Draw precision against recall.

    lines (Dict[str, Tuple[Tuple[Sequence[float], Sequence[float]], float]]): By name of the recipe,
        recall and precision, and the average precision.
    RETURNS (Figure): The picture.
    """
    figure, axes = _square()
    lowest = 1.0
    for number, (name, ((recall, precision), average)) in enumerate(lines.items()):
        kept = thin(recall)
        axes.plot(
            [recall[i] for i in kept],
            [precision[i] for i in kept],
            color=series_colour(number),
            lw=1.6,
            label=f"{_short(name)} ({average:.3f})",
        )
        lowest = min(lowest, min(precision[i] for i in kept))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    _legend(axes, len(lines))
    return figure


def draw_calibration(results: Dict[str, Tuple[Sequence[float], Sequence[bool]]]) -> "Figure":
    """Draw the share of right predictions against how sure they were.

    results (Dict[str, Tuple[Sequence[float], Sequence[bool]]]): By name of the recipe, the
        probabilities of predictions, and whether they were right.
    RETURNS (Figure): The picture.
    """
    from ..heads.calibration import calibration_error

    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls="--")
    lowest = 1.0
    for number, (name, (confidence, correct)) in enumerate(results.items()):
        surely, right = numpy.asarray(confidence), numpy.asarray(correct, dtype="f")
        bins = numpy.minimum((surely * BINS).astype(int), BINS - 1)
        enough = [b for b in range(BINS) if (bins == b).sum() >= FEWEST]
        points = [(surely[bins == b].mean(), right[bins == b].mean()) for b in enough]
        if not points:
            continue
        lowest = min(lowest, *map(min, points))
        error = calibration_error(surely, right)
        axes.plot(
            *zip(*points, strict=True),
            marker=series_marker(number),
            ms=4,
            lw=1.4,
            color=series_colour(number),
            label=f"{_short(name)} ({error:.3f})",
        )
    limits = (max(0.0, lowest - 0.05), 1.01)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_xlabel("probability of the prediction")
    axes.set_ylabel("share that is right")
    _legend(axes, len(results))
    return figure


def draw_lines(lines: Dict[str, Line], *, across: str, up: str, log: bool = False) -> "Figure":
    """Draw lines with a point for each evaluation.

    lines (Dict[str, Tuple[Sequence[float], Sequence[float]]]): By name of the recipe.
    across, up (str): Titles of the axes.
    log (bool): Whether the second axis is logarithmic.
    RETURNS (Figure): The picture.
    """
    figure, axes = _square()
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        marker = series_marker(number) if len(xs) <= 40 else None
        kept = thin(xs)
        axes.plot(
            [xs[i] for i in kept],
            [ys[i] for i in kept],
            marker=marker,
            ms=4,
            lw=1.4,
            color=series_colour(number),
            label=_short(name),
        )
    if log and all(value > 0 for _, ys in lines.values() for value in ys):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    _legend(axes, len(lines))
    return figure


def precision_recall(
    scores: Sequence[float], right: Sequence[bool], n_right: int
) -> Tuple[Line, float]:
    """Precision and recall as predictions are taken in, the surest first.

    scores (Sequence[float]): Probabilities.
    right (Sequence[bool]): Whether each is right.
    n_right (int): How many there are to be found, those that are never predicted included.
    RETURNS (Tuple[Tuple[List[float], List[float]], float]): Recall and precision, and the average
        precision.
    RAISES (ValueError): There is nothing to be found.
    """
    if n_right < 1:
        raise ValueError("Nothing is right, so there is no recall.")
    if not any(right):
        return ([0.0, 0.0], [1.0, 0.0]), 0.0
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(right, scores)
    recall = recall * (sum(right) / n_right)
    average = float(-(numpy.diff(recall) * precision[:-1]).sum())
    # From the surest on.
    return (recall[::-1].tolist(), precision[::-1].tolist()), average


def _square() -> "Tuple[Figure, object]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: "object", n_lines: int) -> None:
    """Outside of the axes, where it covers no line."""
    handles: List[object] = axes.get_legend_handles_labels()[0]  # type: ignore[attr-defined]
    if handles:
        axes.figure.legend(  # type: ignore[attr-defined]
            loc="outside lower center", ncols=min(3, n_lines), frameon=False, fontsize=8
        )


def _short(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
