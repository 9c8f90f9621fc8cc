"""The probe of a token classifier: a head fitted to a sample of tokens."""

from typing import TYPE_CHECKING, Iterable, Optional

import numpy
from spacy.training import Example

from ..bridge.encoder import token_spans
from ..heads.probe import Probe, fit_classes
from ..heads.tags import TagScheme
from .tag_rows import gold_tags

if TYPE_CHECKING:
    from ..heads.token_classifier import TokenClassifier

# Docs are encoded up to this many tokens, and at most the second number of tokens outside of
# entities and of tokens inside are used: enough for a start, and few enough for seconds.
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
    RETURNS (Optional[Probe]): The head, or None if there are not even two different tags.
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
    random = numpy.random.default_rng(0)
    weights = numpy.ones(len(scheme))
    used = []
    for tags, of_these in ((slice(0, 1), gold.tags == 0), (slice(1, None), gold.tags > 0)):
        rows = random.permutation(numpy.flatnonzero(of_these))
        used.append(rows[:USED_TOKENS])
        weights[tags] = len(rows) / max(len(used[-1]), 1)
    rows = numpy.sort(numpy.concatenate(used))
    if len(numpy.unique(gold.tags[rows])) < 2:
        return None
    return fit_classes(vectors[gold.rows[rows]], gold.tags[rows], len(scheme), weights=weights)
