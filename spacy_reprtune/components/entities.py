"""Read the gold entities of docs, and write entities with their scores."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Iterable, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

# First token, the token after the last, label.
Entity = Tuple[int, int, str]

MISSING, BLOCKED_TYPE, BEGIN = 0, 0, 3
# The extension of spans that holds scores of this package, and a short name for it.
SCORE = "reprtune_score"
SHORT_SCORE = "score"


@dataclass
class Gold:
    """The gold entities of a doc.

    entities (List[Entity]): The entities, in tokens of the predicted doc.
    known (NDArray[bool]): Whether each token is annotated, shape (n_tokens,).
    """

    entities: List[Entity]
    known: NDArray[numpy.bool_]


def read_gold(example: Example, spans_key: Optional[str] = None) -> Gold:
    """Read the gold entities of an example in the tokens of its predicted doc.

    Tokens without annotation are unknown, and so are the tokens of an entity that cuts tokens. If
    entities are in a group of spans, all tokens are known, except for those that the entity
    annotation of the same doc leaves unknown.

    example (Example): The example.
    spans_key (Optional[str]): Key of the `doc.spans` with the entities, which may overlap. If it is
        None, or if a doc has no such group, they are in `doc.ents`.
    RETURNS (Gold): The entities.
    """
    reference, predicted = example.reference, example.predicted
    if spans_key in reference.spans:
        return _read_group(example, spans_key)
    if not reference.has_annotation("ENT_IOB"):
        return Gold([], numpy.zeros(len(predicted), dtype=bool))
    if same_tokens(reference, predicted):
        # The usual case, and many times faster than aligning.
        iob = reference.to_array(["ENT_IOB", "ENT_TYPE"]).reshape(-1, 2)
        known = ~((iob[:, 0] == MISSING) | is_blocked(iob))
        return Gold([(e.start, e.end, e.label_) for e in reference.ents], known)
    entities, tags = example.get_aligned_ents_and_ner()
    known = numpy.array([tag is not None and tag != "-" for tag in tags], dtype=bool)
    return Gold([(e.start, e.end, e.label_) for e in entities], known)


def _read_group(example: Example, spans_key: str) -> Gold:
    reference, predicted = example.reference, example.predicted
    known = numpy.ones(len(predicted), dtype=bool)
    if reference.has_annotation("ENT_IOB"):
        known = read_gold(example).known
    group = gold_entities(reference, spans_key)
    if same_tokens(reference, predicted):
        return Gold([(span.start, span.end, span.label_) for span in group], known)
    entities = []
    for span in group:
        aligned = example.get_aligned_spans_y2x([span], allow_overlap=True)
        entities += [(own.start, own.end, own.label_) for own in aligned]
        if not aligned:
            known[example.alignment.y2x[span.start : span.end]] = False
    return Gold(entities, known)


def has_gold(reference: Doc, spans_key: Optional[str]) -> bool:
    """RETURNS (bool): Whether the entities of a gold doc are annotated; see `read_gold`."""
    return spans_key in reference.spans or reference.has_annotation("ENT_IOB")


def gold_entities(reference: Doc, spans_key: Optional[str]) -> Sequence[Span]:
    """RETURNS (Sequence[Span]): The entities of a gold doc; see `read_gold`. Spans without a
    label are not entities."""
    if spans_key not in reference.spans:
        return reference.ents
    return [span for span in reference.spans[spans_key] if span.label]


def without_overlaps(entities: Iterable[Entity]) -> List[Entity]:
    """RETURNS (List[Entity]): Of entities that overlap, the longest, and of those the first, as
    in spaCy's `filter_spans`."""
    kept: List[Entity] = []
    taken: set = set()
    for entity in sorted(set(entities), key=lambda e: (e[0] - e[1], e[0], e[2])):
        tokens = range(entity[0], entity[1])
        # The longest come first, so an entity that overlaps one has its first or last token in it.
        if tokens and not {tokens[0], tokens[-1]} & taken:
            kept.append(entity)
            taken.update(tokens)
    return sorted(kept)


def best_flat(entities: Sequence[Entity], scores: Sequence[float]) -> List[int]:
    """Choose the entities with the greatest sum of scores that do not overlap (weighted interval
    scheduling, in n log n).

    entities (Sequence[Entity]): The entities.
    scores (Sequence[float]): The score of each.
    RETURNS (List[int]): Numbers of the chosen entities, in order.
    """
    order = sorted(range(len(entities)), key=lambda i: entities[i][1])
    ends = [entities[i][1] for i in order]
    best = [0.0]
    for k, i in enumerate(order):
        with_it = scores[i] + best[bisect_right(ends, entities[i][0], hi=k)]
        best.append(max(best[-1], with_it))
    chosen: List[int] = []
    k = len(order)
    while k:
        if best[k] > best[k - 1]:
            chosen.append(order[k - 1])
            k = bisect_right(ends, entities[order[k - 1]][0], hi=k - 1)
        else:
            k -= 1
    return chosen[::-1]


def is_blocked(iob: NDArray) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Which tokens may be in no entity, given the columns ENT_IOB and
    ENT_TYPE."""
    return (iob[:, 0] == BEGIN) & (iob[:, 1] == BLOCKED_TYPE)


def is_taken(doc: Doc) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Which tokens of a doc are in an entity or blocked already."""
    iob = doc.to_array(["ENT_IOB", "ENT_TYPE"]).reshape(-1, 2)
    return (iob[:, 0] == BEGIN) | (iob[:, 0] == 1)


def starts_sentence(doc: Doc) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Which tokens of a doc are set to start a sentence."""
    return (doc.to_array("SENT_START") == 1).reshape(-1)


def is_space(doc: Doc) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Which tokens of a doc are white space."""
    return doc.to_array("IS_SPACE").astype(bool).reshape(-1)


def write_entities(
    doc: Doc,
    entities: Sequence[Entity],
    scores: Sequence[float],
    *,
    spans_key: Optional[str],
    overwrite: bool,
    labels: Sequence[str],
    overlapping: bool = False,
) -> None:
    """Set the entities of a doc, and their scores.

    doc (Doc): The doc.
    entities (Sequence[Entity]): New entities. Unless `overlapping` is set, they overlap neither
        each other nor what stays.
    scores (Sequence[float]): The probability of each.
    spans_key (Optional[str]): Key of `doc.spans` to write them to, with `attrs["scores"]`, or
        None.
    overwrite (bool): Whether entities and blocked tokens that the doc already has are removed.
    labels (Sequence[str]): The labels of the recognizer. Spans in `doc.spans` with other labels
        stay, because they are another component's; the score of one without a score is NaN.
    overlapping (bool): Whether new entities may overlap: `doc.ents` gets the best of those that
        overlap nothing that stays, `doc.spans` all new ones.
    """
    spans = [Span(doc, start, end, label=label) for start, end, label in entities]
    kept: List[Span] = []
    blocked: List[Span] = []
    if not overwrite and doc.has_annotation("ENT_IOB"):
        kept = list(doc.ents)
        iob = doc.to_array(["ENT_IOB", "ENT_TYPE"]).reshape(-1, 2)
        blocked = [doc[i : i + 1] for i in numpy.flatnonzero(is_blocked(iob)).tolist()]
    flat = spans
    if overlapping:
        taken = is_taken(doc) & (not overwrite)
        free = [i for i, (start, end, _) in enumerate(entities) if not taken[start:end].any()]
        best = best_flat([entities[i] for i in free], [scores[i] for i in free])
        flat = [spans[free[k]] for k in best]
    doc.set_ents([*kept, *flat], blocked=blocked, default="outside")
    if spans_key is not None:
        # Entities of an earlier pass keep their scores.
        stay = set() if overlapping else {(span.start, span.end, span.label) for span in kept}
        others_stay = overlapping or not overwrite
        group: Sequence[Span] = doc.spans.get(spans_key, [])
        before = [
            (span, numpy.nan if score is None else score)
            for span, score in zip(group, group_scores(group), strict=True)
            if (span.start, span.end, span.label) in stay
            or (others_stay and span.label_ not in labels)
        ]
        scored = [*before, *zip(spans, scores, strict=True)]
        scored.sort(key=lambda pair: pair[0].start)
        attrs = {"scores": numpy.asarray([score for _, score in scored], dtype="f")}
        doc.spans[spans_key] = SpanGroup(
            doc, name=spans_key, attrs=attrs, spans=[span for span, _ in scored]
        )
    register_scores()
    # Spans with the same tokens share the extension, so the score of the most probable comes last.
    for span, score in sorted(zip(spans, scores, strict=True), key=lambda pair: pair[1]):
        span._.set(SCORE, float(score))


def group_scores(group: Sequence[Span]) -> List[Optional[float]]:
    """Read the scores of the spans in a group of `doc.spans`.

    group (Sequence[Span]): The group, or an empty list if the doc has none.
    RETURNS (List[Optional[float]]): The score of each span, None if it is NaN; None for all if the
        group has no scores, or not one for each, because somebody changed it.
    """
    scores = group.attrs.get("scores") if isinstance(group, SpanGroup) else None
    if scores is None or len(scores) != len(group):
        return [None] * len(group)
    return [None if score is None or score != score else float(score) for score in scores]


def register_scores() -> None:
    """Register `span._.reprtune_score`, and `span._.score` as its short name if that is free."""
    if not Span.has_extension(SCORE):
        Span.set_extension(SCORE, default=None)
    if not Span.has_extension(SHORT_SCORE):
        Span.set_extension(SHORT_SCORE, getter=own_score)


def own_score(span: Span) -> Optional[float]:
    """RETURNS (Optional[float]): The probability that a component of this package gave an entity,
    or None."""
    return span._.get(SCORE) if span.has_extension(SCORE) else None


def read_score(span: Span) -> Optional[float]:
    """Read the probability of an entity from `span._.reprtune_score`, or else from `span._.score`,
    which other packages may set.

    span (Span): The entity.
    RETURNS (Optional[float]): The score, or None if it is missing or not a probability.
    """
    score = own_score(span)
    if score is None and span.has_extension(SHORT_SCORE):
        score = span._.get(SHORT_SCORE)
    is_number = isinstance(score, (float, numpy.floating))
    return float(score) if is_number and 0.0 <= score <= 1.0 else None


def same_tokens(first: Doc, second: Doc) -> bool:
    """RETURNS (bool): Whether two docs have the same tokens."""
    if first is second:
        return True
    if len(first) != len(second):
        return False
    columns = ["ORTH", "SPACY"]
    return bool((first.to_array(columns) == second.to_array(columns)).all())
