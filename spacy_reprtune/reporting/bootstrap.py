"""Intervals of scores: the percentile bootstrap over documents.

Documents are drawn with replacement, not labels or entities, because those of one document are not
independent (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; for comparing
systems on one test set, Berg-Kirkpatrick et al. 2012). Where every sample has the same score, as
with 48 of 48 documents right, the bootstrap claims certainty; then the interval is Wilson's
(Brown, Cai & DasGupta 2001, Interval Estimation for a Binomial Proportion).
"""

from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from .counts import Counts, cats_rows
from .predictions import Predictions

RESAMPLES = 1000
LEVEL = 0.95
# The quantile of the normal distribution for that level.
_Z = 1.959964
# Weights held in memory at the same time.
_CHUNK = 2_000_000

Interval = Tuple[float, float]


@dataclass
class Statistic:
    """A score of weighted documents.

    score (Callable[[NDArray], NDArray]): Computes one score per row of weights, which have the
        shape (n_resamples, n_docs); nan if the documents drawn have no score.
    n_units (int): Documents that the score depends on.
    """

    score: Callable[[NDArray], NDArray]
    n_units: int


@dataclass
class Sampled:
    """A score, and the scores of resampled test sets.

    value (float): Score of the documents as they are.
    samples (ndarray): Scores of documents drawn from them, shape (n_resamples,).
    n_units (int): Documents that the score depends on.
    """

    value: float
    samples: NDArray
    n_units: int

    @property
    def interval(self) -> Optional[Interval]:
        """RETURNS (Optional[Tuple[float, float]]): The 95 % interval, None without a score."""
        if numpy.isnan(self.samples).all():
            return None
        if numpy.nanmin(self.samples) == numpy.nanmax(self.samples):
            return wilson_interval(self.value, self.n_units)
        return percentile_interval(self.samples)


def percentile_interval(samples: NDArray) -> Interval:
    """RETURNS (Tuple[float, float]): The range of the middle 95 % of samples, nan left out."""
    tail = 50 * (1 - LEVEL)
    low, high = numpy.nanpercentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def wilson_interval(share: float, n: int) -> Interval:
    """RETURNS (Tuple[float, float]): Wilson's interval of a share of n observations; everything
    from 0 to 1 if there are none."""
    square = _Z * _Z
    center = (n * share + square / 2) / (n + square)
    half = _Z * (n * share * (1 - share) + square / 4) ** 0.5 / (n + square)
    return max(0.0, center - half), min(1.0, center + half)


def bootstrap(n_docs: int, statistic: Statistic) -> Sampled:
    """Score documents, and documents drawn from them.

    n_docs (int): Number of documents.
    statistic (Statistic): The score.
    RETURNS (Sampled): The scores. Draws depend on the number of documents only, so pipelines that
        were tested on the same documents can be compared draw by draw.
    """
    once = numpy.ones((1, n_docs), dtype="f")
    samples = numpy.concatenate([statistic.score(weights) for weights in _draws(n_docs)])
    return Sampled(float(statistic.score(once)[0]), samples, statistic.n_units)


def micro_f(counts: Counts) -> Statistic:
    """RETURNS (Statistic): F over all labels together; the accuracy if labels are exclusive."""
    totals = [part.sum(1) for part in counts.parts]
    return Statistic(lambda weights: _f(totals, weights)[0], _n_units(totals))


def macro_f(counts: Counts) -> Statistic:
    """RETURNS (Statistic): The mean F of the labels. A label that occurs in the test set but not
    in a sample is left out there; one that is never annotated or predicted counts as 0, as in
    spaCy's scorer."""
    nowhere = int((sum(part.sum(0) for part in counts.parts) == 0).sum())

    def score(weights: NDArray) -> NDArray:
        f_scores, occurs = _f(counts.parts, weights)
        return f_scores.sum(1) / numpy.maximum(occurs.sum(1) + nowhere, 1)

    return Statistic(score, _n_units([part.sum(1) for part in counts.parts]))


def label_f(counts: Counts, label: str) -> Statistic:
    """RETURNS (Statistic): F of one label, nan in a sample where it does not occur. A label that
    is never annotated or predicted has 0, as in spaCy's scorer."""
    column = counts.labels.index(label)
    totals = [part[:, column] for part in counts.parts]
    n_units = _n_units(totals)

    def score(weights: NDArray) -> NDArray:
        f_scores, occurs = _f(totals, weights)
        return numpy.where(occurs, f_scores, numpy.nan) if n_units else f_scores

    return Statistic(score, n_units)


def macro_auc(predictions: Predictions) -> Statistic:
    """RETURNS (Statistic): The mean area under the labels' ROC curves. A label without both a yes
    and a no in a sample is left out there; nan if that leaves none."""
    rows = [cats for _, cats in cats_rows(predictions)]
    scores = numpy.array([row.scores for row in rows])
    gold = numpy.array([[numpy.nan if v is None else v for v in row.gold] for row in rows])
    # The rarer answer of the label where it is rarest limits how much the documents can tell.
    answers = [((gold[:, j] > 0).sum(), (gold[:, j] <= 0).sum()) for j in range(gold.shape[1])]
    rarer = [int(min(pair)) for pair in answers if min(pair)]

    def score(weights: NDArray) -> NDArray:
        areas = [_auc(scores[:, j], gold[:, j], weights) for j in range(gold.shape[1])]
        n_areas = (~numpy.isnan(areas)).sum(0)
        means = numpy.nansum(areas, axis=0) / numpy.maximum(n_areas, 1)
        return numpy.where(n_areas > 0, means, numpy.nan)

    return Statistic(score, min(rarer, default=0))


def _f(parts: Sequence[NDArray], weights: NDArray) -> Tuple[NDArray, NDArray]:
    """F of weighted documents, and whether anything is annotated or predicted."""
    true, false, missed = (weights @ part.astype("f") for part in parts)
    total = 2 * true + false + missed
    return 2 * true / numpy.maximum(total, 1), total > 0


def _n_units(totals: Sequence[NDArray]) -> int:
    return int((sum(totals) > 0).sum())


def _auc(scores: NDArray, gold: NDArray, weights: NDArray) -> NDArray:
    """The share of pairs of a yes and a no that are ranked correctly, ties counted half; nan if
    there is no pair."""
    known = numpy.flatnonzero(~numpy.isnan(gold))
    if not len(known):
        return numpy.full(len(weights), numpy.nan)
    order = known[numpy.argsort(scores[known], kind="stable")]
    ties = numpy.flatnonzero(numpy.diff(scores[order], prepend=numpy.nan) != 0)
    drawn = weights[:, order].astype(numpy.float64)
    right = numpy.add.reduceat(drawn * (gold[order] > 0), ties, axis=1)
    wrong = numpy.add.reduceat(drawn * (gold[order] <= 0), ties, axis=1)
    below = numpy.cumsum(wrong, axis=1) - wrong
    pairs = right.sum(1) * wrong.sum(1)
    areas = (right * (below + wrong / 2)).sum(1) / numpy.maximum(pairs, 1)
    return numpy.where(pairs > 0, areas, numpy.nan)


def _draws(n_docs: int) -> Iterator[NDArray]:
    """How often each document is drawn, for some resamples at a time."""
    random = numpy.random.default_rng(0)
    at_once = max(1, min(RESAMPLES, _CHUNK // n_docs))
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, n_docs, size=(size, n_docs))
        weights = numpy.zeros((size, n_docs), dtype="f")
        for row, docs in zip(weights, drawn, strict=True):
            row += numpy.bincount(docs, minlength=n_docs)
        yield weights
