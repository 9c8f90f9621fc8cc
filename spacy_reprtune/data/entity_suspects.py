"""Find entities that look wrong: spurious, missing, cut in the wrong place, or with a wrong label.

The tags of all tokens get probabilities from heads that were fitted to other texts. These see the
vector of a token, and which tags its words have in the rest of the corpus. The lattice of tags
turns them into probabilities of entities. If the best reading of a text differs from its
annotation, the doubt is how sure the heads are of that other reading.
"""

from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..components.probe_start import sample_tokens
from ..components.tag_rows import GoldTags, gold_tags
from ..copies import copy_groups
from ..heads.held_out import held_out_probabilities
from ..heads.lattice import Lattice
from ..heads.tags import TagScheme
from .word_evidence import tag_evidence

# The most tokens that heads are fitted to, both outside of entities and inside. This takes seconds.
USED_TOKENS = 6_000
# Entities: first token, token after the last, label.
Scored = Tuple[int, int, str, float]


@dataclass
class Reading:
    """Two readings of a part of a doc that differ.

    gold, suggested (List[Scored]): The annotated and the predicted entities, each with its
        probability; one of them may be empty.
    doubt (float): Probability of the least sure part of the suggested reading: of an entity in it,
        or of an annotated token that is outside of entities in it.
    """

    gold: List[Scored]
    suggested: List[Scored]
    doubt: float


def entity_suspects(vectors: NDArray, docs: Sequence[Doc]) -> Iterator[Tuple[int, Reading]]:
    """Find the places where heads that have not seen a text disagree with its entities.

    vectors (ndarray): fp32 rows for all tokens of all docs in order, shape (n_tokens, width).
    docs (Sequence[Doc]): The docs, with their entities.
    YIELDS (Tuple[int, Reading]): Number of the doc, and the two readings.
    RAISES (ValueError): There are no entities, or too few docs.
    """
    scheme = TagScheme(sorted({ent.label_ for doc in docs for ent in doc.ents}), "bilou")
    gold = gold_tags([Example(doc, doc) for doc in docs], vectors, scheme)
    doc_of = numpy.repeat(numpy.arange(len(docs)), [len(doc) for doc in docs])[gold.rows]
    # Copies of a text stay together, or else their annotation would confirm itself.
    same = copy_groups(doc.text for doc in docs)
    rows, weights = sample_tokens(gold.tags, len(scheme), USED_TOKENS)
    evidence = tag_evidence(docs, gold.rows, gold.tags, len(scheme), same[doc_of])
    probabilities = held_out_probabilities(
        numpy.concatenate([vectors[gold.rows], evidence], axis=1),
        gold.tags,
        len(scheme),
        groups=same[doc_of],
        rows=rows,
        weights=weights,
    )
    # A token that heads do not see, such as white space, contradicts no reading.
    outside = numpy.ones(len(vectors))
    outside[gold.rows] = probabilities[:, 0]
    yield from _disagreements(docs, gold, numpy.log(probabilities), outside, scheme)


def _disagreements(
    docs: Sequence[Doc], gold: GoldTags, logits: NDArray, outside: NDArray, scheme: TagScheme
) -> Iterator[Tuple[int, Reading]]:
    lattice = Lattice(scheme)
    n_tokens = numpy.array([len(doc) for doc in docs])
    first_token = numpy.cumsum(n_tokens) - n_tokens
    first_row = numpy.cumsum(gold.lengths) - gold.lengths

    def entities(path: NDArray) -> Dict[int, List[Scored]]:
        found, scores = lattice.entity_probabilities(logits, gold.lengths, path)
        by_doc: Dict[int, List[Scored]] = {}
        for (doc, start, end, label), score in zip(found.tolist(), scores, strict=True):
            own = gold.rows[first_row[doc] :] - first_token[doc]
            item = int(own[start]), int(own[end - 1]) + 1, scheme.labels[label], float(score)
            by_doc.setdefault(doc, []).append(item)
        return by_doc

    annotated = entities(numpy.maximum(gold.tags, 0))
    suggested = entities(lattice.decode(logits, gold.lengths))
    unknown = set(gold.rows[gold.tags < 0].tolist())
    for doc in sorted({*annotated, *suggested}):
        for reading in _pair(annotated.get(doc, []), suggested.get(doc, [])):
            both = [*reading.gold, *reading.suggested]
            span = range(min(e[0] for e in both), max(e[1] for e in both))
            if unknown.isdisjoint(first_token[doc] + token for token in span):
                inside = {t for e in reading.suggested for t in range(*e[:2])}
                left = {t for e in reading.gold for t in range(*e[:2])} - inside
                sure = [outside[first_token[doc] + token] for token in left]
                reading.doubt = float(min([e[3] for e in reading.suggested] + sure))
                yield doc, reading


def _pair(gold: List[Scored], suggested: List[Scored]) -> Iterator[Reading]:
    """Group entities that overlap, and leave out those on which both readings agree."""
    both = {e[:3] for e in gold} & {e[:3] for e in suggested}
    items = [(e, True) for e in gold if e[:3] not in both]
    items += [(e, False) for e in suggested if e[:3] not in both]
    items.sort(key=lambda item: item[0][:2])
    reading, last = Reading([], [], 0.0), -1
    for entity, is_gold in items:
        if entity[0] >= last and (reading.gold or reading.suggested):
            yield reading
            reading, last = Reading([], [], 0.0), -1
        (reading.gold if is_gold else reading.suggested).append(entity)
        last = max(last, entity[1])
    if reading.gold or reading.suggested:
        yield reading
