"""Find the lowest score above which predictions have a guaranteed precision.

The guarantee: with a probability of 95 % over the draw of the dev set, the precision on new data
like it is at least the precision asked for. The n predictions with the highest scores are assumed
to be right independently of each other, each with the same probability, their precision. A
one-sided binomial test tells whether that is too low, which is equivalent to the lower bound of
Clopper and Pearson (1934). The sizes n that are tried follow from the scores, without a look at
what is right, and the tests share the 5 % of error by the fallback procedure (Wiens 2003): a test
that passes hands its share on to the next.
"""

import math
from typing import NamedTuple, Optional

import numpy
import srsly
from numpy.typing import NDArray

CONFIDENCE = 0.95
# Factor from each size that is tried to the next. Smaller steps find a slightly lower threshold,
# but divide the 5 % among more tests.
GROWTH = 1.25
# The largest number of predictions that is considered for `Fit.needed`.
MOST_NEEDED = 100_000


class Fit(NamedTuple):
    """The result of a search for a threshold.

    threshold (Optional[float]): Lowest score of a prediction that counts, or None if no threshold
        reaches the precision.
    n_kept (int): Number of predictions at or above the threshold. Without a threshold, the number
        of highest-scored predictions that came closest to the precision.
    n_right (int): Number of these that are right.
    n_all (int): Number of all predictions.
    needed (Optional[int]): Without a threshold, the value of `n_kept` that would be enough at the
        observed precision, or None if that is not above the precision asked for.
    """

    threshold: Optional[float]
    n_kept: int
    n_right: int
    n_all: int
    needed: Optional[int] = None


def fit_threshold(scores: NDArray, right: NDArray, *, precision: float) -> Fit:
    """Find the lowest threshold above which predictions have a precision.

    scores (ndarray): Scores of predictions on data that the model has not trained on, shape (n,).
    right (ndarray): Whether each prediction is right, shape (n,).
    precision (float): The precision, between 0 and 1.
    RETURNS (Fit): The threshold, and its effect on these predictions.
    RAISES (ValueError): The precision is out of range.
    """
    check_precision(precision)
    order = numpy.argsort(-numpy.asarray(scores, dtype=numpy.float64), kind="stable")
    ranked = numpy.asarray(scores, dtype=numpy.float64)[order]
    n_right = numpy.concatenate([[0], numpy.cumsum(numpy.asarray(right, dtype=bool)[order])])
    n_all = len(ranked)
    first, sizes = _sizes(ranked, precision)
    share = (1.0 - CONFIDENCE) / max(1, len(sizes))
    best, budget = None, 0.0
    tried = numpy.array(sizes, dtype=int)
    for size, chance in zip(sizes, _p_value(n_right[tried], tried, precision), strict=True):
        budget += share
        if chance <= budget:
            best = size
        else:
            budget = 0.0
    if best is not None:
        # Halfway to the next score, because the last digit of a probability depends on the batch.
        middle = 0.0 if best == n_all else (ranked[best - 1] + ranked[best]) / 2
        # srsly rounds numbers when it saves, so use the number that a saved pipeline will read.
        threshold = srsly.json_loads(srsly.json_dumps(round(float(middle), 9)))
        return Fit(threshold, best, int(n_right[best]), n_all)
    if not sizes:
        return Fit(None, n_all, int(n_right[-1]), n_all, first)
    closest = max(sizes, key=lambda size: n_right[size] / size)
    right_there = int(n_right[closest])
    needed = _needed(right_there / closest, precision, share)
    return Fit(None, closest, right_there, n_all, needed)


def check_precision(precision: float) -> None:
    """Check the precision asked for.

    precision (float): The precision.
    RAISES (ValueError): The precision is out of range.
    """
    if not 0.0 < precision < 1.0:
        raise ValueError(
            f"precision = {precision}. Use a value between 0 and 1, such as 0.95; no data can show "
            "that a precision is 1."
        )


def _sizes(ranked: NDArray, precision: float) -> "tuple[int, list[int]]":
    """The smallest size that can pass a test, and the sizes to try, smallest first."""
    n_all, first, sizes = len(ranked), 1, []
    for n_tests in range(1, 1000):
        # With fewer predictions there are fewer tests, so each has a larger share of the error.
        first = math.ceil(math.log((1.0 - CONFIDENCE) / n_tests) / math.log(precision))
        wanted, size = [], float(first)
        while size < n_all:
            wanted.append(round(size))
            size = max(size * GROWTH, size + 1)
        wanted += [n_all] if first <= n_all else []
        # Of predictions with the same score, all are kept or none.
        sizes = sorted({int((ranked >= ranked[size - 1]).sum()) for size in wanted})
        if len(sizes) <= n_tests:
            break
    return first, sizes


def _p_value(n_right: NDArray, n: NDArray, precision: float) -> NDArray:
    """The probability of at least `n_right` right predictions, if the precision were just too
    low."""
    from scipy.stats import binom

    return binom.sf(n_right - 1, n, precision)


def _needed(rate: float, precision: float, share: float) -> Optional[int]:
    if rate <= precision:
        return None
    sizes = numpy.unique(numpy.geomspace(1, MOST_NEEDED, 2000).astype(int))
    enough = _p_value(numpy.floor(rate * sizes), sizes, precision) <= share
    return int(sizes[enough.argmax()]) if enough.any() else None
