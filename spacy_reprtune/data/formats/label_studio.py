"""Read Label Studio's JSON export: tasks with annotations of texts and of HTML documents."""

from typing import Any, Dict, List, Mapping, Optional

from ..record import BadRow, Columns, Record
from ..spans import Claim, is_offset, resolve_claims
from .html_text import VisibleText
from .rows import as_label, group_of

_REGIONS = ("labels", "hypertextlabels", "paragraphlabels")
_NO_OFFSETS = "no character offsets"


def is_task(row: Any) -> bool:
    """RETURNS (bool): Whether a value is a task of Label Studio."""
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("data"), Mapping)
        and ("annotations" in row or "completions" in row)
    )


def read_task(row: Mapping[str, Any], where: str, columns: Columns) -> Record:
    """Read a task. Of its annotations, the first that was not canceled counts.

    row (Mapping[str, Any]): The task.
    where (str): Place of the task.
    columns (Columns): `labels` chooses controls by their `from_name`, and `texts` the text if there
        are several.
    RETURNS (Record): The text and its annotation.
    RAISES (BadRow): A part of the task is not what Label Studio writes.
    """
    record = Record(_text_of(row["data"], where, columns), where)
    record.group = group_of(row["data"], columns, where)
    annotations = row.get("annotations", row.get("completions"))
    kept = [
        annotation
        for annotation in _objects(annotations, "annotations", where)
        if not annotation.get("was_cancelled")
    ]
    if not kept:
        record.drop = "annotation canceled" if annotations else "not annotated"
        return record
    if len(kept) > 1:
        record.ignored["second annotation of a text"] += len(kept) - 1
    _read_results(_objects(kept[0].get("result"), "result", where), record, columns)
    return record


def _read_results(results: List[Mapping[str, Any]], record: Record, columns: Columns) -> None:
    claims: List[Claim] = []
    cats: Dict[str, float] = {}
    html: Optional[VisibleText] = None
    for result in results:
        kind = result.get("type")
        if columns.labels and result.get("from_name") not in columns.labels:
            record.ignored[f"result of {result.get('from_name')!r}"] += 1
            continue
        value = result.get("value", {})
        if kind in _REGIONS:
            value = _object(value, "value", record.where)
            if html is None and (kind == "hypertextlabels" or "globalOffsets" in value):
                html = VisibleText(record.text)
            claims += _region_claims(value, kind, record, html)
        elif kind in ("choices", "taxonomy"):
            value = _object(value, "value", record.where)
            if "start" in value and "end" in value:
                record.ignored["choice about a part of a text"] += 1
            else:
                cats.update(dict.fromkeys(_choices(value, kind, record.where), 1.0))
        else:
            record.ignored[str(kind)] += 1
    spans, lost = resolve_claims(
        html.nodes if html else record.text, claims, columns.offsets, record.where
    )
    if html:
        record.text, spans = html.text, html.map_spans(spans)
    record.lost += lost
    if cats:
        record.cats = cats
    # Saved without any annotation: there was nothing to mark. The rest of the file tells what kind.
    if spans or record.lost or not cats:
        record.spans = spans
    if not results:
        record.cats = cats


def _region_claims(
    value: Mapping[str, Any], kind: str, record: Record, html: Optional[VisibleText]
) -> List[Claim]:
    labels = _named(value.get(kind) or value.get("labels") or [])
    said = value.get("text") if isinstance(value.get("text"), str) else None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise BadRow(f"{record.where}: the labels of a region are {labels!r}.", "labels not texts")
    if not labels:
        record.lost.append(("no label", f"{record.where}: region '{said}' without a label"))
    offsets = value.get("globalOffsets", value)
    offsets = offsets if isinstance(offsets, Mapping) else {}
    start, end = offsets.get("start"), offsets.get("end")
    if not (is_offset(start) and is_offset(end)):
        # There are paths of elements instead of offsets, but a text that occurs once can be found.
        text = html.nodes if html else record.text
        if not said or text.count(said) != 1:
            case = f"{record.where}: region '{said}' at {start!r}"
            record.lost += [(_NO_OFFSETS, case)] * len(labels)
            return []
        start = text.index(said)
        end = start + len(said)
    return [Claim(start, end, label, said) for label in labels]


def _named(labels: Any) -> Any:
    """Convert labels that are numbers to texts."""
    if not isinstance(labels, list):
        return labels
    return [as_label(x) if is_offset(x) or isinstance(x, float) else x for x in labels]


def _choices(value: Mapping[str, Any], kind: str, where: str) -> List[str]:
    found = value.get(kind)
    names = [
        "/".join(map(str, choice)) if isinstance(choice, list) else choice
        for choice in _named(found if isinstance(found, list) else [found])
    ]
    if not all(isinstance(name, str) for name in names):
        raise BadRow(
            f"{where}: '{kind}' is {found!r}; it has to be a list of choices.", "choices not texts"
        )
    return names


def _text_of(data: Mapping[str, Any], where: str, columns: Columns) -> str:
    texts = [key for key, value in data.items() if isinstance(value, str)]
    wanted = columns.texts or (("text",) if "text" in data else tuple(texts[:1]))
    if (
        not wanted
        or any(key not in data for key in wanted)
        or (not columns.texts and "text" not in data and len(texts) > 1)
    ):
        raise BadRow(
            f"{where}: which of {', '.join(map(repr, data)) or 'no keys'} in 'data' is the text? "
            "Name it: --text NAME",
            "no text found",
        )
    for key in wanted:
        if not isinstance(data[key], str | None):
            raise BadRow(
                f"{where}: '{key}' is {data[key]!r}; it has to be a text.",
                "the text is not a string",
            )
    return "\n".join(data[key] for key in wanted if data[key] is not None)


def _objects(values: Any, key: str, where: str) -> List[Mapping[str, Any]]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise BadRow(f"{where}: '{key}' is {values!r}; it has to be a list.", f"'{key}' not a list")
    return [_object(value, key, where) for value in values]


def _object(value: Any, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRow(
            f"{where}: '{key}' has {value!r}; it has to be an object.", f"'{key}' not an object"
        )
    return value
