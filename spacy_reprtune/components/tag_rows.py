"""Turn the logits of docs into entities, and gold entities into tags.

White space and tokens without a piece get no tag: they are left out of the sequence, so an entity
may span them, but never begins or ends with one.
"""

from itertools import product
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..heads.incorrect_spans import IncorrectSpan
from ..heads.tags import PartLogits, TagScheme, TagSpan
from .entities import (
    Entity,
    Gold,
    gold_entities,
    is_space,
    is_taken,
    read_gold,
    starts_sentence,
    without_overlaps,
)

if TYPE_CHECKING:
    from ..heads.lattice import Lattice


class DocEntities(NamedTuple):
    """The predicted entities of a doc.

    entities (List[Entity]): First token, token after the last, label; in order. Entities of one
        layer do not overlap.
    scores (List[float]): The probability of each.
    """

    entities: List[Entity]
    scores: List[float]


class GoldTags(NamedTuple):
    """The gold tags of docs.

    rows (NDArray[int64]): The tokens in the sequences, as rows of all tokens, shape (n_seen,).
    lengths (List[int]): Length of the sequence of each doc.
    tags (NDArray[int64]): Tags of these tokens, -1 where they are not known, shape (n_seen,).
    """

    rows: NDArray[numpy.int64]
    lengths: List[int]
    tags: NDArray[numpy.int64]


def decode(
    docs: Sequence[Doc],
    logits: NDArray,
    lattice: "Lattice",
    *,
    overwrite: bool,
    min_score: Union[float, NDArray],
    layers: Optional[Sequence[Sequence[str]]] = None,
) -> List[DocEntities]:
    """Find the entities of docs.

    docs (Sequence[Doc]): The docs.
    logits (ndarray): Logits of the tags' parts for all tokens, layer by layer, shape
        (n_layers * n_tokens, n_parts).
    lattice (Lattice): The lattice that decodes them.
    overwrite (bool): Whether tokens that are in an entity or blocked may be in another.
    min_score (Union[float, ndarray]): Entities whose probability is lower are left out; one value,
        or one per label of all layers.
    layers (Optional[Sequence[Sequence[str]]]): The labels of each layer; None for one layer.
    RETURNS (List[DocEntities]): One item per doc.
    """
    layers = [lattice.scheme.labels] if layers is None else layers
    n_docs, docs = len(docs), list(docs) * len(layers)
    keep = seen_tokens(docs, logits)
    if not overwrite:
        taken = numpy.concatenate([is_taken(doc) for doc in docs])
        if taken.any():
            # These tokens stay in the sequence, even white space, so that no entity spans them.
            logits = logits.copy()
            logits[taken] = -numpy.inf
            logits[taken, 0] = 0.0
            keep |= taken
    rows = numpy.flatnonzero(keep)
    n_tokens = numpy.array([len(doc) for doc in docs])
    lengths, doc_of = sequences(docs, rows)
    seen = PartLogits(lattice.scheme, logits[rows])
    tags = lattice.decode(seen, lengths)
    found, probabilities = lattice.entity_probabilities(seen, lengths, tags)
    # From tokens of a sequence to rows of all sequences, to rows of all tokens, to tokens of a doc.
    first_row = numpy.cumsum(lengths) - lengths
    first_token = numpy.cumsum(n_tokens) - n_tokens
    sequence, start, end, label = found.T
    doc = doc_of[sequence]
    start = rows[first_row[sequence] + start] - first_token[doc]
    end = rows[first_row[sequence] + end - 1] - first_token[doc] + 1
    layer, doc = numpy.divmod(doc, n_docs)
    # All layers have the same number of labels.
    label += layer * len(layers[0])
    labels = [name for own in layers for name in own]
    lowest = numpy.broadcast_to(min_score, len(labels))
    result = [DocEntities([], []) for _ in range(n_docs)]
    for i in numpy.lexsort((-end, start)):
        if probabilities[i] >= lowest[label[i]]:
            result[doc[i]].entities.append((int(start[i]), int(end[i]), labels[label[i]]))
            result[doc[i]].scores.append(float(probabilities[i]))
    return result


def sequences(
    docs: Sequence[Doc], rows: NDArray[numpy.int64]
) -> Tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
    """Cut the tokens of docs into sequences that no entity crosses: docs, or their sentences if
    boundaries are set.

    docs (Sequence[Doc]): The docs.
    rows (NDArray[int64]): The tokens that have tags, as rows of all tokens, in order.
    RETURNS (Tuple[NDArray[int64], NDArray[int64]]): The length of each sequence, and the number of
        the doc that it is in. A doc without sentence boundaries is one sequence.
    """
    starts = [starts_sentence(doc) for doc in docs if len(doc)]
    n_tokens = numpy.array([len(doc) for doc in docs])
    # Every doc begins a sequence. A boundary at a token without a tag counts as well.
    first = numpy.zeros(int(n_tokens.sum()) + 1, dtype=bool)
    if starts:
        first[:-1] = numpy.concatenate(starts)
    first[numpy.cumsum(n_tokens) - n_tokens] = True
    sequence_of = (numpy.cumsum(first[:-1]) - 1)[rows]
    doc_of_token = numpy.repeat(numpy.arange(len(docs)), n_tokens)
    lengths = numpy.bincount(sequence_of, minlength=int(first[:-1].sum()))
    return lengths, doc_of_token[first[:-1]]


def gold_tags(
    examples: Sequence[Example],
    rows: NDArray,
    scheme: TagScheme,
    layers: Optional[Sequence[Sequence[str]]] = None,
    spans_key: Optional[str] = None,
) -> GoldTags:
    """Tag the tokens of predicted docs with their gold entities.

    examples (Sequence[Example]): The examples.
    rows (ndarray): Output of the model for all their tokens, zeros for a token without a piece,
        layer by layer, shape (n_layers * n_tokens, n_columns).
    scheme (TagScheme): The tags. Entities with other labels count as outside.
    layers (Optional[Sequence[Sequence[str]]]): The labels of each layer; None for one layer. If
        spans overlap in a layer, the longest is tagged.
    spans_key (Optional[str]): See `read_gold`.
    RETURNS (GoldTags): The tags, layer by layer. Each layer of a doc is a sequence.
    """
    layers = [scheme.labels] if layers is None else layers
    seen = seen_tokens([eg.predicted for eg in examples] * len(layers), rows)
    golds = [read_gold(example, spans_key) for example in examples]
    tags: List[NDArray] = [numpy.zeros(0, dtype=numpy.int64)]
    start = 0
    for layer in layers:
        numbers = {label: i for i, label in enumerate(layer)}
        for gold in golds:
            own = seen[start : start + len(gold.known)]
            tags.append(_tags_of_seen(gold, own, scheme, numbers))
            start += len(own)
    lengths = [len(own) for own in tags[1:]]
    return GoldTags(numpy.flatnonzero(seen), lengths, numpy.concatenate(tags))


def incorrect_spans(
    examples: Sequence[Example],
    rows: NDArray[numpy.int64],
    scheme: TagScheme,
    key: Optional[str],
    layers: Optional[Sequence[Sequence[str]]] = None,
    spans_key: Optional[str] = None,
) -> List[IncorrectSpan]:
    """Find the spans that are known not to be entities.

    examples (Sequence[Example]): The examples.
    rows (NDArray[int64]): Tokens that have tags, as rows of all tokens, in order, layer by layer.
    scheme (TagScheme): The tags. A span without a label is not an entity of any label.
    key (Optional[str]): Key of the spans in `doc.spans` of the references, or None.
    layers (Optional[Sequence[Sequence[str]]]): The labels of each layer; None for one layer.
    spans_key (Optional[str]): See `read_gold`.
    RETURNS (List[IncorrectSpan]): The spans, without those whose borders cut a token.
    RAISES (ValueError): A span is an entity as well.
    """
    found: List[IncorrectSpan] = []
    layers = [scheme.labels] if layers is None else layers
    first = 0
    for layer, example in product(layers if key else (), examples):
        numbers = {label: [i] for i, label in enumerate(layer)}
        numbers[""] = list(range(len(layer)))
        n_tokens = len(example.predicted)
        spans = example.reference.spans.get(key, ()) if key else ()
        if len(spans):
            own = rows[(rows >= first) & (rows < first + n_tokens)]
            gold = gold_entities(example.reference, spans_key)
            entities = {(e.start_char, e.end_char, e.label_) for e in gold}
            both = [s for s in spans if (s.start_char, s.end_char, s.label_) in entities]
            if both:
                raise ValueError(
                    f"'{both[0].text}' is an entity with the label {both[0].label_}, but in "
                    f"doc.spans['{key}'] it is a span that is known not to be one, in the text "
                    f"{example.reference.text[:60]!r}. Keep one of them."
                )
            for span in example.get_aligned_spans_y2x(spans, allow_overlap=True):
                inside = own[(own >= first + span.start) & (own < first + span.end)]
                after = own[own >= first + span.end]
                if len(inside) and span.label_ in numbers:
                    following = int(after[0]) if len(after) else -1
                    found.append(IncorrectSpan(inside, following, numbers[span.label_]))
        first += n_tokens
    return found


def seen_tokens(docs: Sequence[Doc], rows: NDArray) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Which tokens have a tag, given the output of the model. A row of
    zeros stands for a token without a piece."""
    if not len(rows):
        return numpy.zeros(0, dtype=bool)
    return rows.any(1) & ~numpy.concatenate([is_space(doc) for doc in docs])


def _tags_of_seen(
    gold: Gold, seen: NDArray, scheme: TagScheme, numbers: Dict[str, int]
) -> NDArray[numpy.int64]:
    position = numpy.concatenate([[0], numpy.cumsum(seen)])
    spans: List[TagSpan] = []
    for start, end, label in without_overlaps([e for e in gold.entities if e[2] in numbers]):
        first, after = int(position[start]), int(position[end])
        if first < after:
            spans.append((first, after, numbers[label]))
    tags = scheme.tags(spans, int(position[-1]))
    tags[~gold.known[seen]] = -1
    return tags
