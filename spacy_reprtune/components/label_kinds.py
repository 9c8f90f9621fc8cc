"""What differs between exclusive and independent labels of texts.

`gold` and `known` are those of `cats.read_cats`; a text with unknown gold counts for nothing.
"""

from typing import TYPE_CHECKING, Optional, Tuple

import numpy
from numpy.typing import NDArray

from ..heads.losses import binary_cross_entropy, cross_entropy, sigmoid, softmax

if TYPE_CHECKING:
    from ..heads.probe import Probe


class Exclusive:
    """Exactly one label is right: probabilities of a text add up to 1."""

    def probabilities(self, logits: NDArray) -> NDArray:
        """RETURNS (ndarray): Probabilities, in the shape of the logits."""
        return softmax(logits)

    def loss(
        self,
        logits: NDArray,
        gold: NDArray,
        known: NDArray,
        *,
        weights: Optional[NDArray] = None,
        smoothing: float = 0.0,
    ) -> Tuple[float, NDArray]:
        """Compute the mean cross-entropy.

        logits, gold, known (ndarray): Shape (n_texts, n_labels).
        weights (Optional[ndarray]): Of the labels, shape (n_labels,), or None for 1.
        smoothing (float): Share of each target that is spread over all labels.
        RETURNS (Tuple[float, ndarray]): The loss, and its gradient in the shape of the logits.
        """
        rows = numpy.flatnonzero(known.any(1))
        gradient = numpy.zeros_like(logits)
        if not len(rows):
            return 0.0, gradient
        loss, gradient[rows] = cross_entropy(
            logits[rows], gold[rows].argmax(1), weights=weights, smoothing=smoothing
        )
        return loss, gradient

    def promises(self, scores: NDArray, gold: NDArray, known: NDArray) -> Tuple[NDArray, NDArray]:
        """Find the probabilities that are promises, and whether they were kept.

        scores, gold, known (ndarray): Shape (n_texts, n_labels).
        RETURNS (Tuple[ndarray, ndarray]): That of the best label of each text.
        """
        rows = numpy.flatnonzero(known.any(1))
        best = scores[rows].argmax(1)
        return scores[rows, best], gold[rows, best] > 0

    def fit_probe(
        self, vectors: NDArray, gold: NDArray, known: NDArray, *, weights: Optional[NDArray] = None
    ) -> "Probe":
        """Solve a head for vectors of texts whose gold is known.

        vectors (ndarray): Shape (n_texts, width).
        gold, known (ndarray): Shape (n_texts, n_labels).
        weights (Optional[ndarray]): Of the labels, shape (n_labels,).
        RETURNS (Probe): The head.
        """
        from ..heads.probe import fit_classes

        return fit_classes(vectors, gold.argmax(1), gold.shape[1], weights=weights)


class Independent(Exclusive):
    """Any number of labels is right: each has a probability of its own."""

    def probabilities(self, logits: NDArray) -> NDArray:
        """See `Exclusive`."""
        return sigmoid(logits)

    def loss(
        self,
        logits: NDArray,
        gold: NDArray,
        known: NDArray,
        *,
        weights: Optional[NDArray] = None,
        smoothing: float = 0.0,
    ) -> Tuple[float, NDArray]:
        """See `Exclusive`; smoothing moves targets from 0 and 1 towards a half."""
        return binary_cross_entropy(logits, gold, known, weights=weights, smoothing=smoothing)

    def promises(self, scores: NDArray, gold: NDArray, known: NDArray) -> Tuple[NDArray, NDArray]:
        """See `Exclusive`: those of all labels."""
        return scores[known > 0], gold[known > 0] > 0

    def fit_probe(
        self, vectors: NDArray, gold: NDArray, known: NDArray, *, weights: Optional[NDArray] = None
    ) -> "Probe":
        """See `Exclusive`: a regression a label."""
        from ..heads.probe import fit_independent

        return fit_independent(vectors, gold, known, weights=weights)
