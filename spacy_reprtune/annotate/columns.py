"""Turn a `Doc` into the values of a row."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from spacy.tokens import Doc, Span

from ..components.entities import group_scores

# The kinds of annotation, and the columns of each.
COLUMNS: Dict[str, Tuple[str, ...]] = {
    "cats": ("cats_label", "cats_score", "cats"),
    "ents": ("ents",),
    "spans": ("spans",),
}


def output_columns(columns: Sequence[str]) -> List[str]:
    """List the columns that annotation adds.

    columns (Sequence[str]): Some of "cats", "ents" and "spans".
    RETURNS (List[str]): Names of the columns, in order.
    RAISES (ValueError): `columns` is empty, or has an unknown name.
    """
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or not columns:
        raise ValueError(f"columns = {list(columns)}. Use one or more of {', '.join(COLUMNS)}.")
    return [name for wanted in columns for name in COLUMNS[wanted]]


def row_of(doc: Doc, columns: Sequence[str]) -> Dict[str, Any]:
    """Collect the annotation of a text as plain Python values.

    doc (Doc): The annotated doc.
    columns (Sequence[str]): Some of "cats", "ents" and "spans".
    RETURNS (Dict[str, Any]): For "cats" the best label, its score, and all labels with scores; for
        "ents" and "spans" a list of start and end in characters, label and score, which is None if
        the component computes no score; spans also name their group.
    """
    row: Dict[str, Any] = {}
    if "cats" in columns:
        best = max(doc.cats, key=doc.cats.__getitem__) if doc.cats else None
        row["cats_label"] = best
        row["cats_score"] = None if best is None else float(doc.cats[best])
        row["cats"] = [{"label": k, "score": float(v)} for k, v in doc.cats.items()]
    if "ents" in columns:
        scores = _scores_by_place(doc)
        row["ents"] = [_span_row(ent, scores.get(_place(ent))) for ent in doc.ents]
    if "spans" in columns:
        row["spans"] = [
            {"group": name, **_span_row(span, score)}
            for name, group in doc.spans.items()
            for span, score in zip(group, group_scores(group), strict=True)
        ]
    return row


def empty_row(columns: Sequence[str]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The values of a row that could not be annotated, which are all
    None."""
    return dict.fromkeys(output_columns(columns))


def _span_row(span: Span, score: Optional[float]) -> Dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "score": score,
    }


def _place(span: Span) -> Tuple[int, int, int]:
    return span.start, span.end, span.label


def _scores_by_place(doc: Doc) -> Dict[Tuple[int, int, int], float]:
    """The scores of entities, which components keep in a span group of the same entities."""
    return {
        _place(span): score
        for group in doc.spans.values()
        for span, score in zip(group, group_scores(group), strict=True)
        if score is not None
    }
