"""How far scores can be trusted: the percentile bootstrap over documents.

Documents are drawn with replacement, not labels or entities, because those of one document are not
independent (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; for comparing
systems on one test set, Berg-Kirkpatrick et al. 2012).
"""

from dataclasses import dataclass
from typing import Callable, Iterator, Tuple

import numpy
from numpy.typing import NDArray

from .counts import Counts, cats_rows
from .predictions import Predictions

RESAMPLES = 1000
LEVEL = 0.95
# Weights of all documents that are in memory at once.
_CHUNK = 2_000_000

# A row of weights a resample, a column a document -> a score a resample, nan where the documents
# drawn have none.
Statistic = Callable[[NDArray], NDArray]


@dataclass
class Sampled:
    """A score and what it might have been.

    value (float): On the documents as they are.
    samples (ndarray): On documents drawn from them, shape (n_resamples,).
    """

    value: float
    samples: NDArray

    @property
    def interval(self) -> Tuple[float, float]:
        """RETURNS (Tuple[float, float]): The interval of 95 %."""
        return percentile_interval(self.samples)


def percentile_interval(samples: NDArray) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): Between which 95 % of the samples lie. Samples without a score
    (nan) are left out."""
    tail = 50 * (1 - LEVEL)
    low, high = numpy.nanpercentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap(n_docs: int, statistic: Statistic) -> Sampled:
    """Draw documents and score them.

    n_docs (int): How many there are.
    statistic (Callable): Gives a score for each row of weights.
    RETURNS (Sampled): The score. Draws depend on the number of documents alone, so pipelines that
        were tested on the same documents can be compared draw by draw.
    """
    once = numpy.ones((1, n_docs), dtype="f")
    samples = numpy.concatenate([statistic(weights) for weights in _draws(n_docs)])
    return Sampled(float(statistic(once)[0]), samples)


def micro_f(counts: Counts) -> Statistic:
    """RETURNS (Callable): F over all labels together; with exclusive labels, the accuracy."""
    totals = [part.sum(1).astype("f") for part in (counts.true, counts.false, counts.missed)]

    def statistic(weights: NDArray) -> NDArray:
        true, false, missed = (weights @ total for total in totals)
        return 2 * true / numpy.maximum(2 * true + false + missed, 1)

    return statistic


def macro_f(counts: Counts) -> Statistic:
    """RETURNS (Callable): The mean of all labels' F. A label that is in the test set but neither
    annotated nor predicted in a sample is left out there; one that is nowhere counts as 0, as in
    spaCy's scorer."""
    parts = [part.astype("f") for part in (counts.true, counts.false, counts.missed)]
    nowhere = int((sum(part.sum(0) for part in parts) == 0).sum())

    def statistic(weights: NDArray) -> NDArray:
        true, false, missed = (weights @ part for part in parts)
        all_of_it = 2 * true + false + missed
        f_scores = 2 * true / numpy.maximum(all_of_it, 1)
        return f_scores.sum(1) / numpy.maximum((all_of_it > 0).sum(1) + nowhere, 1)

    return statistic


def label_f(counts: Counts, label: str) -> Statistic:
    """RETURNS (Callable): F of one label; nan in a sample where it is neither annotated nor
    predicted. One that is nowhere in the test set has 0, as in spaCy's scorer."""
    column = counts.labels.index(label)
    parts = (counts.true, counts.false, counts.missed)
    totals = [part[:, column].astype("f") for part in parts]
    nowhere = not any(total.any() for total in totals)

    def statistic(weights: NDArray) -> NDArray:
        true, false, missed = (weights @ total for total in totals)
        all_of_it = 2 * true + false + missed
        f_scores = 2 * true / numpy.maximum(all_of_it, 1)
        return f_scores if nowhere else numpy.where(all_of_it > 0, f_scores, numpy.nan)

    return statistic


def macro_auc(predictions: Predictions) -> Statistic:
    """RETURNS (Callable): The mean of the labels' areas under the ROC curve. A label without both
    yes and no in a sample is left out there (nan if that leaves none); one without both in the
    test set counts as 0, as in spaCy's scorer."""
    rows = [cats for _, cats in cats_rows(predictions)]
    scores = numpy.array([row.scores for row in rows])
    gold = numpy.array([[numpy.nan if v is None else v for v in row.gold] for row in rows])

    measured = [
        j for j in range(gold.shape[1]) if (gold[:, j] > 0).any() and (gold[:, j] <= 0).any()
    ]
    nowhere = gold.shape[1] - len(measured)

    def statistic(weights: NDArray) -> NDArray:
        if not measured:
            return numpy.zeros(len(weights))
        areas = numpy.stack([_auc(scores[:, j], gold[:, j], weights) for j in measured])
        n_areas = (~numpy.isnan(areas)).sum(0)
        means = numpy.nansum(areas, axis=0) / numpy.maximum(n_areas + nowhere, 1)
        return numpy.where(n_areas > 0, means, numpy.nan)

    return statistic


def _auc(scores: NDArray, gold: NDArray, weights: NDArray) -> NDArray:
    """The share of pairs of a right and a wrong one that are in order, ties half; nan without such
    a pair."""
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
    """How often each document is drawn, some resamples at a time."""
    random = numpy.random.default_rng(0)
    at_once = max(1, min(RESAMPLES, _CHUNK // n_docs))
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, n_docs, size=(size, n_docs))
        weights = numpy.zeros((size, n_docs), dtype="f")
        for row, docs in zip(weights, drawn, strict=True):
            row += numpy.bincount(docs, minlength=n_docs)
        yield weights
