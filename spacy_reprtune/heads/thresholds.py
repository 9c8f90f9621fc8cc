"""The lowest score at which the precision of predictions is as high as promised.

Promised means: with a probability of 95 % over the draw of the dev set, the precision on new data
like it is at least the one that was asked for. The predictions with the n highest scores are right
independently of each other, each with the same probability, their precision. Whether that is too
low is a one-sided binomial test, which is the same as asking for the lower bound of Clopper and
Pearson (1934). The sizes n that are tried follow from the scores, without a look at what is right,
and the tests share the 5 % of error by the fallback procedure (Wiens 2003): a test that is passed
hands its share on to the next.
"""

import math
from typing import NamedTuple, Optional

import numpy
import srsly
from numpy.typing import NDArray

CONFIDENCE = 0.95
# How much larger each size that is tried is than the one before. Finer steps find a slightly lower
# threshold, and divide the 5 % among more tests.
GROWTH = 1.25
# Sizes up to which the number of predictions that would be enough is looked for.
MOST_NEEDED = 100_000


class Fit(NamedTuple):
    """What the search for a threshold has found.

    threshold (Optional[float]): Lowest score of a prediction that counts, or None if there is no
        threshold from which on the precision is reached.
    n_kept (int): Predictions from the threshold on. Without a threshold, those with the highest
        scores that came closest.
    n_right (int): How many of these are right.
    n_all (int): All predictions.
    needed (Optional[int]): Without a threshold, the size that `n_kept` would need to have at this
        precision, or None if this precision is not above the one that was asked for.
    """

    threshold: Optional[float]
    n_kept: int
    n_right: int
    n_all: int
    needed: Optional[int] = None


def fit_threshold(scores: NDArray, right: NDArray, *, precision: float) -> Fit:
    """Find the lowest threshold from which on predictions have a precision.

    scores (ndarray): Scores of predictions on data that the model has not trained on, shape (n,).
    right (ndarray): Whether each prediction is right, shape (n,).
    precision (float): The precision, between 0 and 1.
    RETURNS (Fit): The threshold, and what it does on these predictions.
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
        # Half-way to the next one: the last digit of a probability depends on the batch.
        middle = 0.0 if best == n_all else (ranked[best - 1] + ranked[best]) / 2
        # srsly rounds numbers in bytes: use what a saved pipeline will read.
        threshold = srsly.json_loads(srsly.json_dumps(round(float(middle), 9)))
        return Fit(threshold, best, int(n_right[best]), n_all)
    if not sizes:
        return Fit(None, n_all, int(n_right[-1]), n_all, first)
    closest = max(sizes, key=lambda size: n_right[size] / size)
    right_there = int(n_right[closest])
    needed = _needed(right_there / closest, precision, share)
    return Fit(None, closest, right_there, n_all, needed)


def check_precision(precision: float) -> None:
    """Check a precision that is asked for.

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
        # The fewer predictions, the fewer tests, each of which then has a larger share.
        first = math.ceil(math.log((1.0 - CONFIDENCE) / n_tests) / math.log(precision))
        wanted, size = [], float(first)
        while size < n_all:
            wanted.append(round(size))
            size = max(size * GROWTH, size + 1)
        wanted += [n_all] if first <= n_all else []
        # Predictions of the same score are all kept, or none of them is.
        sizes = sorted({int((ranked >= ranked[size - 1]).sum()) for size in wanted})
        if len(sizes) <= n_tests:
            break
    return first, sizes


def _p_value(n_right: NDArray, n: NDArray, precision: float) -> NDArray:
    """The probability of so many right ones or more, if the precision were just too low."""
    from scipy.stats import binom

    return binom.sf(n_right - 1, n, precision)


def _needed(rate: float, precision: float, share: float) -> Optional[int]:
    if rate <= precision:
        return None
    sizes = numpy.unique(numpy.geomspace(1, MOST_NEEDED, 2000).astype(int))
    enough = _p_value(numpy.floor(rate * sizes), sizes, precision) <= share
    return int(sizes[enough.argmax()]) if enough.any() else None
