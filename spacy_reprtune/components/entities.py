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
SCORE = "score"


@dataclass
class Gold:
    """What is known of the entities of a doc.

    entities (List[Entity]): In tokens of the predicted doc.
    known (NDArray[bool]): Whether it is known of a token what it is, shape (n_tokens,).
    """

    entities: List[Entity]
    known: NDArray[numpy.bool_]


def read_gold(example: Example) -> Gold:
    """Read the gold entities of an example in the tokens of its predicted doc.

    Tokens of an entity that cuts predicted tokens are not known, nor are those without
    annotation.

    example (Example): The example.
    RETURNS (Gold): Its entities.
    """
    reference, predicted = example.reference, example.predicted
    if not reference.has_annotation("ENT_IOB"):
        return Gold([], numpy.zeros(len(predicted), dtype=bool))
    if _same_tokens(reference, predicted):
        # Nearly always, and many times faster than aligning.
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

    doc (Doc): The doc. What it has already stays, unless it is overwritten.
    entities (Sequence[Entity]): New entities that overlap nothing that stays.
    scores (Sequence[float]): The probability of each.
    spans_key (Optional[str]): Where in `doc.spans` to put them, with `attrs["scores"]`, or None.
    overwrite (bool): Whether entities and blocked tokens from before go.
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
        # What an earlier pass has scored stays with its score.
        scored = [*_scored_before(doc, spans_key, kept), *zip(spans, scores, strict=True)]
        scored.sort(key=lambda pair: pair[0].start)
        attrs = {"scores": numpy.asarray([score for _, score in scored], dtype="f")}
        doc.spans[spans_key] = SpanGroup(
            doc, name=spans_key, attrs=attrs, spans=[span for span, _ in scored]
        )
    if register_score():
        for span, score in zip(spans, scores, strict=True):
            span._.set(SCORE, float(score))


def _scored_before(doc: Doc, spans_key: str, kept: Sequence[Span]) -> List[Tuple[Span, float]]:
    if not kept or spans_key not in doc.spans:
        return []
    group = doc.spans[spans_key]
    stay = {(span.start, span.end, span.label) for span in kept}
    pairs = zip(group, group.attrs.get("scores", ()), strict=False)
    return [(span, s) for span, s in pairs if (span.start, span.end, span.label) in stay]


def register_score() -> bool:
    """Make `span._.score` known.

    RETURNS (bool): Whether it can be set: somebody else may have it as a getter.
    """
    if not Span.has_extension(SCORE):
        Span.set_extension(SCORE, default=None)
    _, _, getter, setter = Span.get_extension(SCORE)
    return getter is None or setter is not None


def read_score(span: Span) -> Optional[float]:
    """Read what an entity's `span._.score` is, whoever set it.

    span (Span): The entity.
    RETURNS (Optional[float]): The score, None if there is none or if it is no number.
    """
    score = span._.get(SCORE) if span.has_extension(SCORE) else None
    return float(score) if isinstance(score, (float, numpy.floating)) else None


def _same_tokens(first: Doc, second: Doc) -> bool:
    if first is second:
        return True
    if len(first) != len(second):
        return False
    columns = ["ORTH", "SPACY"]
    return bool((first.to_array(columns) == second.to_array(columns)).all())
