"""Figures of predictions and trainings, with one line per recipe."""

from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import numpy

from .svg import FAINT, MUTED, SERIES, SIZE, series_color, series_marker, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Bins of a calibration curve, and the fewest predictions that a bin needs to be drawn.
BINS, FEWEST = 10, 5
# An axis of scores spans at least this much, so that small differences look small.
SPAN = 0.2

Line = Tuple[Sequence[float], Sequence[float]]
Interval = Tuple[str, float, Optional[Tuple[float, float]]]


def draw_intervals(scores: Sequence[Interval], *, title: str) -> "Figure":
    """Draw scores with their intervals, the first score on top.

    scores (Sequence[Interval]): Names, scores and intervals. An interval may be None.
    title (str): Name of the score.
    RETURNS (Figure): The figure.
    """
    figure, axes = _figure(title, height=0.75 + 0.34 * len(scores))
    for row, (_, score, interval) in enumerate(scores):
        if interval:
            axes.plot(interval, [row, row], color=SERIES[0], lw=2, alpha=0.55)
        axes.plot([score], [row], "o", color=SERIES[0], ms=6)
        above = {"textcoords": "offset points", "xytext": (0, 6), "ha": "center", "fontsize": 8}
        axes.annotate(f"{score:.3f}", (score, row), **above)
    axes.set_yticks(range(len(scores)), [_short(name) for name, _, _ in scores])
    axes.set_ylim(len(scores) - 0.5, -0.7)
    score_axis(axes, "x", [x for _, score, interval in scores for x in (score, *(interval or ()))])
    axes.tick_params(axis="y", length=0)
    return figure


def draw_precision_recall(lines: Dict[str, Tuple[Line, float]]) -> "Figure":
    """Draw precision against recall.

    lines (Dict[str, Tuple[Line, float]]): Recall and precision, and the average precision, by
        name of the recipe.
    RETURNS (Figure): The figure.
    """
    figure, axes = _figure("recall", "precision")
    lowest = 1.0
    for number, (name, ((recall, precision), average)) in enumerate(lines.items()):
        label = f"{_short(name)} ({average:.3f})"
        kept = _plot(axes, number, (recall, precision), label=label, lw=1.6)
        lowest = min(lowest, min(precision[i] for i in kept))
    axes.set_xlim(0, 1.01)
    score_axis(axes, "y", [lowest, 1.0])
    _legend(axes)
    return figure


def draw_coverage(results: Dict[str, Tuple[Sequence[float], Sequence[bool]]]) -> "Figure":
    """Draw the precision of the most confident predictions against their share.

    results (Dict[str, Tuple[Sequence[float], Sequence[bool]]]): Probabilities of predictions, and
        whether each was right, by name of the recipe.
    RETURNS (Figure): The figure.
    """
    figure, axes = _figure("share of predictions that are kept", "precision of these")
    lowest = 1.0
    for number, (name, (confidence, correct)) in enumerate(results.items()):
        order = numpy.argsort(-numpy.asarray(confidence), kind="stable")
        right = numpy.asarray(correct, dtype=float)[order]
        sizes = numpy.arange(1, len(right) + 1)
        # The precision of one or two predictions says nothing.
        first = min(FEWEST, len(right)) - 1
        line = ((sizes / len(right))[first:].tolist(), (right.cumsum() / sizes)[first:].tolist())
        kept = _plot(axes, number, line, label=_short(name), lw=1.6)
        lowest = min(lowest, *(line[1][i] for i in kept))
    axes.set_xlim(0, 1.01)
    score_axis(axes, "y", [lowest, 1.0])
    _legend(axes)
    return figure


def draw_calibration(results: Dict[str, Tuple[Sequence[float], Sequence[bool]]]) -> "Figure":
    """Draw the share of right predictions against their probability.

    results (Dict[str, Tuple[Sequence[float], Sequence[bool]]]): Probabilities of predictions, and
        whether each was right, by name of the recipe.
    RETURNS (Figure): The figure.
    """
    from ..heads.calibration import calibration_error

    figure, axes = _figure("probability of the prediction", "share that is right")
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls="--")
    lowest = 1.0
    for number, (name, (confidence, correct)) in enumerate(results.items()):
        confidences, right = numpy.asarray(confidence), numpy.asarray(correct, dtype="f")
        bins = numpy.minimum((confidences * BINS).astype(int), BINS - 1)
        enough = [b for b in range(BINS) if (bins == b).sum() >= FEWEST]
        points = [(confidences[bins == b].mean(), right[bins == b].mean()) for b in enough]
        if not points:
            continue
        lowest = min(lowest, *map(min, points))
        error = calibration_error(confidences, right)
        line = tuple(zip(*points, strict=True))
        label = f"{_short(name)} ({error:.3f})"
        _plot(axes, number, line, label=label, marker=series_marker(number))
    for axis in ("x", "y"):
        score_axis(axes, axis, [lowest, 1.0])
    _legend(axes)
    return figure


def draw_lines(lines: Dict[str, Line], *, across: str, up: str, log: bool = False) -> "Figure":
    """Draw lines with a marker per evaluation.

    lines (Dict[str, Line]): Lines by name of the recipe.
    across (str): Title of the horizontal axis, which starts at 0.
    up (str): Title of the vertical axis.
    log (bool): Whether the vertical axis is logarithmic, if all values are positive. Otherwise it
        is an axis of scores if all values are between 0 and 1.
    RETURNS (Figure): The figure.
    """
    figure, axes = _figure(across, up)
    for number, (name, line) in enumerate(lines.items()):
        marker = series_marker(number) if len(line[0]) <= 40 else None
        _plot(axes, number, line, label=_short(name), marker=marker, clip_on=False)
    values = [value for _, ys in lines.values() for value in ys]
    if not log:
        score_axis(axes, "y", values)
    elif all(value > 0 for value in values):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if max(values) < 2 * min(values):
            axes.set_ylim(min(values) / 2, max(values) * 2)
    furthest = max(x for xs, _ in lines.values() for x in xs)
    axes.set_xlim(0, 1.05 * furthest if furthest > 0 else 1)
    _legend(axes)
    return figure


def precision_recall(
    scores: Sequence[float], right: Sequence[bool], n_right: int
) -> Tuple[Line, float]:
    """Compute precision and recall as predictions are added, the most confident first.

    scores (Sequence[float]): Probabilities.
    right (Sequence[bool]): Whether each prediction is right.
    n_right (int): Number of items to find, including those that are never predicted.
    RETURNS (Tuple[Line, float]): Recall and precision, and the average precision.
    RAISES (ValueError): There is nothing to find.
    """
    if n_right < 1:
        raise ValueError("Without anything to find there is no recall.")
    if not any(right):
        return ([0.0, 0.0], [1.0, 0.0]), 0.0
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(right, scores)
    recall = recall * (sum(right) / n_right)
    average = float(-(numpy.diff(recall) * precision[:-1]).sum())
    return (recall[::-1].tolist(), precision[::-1].tolist()), average


def score_axis(axes: "Axes", axis: str, values: Sequence[float]) -> None:
    """Scale an axis of scores to show all values, within 0 and 1, and not less than `SPAN`.

    axes (Axes): The axes.
    axis (str): "x" or "y".
    values (Sequence[float]): The values to show. If any is below 0 or above 1, they are not scores,
        and the axis stays as it is.
    """
    low, high = min(values), max(values)
    if low >= 0 and high <= 1:
        room = max(0.02, 0.08 * (high - low), (SPAN - high + low) / 2)
        top = min(1.01, high + room)
        getattr(axes, f"set_{axis}lim")(max(0.0, min(low - room, top - SPAN)), top)


def _plot(axes: "Axes", number: int, line: Line, **style: Any) -> Sequence[int]:
    xs, ys = line
    kept = thin(xs)
    style = {"lw": 1.4, "ms": 4, "color": series_color(number), **style}
    axes.plot([xs[i] for i in kept], [ys[i] for i in kept], **style)
    return kept


def _figure(across: str, up: str = "", *, height: float = SIZE[1]) -> "Tuple[Figure, Axes]":
    """A figure with titles on its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="both" if up else "x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _legend(axes: "Axes") -> None:
    """Add a legend outside of the axes, where it covers no line."""
    handles = axes.get_legend_handles_labels()[0]
    if handles:
        axes.figure.legend(
            loc="outside lower center", ncols=min(3, len(handles)), frameon=False, fontsize=8
        )


def _short(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
