"""Losses of text classification and their gradients, as means over the annotated labels."""

from typing import Optional, Tuple

import numpy
from numpy.typing import NDArray


def softmax(logits: NDArray) -> NDArray:
    """RETURNS (NDArray): Probabilities over the last axis, the same shape."""
    shifted = numpy.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def sigmoid(logits: NDArray) -> NDArray:
    """RETURNS (NDArray): A probability for each logit, the same shape."""
    # tanh does not overflow.
    return 0.5 * (1.0 + numpy.tanh(0.5 * logits))


def cross_entropy(
    logits: NDArray,
    gold: NDArray,
    *,
    weights: Optional[NDArray] = None,
    smoothing: float = 0.0,
) -> Tuple[float, NDArray]:
    """Softmax cross-entropy, averaged over texts by the weight of their target.

    logits (NDArray): Shape (n_texts, n_labels).
    gold (NDArray): Index of each text's label, shape (n_texts,), or the probability of every
        label, in the logits' shape.
    weights (Optional[NDArray]): Weight of each label, shape (n_labels,). With probabilities, a
        text has the mean weight of its labels.
    smoothing (float): Share of the target that is spread over all labels (Szegedy et al. 2016,
        section 7).
    RETURNS (Tuple[float, NDArray]): The loss and its gradient, in the logits' shape.
    """
    n_texts, n_labels = logits.shape
    target = numpy.full_like(logits, smoothing / n_labels)
    weight = numpy.ones(n_texts, dtype=logits.dtype)
    if gold.ndim == 1:
        target[numpy.arange(n_texts), gold] += 1.0 - smoothing
        weight = weight if weights is None else weights[gold]
    else:
        target += (1.0 - smoothing) * gold
        weight = weight if weights is None else gold @ weights
    total = weight.sum()
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))
    loss = -(target * log_probabilities).sum(-1) @ weight / total
    gradient = (numpy.exp(log_probabilities) - target) * (weight / total)[:, None]
    return float(loss), gradient.astype(logits.dtype)


def binary_cross_entropy(
    logits: NDArray,
    gold: NDArray,
    known: NDArray,
    *,
    weights: Optional[NDArray] = None,
    smoothing: float = 0.0,
) -> Tuple[float, NDArray]:
    """Sigmoid cross-entropy, averaged over the annotated cells.

    logits (NDArray): Shape (n_texts, n_labels).
    gold (NDArray): 0, 1 or a probability for each cell, the same shape.
    known (NDArray): 1 where a cell is annotated, 0 where not, the same shape.
    weights (Optional[NDArray]): Weight of each label's positive cells, shape (n_labels,).
    smoothing (float): How far targets move from 0 and 1 towards a half, from 0 to 1.
    RETURNS (Tuple[float, NDArray]): The loss and its gradient, in the logits' shape.
    """
    target = gold * (1.0 - smoothing) + 0.5 * smoothing
    cell = known if weights is None else known * (gold * weights + (1.0 - gold))
    total = max(cell.sum(), numpy.finfo(logits.dtype).tiny)
    # log(1 + exp(x)) - target * x, without overflow.
    losses = numpy.logaddexp(0.0, logits) - target * logits
    gradient = (sigmoid(logits) - target) * cell / total
    return float((losses * cell).sum() / total), gradient.astype(logits.dtype)
