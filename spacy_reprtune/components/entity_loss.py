"""The loss of an entity recognizer: of tags, of their probabilities, and of incorrect spans."""

from typing import List, Optional, Tuple

import numpy
from numpy.typing import NDArray
from spacy.training import Example

from ..heads.incorrect_spans import incorrect_spans_loss
from ..heads.losses import cross_entropy
from ..heads.tag_layers import TagLayers
from .soft_tags import soft_targets
from .tag_rows import gold_tags, incorrect_spans


def entity_loss(
    examples: List[Example],
    logits: NDArray,
    transitions: Optional[NDArray],
    layers: TagLayers,
    *,
    name: str,
    spans_key: Optional[str],
    incorrect_spans_key: Optional[str],
    soft_labels: bool,
) -> Tuple[float, NDArray, Optional[NDArray]]:
    """Compute the loss and its gradient: the mean over the annotated tokens, summed over layers.

    examples (List[Example]): The examples.
    logits (NDArray): Logits of tags, layer by layer, shape (n_layers * n_tokens, n_tags).
    transitions (Optional[NDArray]): Learned transitions, shape (n_tags, n_tags), or None.
    layers (TagLayers): The tags.
    name (str): Name of the component, for errors.
    spans_key (Optional[str]): See `read_gold`.
    incorrect_spans_key (Optional[str]): Key of the spans that are known to be incorrect.
    soft_labels (bool): Whether the examples hold probabilities of tags.
    RETURNS (Tuple[float, NDArray, Optional[NDArray]]): The loss, and its gradients with respect to
        the logits and to the transitions.
    RAISES (ValueError): A span is an entity and known to be incorrect, or settings exclude each
        other.
    """
    tags, where = layers.scheme, (layers.labels, spans_key)
    gold = gold_tags(examples, logits, tags, *where)
    wrong = incorrect_spans(examples, gold.rows, tags, incorrect_spans_key, *where)
    if wrong and (soft_labels or transitions is not None):
        raise ValueError(
            f"incorrect_spans_key of '{name}' needs learned_transitions = false and soft_labels = "
            "false, because the losses of these settings have no term for incorrect spans."
        )
    if soft_labels and transitions is not None:
        raise ValueError(
            f"'{name}' can't learn probabilities of tags (soft_labels = true) with "
            "learned_transitions = true, because the loss of transitions is computed for whole "
            "sequences. Set one of them to false."
        )
    gradient = numpy.zeros_like(logits)
    if transitions is not None:
        from ..heads.lattice import Lattice

        lattice = Lattice(tags, transitions)
        loss, d_rows, d_transitions = lattice.loss(logits[gold.rows], gold.lengths, gold.tags)
        gradient[gold.rows] = d_rows
        return loss, gradient, d_transitions
    targets: NDArray = gold.tags
    known = numpy.flatnonzero(targets >= 0)
    if soft_labels:
        targets = soft_targets(examples, gold, tags, name)
        known = numpy.flatnonzero(targets.any(1))
    rows, loss = gold.rows[known], 0.0
    if len(rows):
        loss, gradient[rows] = cross_entropy(logits[rows], targets[known])
    if wrong:
        # A span counts as much as a token.
        share = 1.0 / (len(rows) + len(wrong))
        more, d_more = incorrect_spans_loss(logits, wrong, tags)
        loss = share * (len(rows) * loss + more)
        gradient = share * (len(rows) * gradient + d_more)
    return len(layers) * loss, len(layers) * gradient, None
