"""Find out when a small classifier may answer in place of a large one."""

from typing import NamedTuple, Optional

import numpy
from numpy.typing import NDArray


class Fit(NamedTuple):
    """A fitted threshold.

    threshold (Optional[float]): The lowest certainty at which the small classifier answers; None if
        it never may.
    early (float): Share of the texts that it answered.
    kept (float): Score of both together, divided by the score of the large one.
    """

    threshold: Optional[float]
    early: float
    kept: float


def fit_threshold(
    certainty: NDArray,
    small: NDArray,
    large: NDArray,
    gold: NDArray,
    known: NDArray,
    *,
    keep: float,
) -> Fit:
    """Find the lowest threshold at which a share of the large classifier's score is kept.

    The score is the micro F of the decisions, which is the accuracy if labels are exclusive. The
    least certain texts go to the large classifier first. The threshold stays above the point where
    the score first falls below the share, so that a lucky stretch after it does not count.

    certainty (ndarray): How sure the small classifier is of each text, shape (n_texts,).
    small, large (ndarray): The decisions of both, 0 or 1, shape (n_texts, n_labels).
    gold, known (ndarray): Gold values, and 1 where they are annotated, the same shape.
    keep (float): The share of the score, from 0 to 1.
    RETURNS (Fit): The threshold, and its effect on these texts.
    """
    n_texts = len(certainty)
    order = numpy.argsort(-certainty, kind="stable")
    sure = certainty[order].astype(numpy.float64)
    right, wrong = [], []
    for decisions in (small, large):
        right.append((decisions * gold * known).sum(1, dtype=numpy.float64)[order])
        wrong.append((abs(decisions - gold) * known).sum(1, dtype=numpy.float64)[order])

    def mixed(counts: list) -> NDArray:
        """The sum over all texts when the small one answers the first 0, 1, …, n of them."""
        change = numpy.cumsum(counts[0] - counts[1])
        return counts[1].sum() + numpy.concatenate([[0.0], change])

    twice = 2.0 * mixed(right)
    score = twice / numpy.maximum(twice + mixed(wrong), 1.0)
    enough = score >= keep * score[0]
    last = n_texts if enough.all() else int(enough.argmin()) - 1
    # Texts with the same certainty are answered by the same classifier.
    while 0 < last < n_texts and sure[last - 1] == sure[last]:
        last -= 1
    share = float(score[last] / score[0]) if score[0] > 0 else 1.0
    if last == 0:
        return Fit(None, 0.0, share)
    # Halfway to the next text, because the last digit of a probability depends on the batch.
    threshold = 0.0 if last == n_texts else float(sure[last - 1] + sure[last]) / 2
    return Fit(threshold, last / n_texts, share)
