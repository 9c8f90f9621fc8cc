"""JSON objects, a line each or in one list: plain, Prodigy, doccano, and Label Studio's exports."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

import srsly

from ..record import Columns, Record, Span
from .rows import read_row
from .text import open_text, read_lines

# Answers in Prodigy that say nothing about the text.
_UNDECIDED = ("ignore",)


def read_json_lines(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a file of one JSON object a line.

    path (Path): The file: objects with a text and `label`, `labels`, `cats`, `spans` or `entities`;
        what Prodigy and doccano export is of this kind.
    columns (Columns): The names of the keys, and the encodings.
    YIELDS (Record): A record an object, in order.
    RAISES (ValueError): A line is no JSON object, or has no text; the message names the line.
    """
    for number, line in read_lines(path, columns.encodings):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = srsly.json_loads(line)
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise ValueError(
                    f"{path} is one list of objects and not an object a line; name it .json"
                ) from error
            raise ValueError(f"{where} is no JSON: {error}") from error
        yield read_object(row, columns, where)


def read_json(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a list of JSON objects, such as Label Studio's JSON and JSON-MIN exports.

    path (Path): The file.
    columns (Columns): The names of the keys, and the encodings.
    YIELDS (Record): A record an object, in order.
    RAISES (ValueError): It is no list of objects.
    """
    with open_text(path, columns.encodings) as file:
        try:
            rows = srsly.json_loads(file.read())
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds {type(rows).__name__}; it has to be a list of objects.")
    for number, row in enumerate(rows, start=1):
        yield read_object(row, columns, f"{path}, object {number}")


def read_object(row: Any, columns: Columns, where: str) -> Record:
    """Read one object, by the keys that tell its origin.

    row (Any): What was parsed.
    columns (Columns): The names of the keys.
    where (str): Where it stands.
    RETURNS (Record): The text and its annotation.
    RAISES (ValueError): It is no object, or not of any known form.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f'{where} is {row!r}; it has to be an object: {{"text": …}}')
    if isinstance(row.get("data"), Mapping) and ("annotations" in row or "completions" in row):
        return _read_label_studio(row, columns, where)
    if "answer" in row:
        return _read_prodigy(row, columns, where)
    return read_row(row, columns, where)


def _read_prodigy(row: Mapping[str, Any], columns: Columns, where: str) -> Record:
    """A decision in Prodigy: `accept`, `reject` or `ignore`."""
    answer = row["answer"]
    if answer not in ("accept", "reject", *_UNDECIDED):
        raise ValueError(
            f"{where}: 'answer' is {answer!r}; Prodigy writes accept, reject or ignore."
        )
    bare = {key: value for key, value in row.items() if key not in ("label", "accept", "options")}
    record = read_row(bare, columns, where)
    if record.drop:
        return record
    label = row.get("label")
    if "options" in row:
        chosen = set(row.get("accept", ()))
        options = [str(option["id"]) for option in row["options"]]
        record.cats = {option: float(option in chosen) for option in options}
    elif isinstance(label, str) and not row.get("spans"):
        # One question about one label: a rejection is knowledge as well.
        record.cats, record.complete = {label: float(answer == "accept")}, False
    elif record.spans is None and row.get("_view_id") in ("ner_manual", "spans_manual"):
        record.spans = []
    elif row.get("_view_id") == "ner":
        # One question about one entity: nothing is known about the rest of the text.
        record.spans_complete = False
    is_question = record.cats is not None and "options" not in row
    if answer in _UNDECIDED or (answer == "reject" and not is_question):
        record.drop = f"answer is {answer}"
    return record


def _read_label_studio(row: Mapping[str, Any], columns: Columns, where: str) -> Record:
    """A task with its annotations; the first that was not cancelled counts."""
    text = _task_text(row["data"], columns, where)
    record = Record(text, where)
    if columns.group is not None:
        group = row["data"].get(columns.group)
        record.group = None if group in (None, "") else str(group)
    annotations = row.get("annotations", row.get("completions")) or []
    kept = [a for a in annotations if not a.get("was_cancelled")]
    if not kept:
        record.drop = "annotation cancelled" if annotations else "not annotated"
        return record
    spans: List[Span] = []
    cats: Dict[str, float] = {}
    asked: set = set()
    for result in kept[0].get("result", ()):
        kind, value = result.get("type"), result.get("value", {})
        asked.add(kind)
        if columns.labels and result.get("from_name") not in columns.labels:
            continue
        if kind in ("labels", "hypertextlabels"):
            labels = value.get("labels") or value.get("hypertextlabels") or []
            offsets = value.get("globalOffsets", value)
            start, end = offsets.get("start"), offsets.get("end")
            for label in labels:
                if isinstance(start, int) and isinstance(end, int):
                    spans.append((start, end, label))
                else:
                    record.lost.append(("no character offsets", f"{where}: {value}"))
        elif kind in ("choices", "taxonomy"):
            for choice in value.get(kind, ()):
                cats[choice if isinstance(choice, str) else "/".join(choice)] = 1.0
    if cats:
        record.cats = cats
    # Saved without a mark: someone looked, and there was none. The rest of the file says of what.
    if spans or record.lost or not cats:
        record.spans = spans
    if not asked:
        record.cats = cats
    return record


def _task_text(data: Mapping[str, Any], columns: Columns, where: str) -> str:
    texts = [key for key, value in data.items() if isinstance(value, str)]
    key = columns.text or ("text" if "text" in data else texts[0] if len(texts) == 1 else None)
    if key is None or key not in data:
        raise ValueError(
            f"{where}: which of {', '.join(map(repr, data)) or 'no keys'} in 'data' is the text? "
            "Name it: --text NAME"
        )
    return data[key] if isinstance(data[key], str) else ""
