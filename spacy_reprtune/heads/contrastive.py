"""Contrastive losses over all pairs of a batch, and their gradients.

The `setfit` library draws pairs and encodes both sides of each (Tunstall et al. 2022, Efficient
Few-Shot Learning Without Prompts, section 3). Here each text is encoded once and every pair in
the batch counts, which is the expectation of the loss over the pairs that it would draw.
"""

from typing import Tuple

import numpy
from numpy.typing import NDArray

LOSSES = ("cosine", "supcon")


def pair_masks(
    gold: NDArray,
    known: NDArray,
    other_gold: NDArray,
    other_known: NDArray,
) -> Tuple[NDArray, NDArray]:
    """Find the pairs of texts that belong together, and those that don't.

    Two texts with a label in common are a positive pair. Two without are a negative pair, unless
    both have no label at all, which says nothing about their similarity, or a label that one of
    them has is not annotated in the other.

    gold (NDArray): 0 or 1, shape (n_texts, n_labels).
    known (NDArray): 1 where `gold` is annotated, the same shape.
    other_gold, other_known (NDArray): The same for the other texts, shape (n_others, n_labels).
    RETURNS (Tuple[NDArray, NDArray]): The positive and the negative pairs, both bool of the shape
        (n_texts, n_others). A text and itself are a positive pair, which the caller has to mask.
    """
    own, other = gold * known, other_gold * other_known
    positive = own @ other.T > 0
    unsure = (own @ (1.0 - other_known).T + (1.0 - known) @ other.T) > 0
    nothing = (own.sum(1) == 0)[:, None] & (other.sum(1) == 0)[None]
    return positive, ~positive & ~unsure & ~nothing


def pairs_within(gold: NDArray, known: NDArray) -> Tuple[NDArray, NDArray]:
    """RETURNS (Tuple[NDArray, NDArray]): The positive and the negative pairs among texts, without
    pairs of a text and itself; see `pair_masks`."""
    positive, negative = pair_masks(gold, known, gold, known)
    numpy.fill_diagonal(positive, False)
    numpy.fill_diagonal(negative, False)
    return positive, negative


def all_pairs_cosine(
    vectors: NDArray, positive: NDArray, negative: NDArray
) -> Tuple[float, NDArray]:
    """Add half the mean of (1 - cos)² over positive pairs and half the mean of cos² over negative
    pairs.

    Both kinds have the same weight, however many pairs there are, as in the library's oversampling.

    vectors (NDArray): One row per text, shape (n_texts, width).
    positive, negative (NDArray): Symmetric bool masks without a diagonal, (n_texts, n_texts).
    RETURNS (Tuple[float, NDArray]): The loss and its gradient, in the vectors' shape. A kind
        without pairs adds nothing.
    """
    units, norms = _units(vectors)
    cosines = units @ units.T
    weight = 0.5 * positive / max(positive.sum(), 1) + 0.5 * negative / max(negative.sum(), 1)
    excess = cosines - positive
    loss = (weight * excess**2).sum()
    # Each pair is in the matrix twice, and moves both of its texts.
    d_units = 4.0 * (weight * excess) @ units
    return float(loss), _through_units(d_units, units, norms).astype(vectors.dtype)


def supervised_contrastive(
    vectors: NDArray, positive: NDArray, negative: NDArray, *, temperature: float
) -> Tuple[float, NDArray]:
    """Compute the mean negative log-probability of each text's positive pairs in a softmax over all
    of its pairs (Khosla et al. 2020, Supervised Contrastive Learning, equation 2).

    vectors (NDArray): One row per text, shape (n_texts, width).
    positive, negative (NDArray): Symmetric bool masks without a diagonal, (n_texts, n_texts).
    temperature (float): Divisor of the cosines. The lower it is, the more the closest negatives
        count.
    RETURNS (Tuple[float, NDArray]): The loss, a mean over the texts that have a positive pair (0
        if none has), and its gradient, in the vectors' shape.
    """
    units, norms = _units(vectors)
    anchors = positive.any(1)
    pairs = positive | negative
    scores = numpy.where(pairs, units @ units.T / temperature, -numpy.inf)
    # A text without any pair has no highest score and is not an anchor.
    highest = numpy.where(pairs.any(1), scores.max(1, initial=-numpy.inf), 0.0)
    shares = numpy.exp(scores - highest[:, None])
    total = numpy.maximum(shares.sum(1), numpy.finfo(shares.dtype).tiny)
    logs = numpy.where(positive, scores - highest[:, None] - numpy.log(total)[:, None], 0.0)
    target = positive / numpy.maximum(positive.sum(1), 1)[:, None]
    weight = anchors / max(anchors.sum(), 1)
    loss = -(weight * (target * logs).sum(1)).sum()
    d_scores = weight[:, None] * (shares / total[:, None] - target)
    d_units = (d_scores + d_scores.T) @ units / temperature
    return float(loss), _through_units(d_units, units, norms).astype(vectors.dtype)


def _units(vectors: NDArray) -> Tuple[NDArray, NDArray]:
    # Double precision costs nothing at this size, and makes the order of summation irrelevant.
    vectors = vectors.astype("d")
    norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    # A text without any piece has the zero vector, which has no direction.
    norms = numpy.where(norms > 0, norms, 1.0)
    return vectors / norms, norms


def _through_units(d_units: NDArray, units: NDArray, norms: NDArray) -> NDArray:
    along = (d_units * units).sum(1, keepdims=True)
    return (d_units - along * units) / norms
