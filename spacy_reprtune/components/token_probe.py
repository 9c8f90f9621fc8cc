"""Fit a linear probe for a token classifier to a sample of tokens."""

from typing import TYPE_CHECKING, Iterable, Optional, Tuple

import numpy
from numpy.typing import NDArray
from spacy.training import Example

from ..bridge.encoder import token_spans
from ..heads.probe import Probe, fit_classes
from ..heads.tags import TagScheme
from .tag_rows import gold_tags

if TYPE_CHECKING:
    from ..heads.token_classifier import TokenClassifier

# The most tokens that are encoded, and the most that are used, both outside of entities and inside:
# enough for a good start, and few enough to take only seconds.
READ_TOKENS = 100_000
USED_TOKENS = 10_000


def fit_head(
    module: "TokenClassifier", examples: Iterable[Example], scheme: TagScheme
) -> Optional[Probe]:
    """Fit the head of a token classifier.

    All tokens of rare tags are used, and a sample of those outside of entities, weighted to count
    as much as all of them.

    module (TokenClassifier): The classifier, with the untouched encoder.
    examples (Iterable[Example]): Training examples.
    scheme (TagScheme): The tags.
    RETURNS (Optional[Probe]): The head, or None if there are fewer than two different tags.
    """
    chosen, n_tokens = [], 0
    for example in examples:
        if n_tokens < READ_TOKENS and example.reference.has_annotation("ENT_IOB"):
            chosen.append(example)
            n_tokens += len(example.predicted)
    if not chosen:
        return None
    vectors = module.vectors([token_spans(eg.predicted) for eg in chosen])
    gold = gold_tags(chosen, vectors, scheme)
    rows, weights = sample_tokens(gold.tags, len(scheme), USED_TOKENS)
    if len(numpy.unique(gold.tags[rows])) < 2:
        return None
    return fit_classes(vectors[gold.rows[rows]], gold.tags[rows], len(scheme), weights=weights)


def sample_tokens(tags: NDArray, n_tags: int, most: int) -> Tuple[NDArray[numpy.int64], NDArray]:
    """Sample tokens outside of entities and inside, with weights that make up for the sampling.

    tags (NDArray[int64]): Tags of the tokens, -1 where they are not known, shape (n_tokens,).
    n_tags (int): Number of tags.
    most (int): The most tokens outside of entities, and the most inside.
    RETURNS (Tuple[NDArray[int64], NDArray[float64]]): The sampled tokens, in order, and the weight
        of each tag, shape (n_tags,).
    """
    random = numpy.random.default_rng(0)
    weights, used = numpy.ones(n_tags), []
    for kind, of_kind in ((slice(0, 1), tags == 0), (slice(1, None), tags > 0)):
        rows = random.permutation(numpy.flatnonzero(of_kind))
        used.append(rows[:most])
        weights[kind] = len(rows) / max(len(used[-1]), 1)
    return numpy.sort(numpy.concatenate(used)), weights
