"""From the logits of docs to entities, and from gold entities to tags.

White space and tokens without a piece get no tag: they are left out of the sequence, so an entity
may span them, but never begins or ends with one.
"""

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..heads.incorrect_spans import IncorrectSpan
from ..heads.tags import PartLogits, TagScheme, TagSpan
from .entities import Entity, Gold, is_space, is_taken, read_gold, starts_sentence

if TYPE_CHECKING:
    from ..heads.lattice import Lattice


class DocEntities(NamedTuple):
    """The predicted entities of a doc.

    entities (List[Entity]): First token, token after the last, label; in order, without overlaps.
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
) -> List[DocEntities]:
    """Find the entities of docs.

    docs (Sequence[Doc]): The docs.
    logits (ndarray): Logits of the tags' parts for all tokens, shape (n_tokens, n_parts).
    lattice (Lattice): The lattice that decodes them.
    overwrite (bool): Whether tokens that are in an entity or blocked may be in another.
    min_score (Union[float, ndarray]): Entities whose probability is lower are left out; one value,
        or one per label.
    RETURNS (List[DocEntities]): One item per doc.
    """
    keep = seen_tokens(docs, logits)
    if not overwrite:
        taken = numpy.concatenate([is_taken(doc) for doc in docs])
        if taken.any():
            # In the sequence, white space or not, so that no entity spans them.
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
    # From tokens of a sequence to rows of all sequences, to rows of all tokens, to the doc's.
    first_row = numpy.cumsum(lengths) - lengths
    first_token = numpy.cumsum(n_tokens) - n_tokens
    sequence, start, end, label = found.T
    doc = doc_of[sequence]
    start = rows[first_row[sequence] + start] - first_token[doc]
    end = rows[first_row[sequence] + end - 1] - first_token[doc] + 1
    result = [DocEntities([], []) for _ in docs]
    labels = lattice.scheme.labels
    lowest = numpy.broadcast_to(min_score, len(labels))
    for i in numpy.flatnonzero(probabilities >= lowest[label]):
        result[doc[i]].entities.append((int(start[i]), int(end[i]), labels[label[i]]))
        result[doc[i]].scores.append(float(probabilities[i]))
    return result


def sequences(
    docs: Sequence[Doc], rows: NDArray[numpy.int64]
) -> Tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
    """Cut the tokens of docs into sequences that no entity crosses: docs, or their sentences where
    boundaries are set.

    docs (Sequence[Doc]): The docs.
    rows (NDArray[int64]): The tokens that have tags, as rows of all tokens, in order.
    RETURNS (Tuple[NDArray[int64], NDArray[int64]]): The length of each sequence, and the number of
        the doc that it is in. The sequences of a doc without sentence boundaries are one.
    """
    starts = [starts_sentence(doc) for doc in docs if len(doc)]
    n_tokens = numpy.array([len(doc) for doc in docs])
    # A doc begins a sequence, whatever is set. A boundary at a token without a tag counts as well.
    first = numpy.zeros(int(n_tokens.sum()) + 1, dtype=bool)
    if starts:
        first[:-1] = numpy.concatenate(starts)
    first[numpy.cumsum(n_tokens) - n_tokens] = True
    sequence_of = (numpy.cumsum(first[:-1]) - 1)[rows]
    doc_of_token = numpy.repeat(numpy.arange(len(docs)), n_tokens)
    lengths = numpy.bincount(sequence_of, minlength=int(first[:-1].sum()))
    return lengths, doc_of_token[first[:-1]]


def gold_tags(examples: Sequence[Example], rows: NDArray, scheme: TagScheme) -> GoldTags:
    """Tag the tokens of predicted docs with their gold entities.

    examples (Sequence[Example]): The examples.
    rows (ndarray): Output of the model for all their tokens, zeros for a token without a piece,
        shape (n_tokens, n_columns).
    scheme (TagScheme): The tags. Entities with other labels count as outside.
    RETURNS (GoldTags): The tags.
    """
    docs = [eg.predicted for eg in examples]
    seen = seen_tokens(docs, rows)
    numbers = {label: i for i, label in enumerate(scheme.labels)}
    tags: List[NDArray] = [numpy.zeros(0, dtype=numpy.int64)]
    start = 0
    for example, doc in zip(examples, docs, strict=True):
        own = seen[start : start + len(doc)]
        tags.append(_tags_of_seen(read_gold(example), own, scheme, numbers))
        start += len(doc)
    lengths = [len(own) for own in tags[1:]]
    return GoldTags(numpy.flatnonzero(seen), lengths, numpy.concatenate(tags))


def incorrect_spans(
    examples: Sequence[Example],
    rows: NDArray[numpy.int64],
    scheme: TagScheme,
    key: Optional[str],
) -> List[IncorrectSpan]:
    """Find the spans that are known not to be entities.

    examples (Sequence[Example]): The examples.
    rows (NDArray[int64]): Tokens that have tags, as rows of all tokens, in order.
    scheme (TagScheme): The tags. A span without a label is not an entity of any label.
    key (Optional[str]): Key of the spans in `doc.spans` of the references, or None.
    RETURNS (List[IncorrectSpan]): The spans. One whose borders cut a token says nothing.
    RAISES (ValueError): A span is an entity as well.
    """
    found: List[IncorrectSpan] = []
    numbers = {label: [i] for i, label in enumerate(scheme.labels)}
    numbers[""] = list(range(len(scheme.labels)))
    first = 0
    for example in examples:
        n_tokens = len(example.predicted)
        spans = example.reference.spans.get(key, ()) if key else ()
        if len(spans):
            own = rows[(rows >= first) & (rows < first + n_tokens)]
            entities = {(e.start_char, e.end_char, e.label_) for e in example.reference.ents}
            both = [s for s in spans if (s.start_char, s.end_char, s.label_) in entities]
            if both:
                raise ValueError(
                    f"'{both[0].text}' is an entity with the label {both[0].label_}, and under "
                    f"doc.spans['{key}'] a span that is known not to be one, in the text "
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
    for start, end, label in gold.entities:
        first, after = int(position[start]), int(position[end])
        if first < after and label in numbers:
            spans.append((first, after, numbers[label]))
    tags = scheme.tags(spans, int(position[-1]))
    tags[~gold.known[seen]] = -1
    return tags
