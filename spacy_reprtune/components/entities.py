"""Entities of docs: read from gold annotation, written with their scores."""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

# First token, the token after the last, label.
Entity = Tuple[int, int, str]

MISSING, BLOCKED_TYPE, BEGIN = 0, 0, 3
# The extension of spans that holds scores of this package, and the short name for it.
SCORE = "reprtune_score"
SHORT_SCORE = "score"


@dataclass
class Gold:
    """What is known of the entities of a doc.

    entities (List[Entity]): In tokens of the predicted doc.
    known (NDArray[bool]): Whether each token is annotated, shape (n_tokens,).
    """

    entities: List[Entity]
    known: NDArray[numpy.bool_]


def read_gold(example: Example) -> Gold:
    """Read the gold entities of an example in the tokens of its predicted doc.

    Tokens without annotation are unknown, and so are those of an entity that cuts tokens.

    example (Example): The example.
    RETURNS (Gold): Its entities.
    """
    reference, predicted = example.reference, example.predicted
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
) -> None:
    """Set the entities of a doc, and their scores.

    doc (Doc): The doc.
    entities (Sequence[Entity]): New entities that overlap nothing that stays.
    scores (Sequence[float]): The probability of each.
    spans_key (Optional[str]): Key of `doc.spans` to put them under, with `attrs["scores"]`, or
        None.
    overwrite (bool): Whether entities and blocked tokens that the doc already has are removed.
    """
    spans = [Span(doc, start, end, label=label) for start, end, label in entities]
    kept: List[Span] = []
    blocked: List[Span] = []
    if not overwrite and doc.has_annotation("ENT_IOB"):
        kept = list(doc.ents)
        iob = doc.to_array(["ENT_IOB", "ENT_TYPE"]).reshape(-1, 2)
        blocked = [doc[i : i + 1] for i in numpy.flatnonzero(is_blocked(iob)).tolist()]
    doc.set_ents([*kept, *spans], blocked=blocked, default="outside")
    if spans_key is not None:
        # Entities of an earlier pass keep their scores.
        scored = [*_scored_before(doc, spans_key, kept), *zip(spans, scores, strict=True)]
        scored.sort(key=lambda pair: pair[0].start)
        attrs = {"scores": numpy.asarray([score for _, score in scored], dtype="f")}
        doc.spans[spans_key] = SpanGroup(
            doc, name=spans_key, attrs=attrs, spans=[span for span, _ in scored]
        )
    register_scores()
    for span, score in zip(spans, scores, strict=True):
        span._.set(SCORE, float(score))


def _scored_before(doc: Doc, spans_key: str, kept: Sequence[Span]) -> List[Tuple[Span, float]]:
    if not kept or spans_key not in doc.spans:
        return []
    group = doc.spans[spans_key]
    stay = {(span.start, span.end, span.label) for span in kept}
    pairs = zip(group, group.attrs.get("scores", ()), strict=False)
    return [(span, s) for span, s in pairs if (span.start, span.end, span.label) in stay]


def register_scores() -> None:
    """Make `span._.reprtune_score` known, and `span._.score` for the same if that is free."""
    if not Span.has_extension(SCORE):
        Span.set_extension(SCORE, default=None)
    if not Span.has_extension(SHORT_SCORE):
        Span.set_extension(SHORT_SCORE, getter=own_score)


def own_score(span: Span) -> Optional[float]:
    """RETURNS (Optional[float]): The probability that a component of this package gave an entity,
    or None."""
    return span._.get(SCORE) if span.has_extension(SCORE) else None


def read_score(span: Span) -> Optional[float]:
    """Read the probability of an entity, whoever has set it: in `span._.reprtune_score`, or else
    in `span._.score`.

    span (Span): The entity.
    RETURNS (Optional[float]): The score, None if there is none or if it is not a probability.
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
