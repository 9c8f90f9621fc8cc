"""The loss of spans that are known not to be entities, whatever else their tokens may be."""

from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy
from numpy.typing import NDArray

from .losses import softmax
from .tags import TagScheme

# Probabilities that are divided by, or whose log is taken, count as at least this.
_LEAST = 1e-12


@dataclass(frozen=True)
class IncorrectSpan:
    """A span that is not an entity of these labels.

    rows (NDArray[int64]): Rows of its tokens in the logits, at least one.
    after (int): Row of the token after it, -1 at the end of a sequence.
    labels (Sequence[int]): Indices of the labels that it does not have.
    """

    rows: NDArray[numpy.int64]
    after: int
    labels: Sequence[int]


def incorrect_spans_loss(
    logits: NDArray, spans: Sequence[IncorrectSpan], scheme: TagScheme
) -> Tuple[float, NDArray]:
    """Compute the negative log-likelihood that none of the spans is an entity of the labels that it
    is known not to have: the sum over spans of -log(1 - P), where P is the probability of the
    entity, the product of the probabilities of its tags.

    logits (NDArray): Shape (n_tokens, n_tags).
    spans (Sequence[IncorrectSpan]): The spans.
    scheme (TagScheme): The tags.
    RETURNS (Tuple[float, NDArray]): The loss and its gradient, in the logits' shape.
    """
    gradient = numpy.zeros(logits.shape)
    loss = 0.0
    for span in spans:
        # "bio" has no tag for the end of an entity, so the token after it decides.
        open_end = scheme.scheme == "bio" and span.after >= 0
        rows = numpy.append(span.rows, span.after) if open_end else span.rows
        p = softmax(logits[rows].astype(numpy.float64))
        n, total, d_rows = len(span.rows), 0.0, numpy.zeros_like(p)
        for label in span.labels:
            tags = scheme.tags([(0, n, label)], n)
            allowed = numpy.zeros(p.shape, dtype=bool)
            allowed[numpy.arange(n), tags] = True
            if open_end:
                allowed[n] = ~scheme.continues | (scheme.label_of != label)
            inside = p * allowed
            mass = inside.sum(1, keepdims=True)
            probability = float(mass.prod())
            total += probability
            # The gradient of log P: towards the tags of the span, away from the others.
            d_rows += probability * (inside / numpy.maximum(mass, _LEAST) - p)
        rest = max(1.0 - total, _LEAST)
        loss -= float(numpy.log(rest))
        gradient[rows] += d_rows / rest
    return loss, gradient.astype(logits.dtype)
