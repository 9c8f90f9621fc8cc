"""Turn a row of a table or an object of a JSON file into a record, whatever its annotation."""

import ast
import difflib
import json
import math
import re
from typing import Any, List, Mapping, Optional, Sequence

from ..record import BadRow, Columns, Record
from ..spans import Claim, as_offset, is_offset, resolve_claims, seems_utf16
from .tokens import tagged_record

# Keys of annotations, unless --label names one.
LABEL_KEYS = ("label", "labels", "cats")
SPAN_KEYS = ("spans", "entities", "ents")
TAG_KEYS = ("ner_tags", "tags")
_ALLOWED = (
    "a label ('SPORT'), a list of labels, a table of labels and scores ({'SPORT': 1.0}), or a list "
    "of spans ([0, 4, 'PERSON'] or {'start': 0, 'end': 4, 'label': 'PERSON'})"
)
_SHAPE = "annotation not understood"
_YES = {"1", "1.0", "true", "yes"}
_NO = {"0", "0.0", "false", "no", ""}
# The beginning of a cell with JSON or a printed list. Labels do not begin like this.
_BEGINS_LIST = re.compile(r"\s*[\[{]\s*[\[{(\"']")
# An array as numpy prints it into a cell: "['x' 'y']", "[0 3]".
_ITEM = r"""'[^']*'|"[^"]*"|-?\d+\.?\d*"""
_ARRAY = re.compile(rf"\[\s*(?:{_ITEM})(?:\s+(?:{_ITEM}))+\s*\]")


def read_row(row: Any, where: str, columns: Columns) -> Record:
    """Read a row by the shape of its values: a label, labels, scores, spans, or tokens with tags.

    row (Mapping[str, Any]): Column to value.
    where (str): Place of the row, for messages.
    columns (Columns): Which columns to read.
    RETURNS (Record): The text and its annotation.
    RAISES (BadRow): A column is missing, or a value has none of these shapes.
    """
    if not isinstance(row, Mapping):
        raise BadRow(
            f'{where} is {_short(row)}; it has to be an object: {{"text": …}}', "not an object"
        )
    if not columns.texts and "text" not in row and "tokens" in row:
        return _read_tokens(row, where, columns)
    text = _text_of(row, where, columns)
    record = Record(text or "", where, group=group_of(row, columns, where))
    if text is None:
        record.drop = "no text"
        return record
    if len(columns.labels) > 1:
        values = {x: row[find_key(row, x, "--label", where)] for x in columns.labels}
        flags = {x: _as_flag(v, x, where) for x, v in values.items() if v is not None}
        # A missing cell says nothing, unlike an empty one.
        record.cats, record.complete = flags or None, len(flags) == len(values)
        return record
    if columns.labels:
        keys: Sequence[str] = [find_key(row, columns.labels[0], "--label", where)]
    else:
        keys = [key for key in (*LABEL_KEYS, *SPAN_KEYS) if key in row]
    # Groups come last: what they add depends on the entities.
    for key in sorted(keys, key=lambda key: _is_groups(key, row[key])):
        read_annotation(row[key], key, record, columns)
    if isinstance(row.get("relations"), list) and row["relations"]:
        record.ignored["relation"] += len(row["relations"])
    if record.spans and len(columns.texts) > 1:
        raise BadRow(
            f"{where}: spans count the characters of one text, but --text names several columns.",
            "spans in several texts",
        )
    return record


def find_key(row: Mapping[str, Any], key: str, option: str, where: str) -> str:
    """Find a column by its name.

    row (Mapping[str, Any]): Column to value.
    key (str): Name of the column.
    option (str): Option that names another column.
    where (str): Place of the row, for the message.
    RETURNS (str): Name of the column.
    RAISES (BadRow): There is no such column; the message lists all columns.
    """
    if key in row:
        return key
    names = [str(name) for name in row]
    folded = {name.strip().casefold(): name for name in names}
    close = difflib.get_close_matches(key.casefold(), folded, n=1, cutoff=0.6)
    hint = f" Did you mean '{folded[close[0]]}'?" if close else ""
    shown = ", ".join(map(_short, names)) or "none"
    raise BadRow(
        f"{where}: there is no column '{key}'; there are {shown}.{hint} Name the column: {option} "
        "NAME",
        f"no column '{key}'",
    )


def group_of(row: Mapping[str, Any], columns: Columns, where: str) -> Optional[str]:
    """RETURNS (Optional[str]): Group of a row, or None if it is not in a group."""
    if columns.group is None:
        return None
    value = row[find_key(row, columns.group, "--group", where)]
    return None if _is_nothing(value) else as_label(value)


def read_annotation(value: Any, key: str, record: Record, columns: Columns) -> None:
    """Add the annotation in a value to a record.

    value (Any): A label, a list of labels, a table of scores, a list of spans, or a string that
        holds one of them as JSON.
    key (str): Column of the value, for messages.
    record (Record): Record, changed in place.
    columns (Columns): Separator of labels, and unit of offsets.
    RAISES (BadRow): The value is none of these.
    """
    if isinstance(value, str):
        value = parse_cell(value, f"{record.where}: '{key}'")
    if _is_nothing(value):
        return
    if key not in columns.labels and not _fits(key, value):
        raise BadRow(
            f"{record.where}: '{key}' is {_short(value)}, but it usually holds "
            f"{'scores' if key == 'cats' else 'spans'}. If these are labels, say so: --label {key}",
            _SHAPE,
        )
    if isinstance(value, str):
        separator = columns.label_separator
        names = value.split(separator) if separator else [value]
        _add_labels(record, [name.strip() if separator else name for name in names])
    elif isinstance(value, bool | int | float):
        _add_labels(record, [as_label(value)])
    elif isinstance(value, Mapping) and set(value) == {"choices"}:
        read_annotation(value["choices"], key, record, columns)
    elif isinstance(value, Mapping) and _has_offsets(value):
        _read_list([value], key, record, columns)
    elif _is_groups(key, value):
        _read_groups(value, key, record, columns)
    elif isinstance(value, Mapping):
        scores = {str(x): _as_score(score, x, record.where) for x, score in value.items()}
        record.cats = {**(record.cats or {}), **scores}
        record.complete = False
    elif isinstance(value, list | tuple):
        _read_list(value, key, record, columns)
    else:
        raise BadRow(f"{record.where}: '{key}' is {_short(value)}; allowed are {_ALLOWED}.", _SHAPE)


def _fits(key: str, value: Any) -> bool:
    """Whether a value has the kind that its key suggests."""
    if key in SPAN_KEYS:
        items = value if isinstance(value, list | tuple) else [value]
        return all(isinstance(item, list | tuple | Mapping) for item in items)
    return key != "cats" or not isinstance(value, bool | int | float)


def parse_cell(value: str, where: str) -> Any:
    """Parse a string that holds a list or a table, as JSON or as Python or numpy prints it.

    value (str): Cell of a table.
    where (str): Place and name of the cell, for the message.
    RETURNS (Any): The value that it holds, or the string itself.
    RAISES (BadRow): It begins like a list or a table, but is not one.
    """
    text = value.strip()
    if text[:2] + text[-2:-1] in ('"[]', '"{}'):
        # JSON that was written as JSON again.
        inner = _parsed(text)
        text = inner.strip() if isinstance(inner, str) else text
    if text[:1] + text[-1:] in ("[]", "{}", "()"):
        if _ARRAY.fullmatch(text):
            # Python would read two texts side by side as one.
            return [ast.literal_eval(item) for item in re.findall(_ITEM, text)]
        found = _parsed(text)
        if isinstance(found, list | tuple | dict):
            return found
    if _BEGINS_LIST.match(text):
        raise BadRow(
            f"{where} is {_short(value)}, which begins like JSON or a Python list, but can't be "
            "read as one.",
            "damaged JSON in a cell",
        )
    return value


def _parsed(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return None


def _text_of(row: Mapping[str, Any], where: str, columns: Columns) -> Optional[str]:
    parts = []
    for name in columns.texts or ("text",):
        value = row[find_key(row, name, "--text", where)]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, str):
            raise BadRow(
                f"{where}: '{name}' is {_short(value)}; it has to be a text.",
                "the text is not a string",
            )
        parts.append(value)
    return "\n".join(parts) if parts else None


def _read_list(values: Sequence[Any], key: str, record: Record, columns: Columns) -> None:
    if not values:
        # Under "label", no label or no entity: the rest of the file tells which.
        record.spans = record.spans or []
        if key not in SPAN_KEYS:
            record.cats = record.cats or {}
    elif all(isinstance(value, str) for value in values):
        _add_labels(record, values)
    elif all(isinstance(value, list | tuple | Mapping) for value in values):
        claims = [claim for value in values for claim in _as_claims(value, key, record.where)]
        spans, lost = resolve_claims(record.text, claims, columns.offsets, record.where)
        record.spans = [*(record.spans or ()), *spans]
        record.lost += lost
        if columns.offsets == "characters" and seems_utf16(record.text, claims):
            record.note = (
                f"{record.where.rpartition(', ')[0]}: spans beside emoji and the like cut words, "
                "and would not if their offsets count UTF-16 units, as JavaScript does: --offsets "
                "utf-16"
            )
    elif all(isinstance(value, bool | int | float) for value in values):
        _add_labels(record, [as_label(value) for value in values])
    else:
        raise BadRow(
            f"{record.where}: '{key}' is {_short(values)}; allowed are {_ALLOWED}.", _SHAPE
        )


def _is_groups(key: str, value: Any) -> bool:
    """Whether a value has the groups of `doc.spans` by their keys, as `Doc.to_json` writes them."""
    return key == "spans" and isinstance(value, Mapping) and not _has_offsets(value)


def _read_groups(groups: Mapping[str, Any], key: str, record: Record, columns: Columns) -> None:
    """Read the group that --spans-key names; without it, the entities, or all groups."""
    chosen = [name for name in groups if name == columns.spans_key]
    if chosen and record.n_spans:
        record.ignored["entity in doc.ents"] += record.n_spans
        record.spans, record.lost = None, []
    elif not chosen and not record.n_spans:
        chosen = list(groups)
    for name, group in groups.items():
        if name in chosen:
            read_annotation(group, key, record, columns)
        elif isinstance(group, list) and group:
            record.ignored["span in doc.spans"] += len(group)


def _add_labels(record: Record, labels: Sequence[str]) -> None:
    kept = {label: 1.0 for label in labels if label.strip()}
    if kept:
        record.cats = {**(record.cats or {}), **kept}


def _has_offsets(value: Mapping[str, Any]) -> bool:
    return any(key in value for key in ("start", "start_offset"))


def _as_claims(value: Any, key: str, where: str) -> List[Claim]:
    said: Any = None
    if isinstance(value, Mapping):
        start = as_offset(value.get("start", value.get("start_offset")))
        end = as_offset(value.get("end", value.get("end_offset")))
        labels = value.get("label", value.get("labels"))
        said = value.get("text")
    else:
        start, end, labels = value if len(value) == 3 else (None, None, None)
        start, end = as_offset(start), as_offset(end)
    labels = labels if isinstance(labels, list | tuple) else [labels]
    named = all(isinstance(x, str) or is_offset(x) for x in labels)
    if not is_offset(start) or not is_offset(end) or not labels or not named:
        raise BadRow(
            f"{where}: '{key}' has the span {_short(value)}. A span needs a first character, the "
            "one after the last, and a label: [0, 4, 'PERSON'] or "
            "{'start': 0, 'end': 4, 'label': 'PERSON'}.",
            "span not understood",
        )
    said = said if isinstance(said, str) else None
    return [Claim(start, end, str(label), said) for label in labels]


def as_label(value: Any) -> str:
    """RETURNS (str): An id as a text. 1.0 and 1 are the same id."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _as_score(score: Any, label: Any, where: str) -> float:
    if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
        raise BadRow(
            f"{where}: the score of '{label}' is {_short(score)}; it has to be between 0 and 1, or "
            "true or false.",
            "score not between 0 and 1",
        )
    return float(score)


def _as_flag(value: Any, label: str, where: str) -> float:
    text = str(value if value is not None else "").strip().casefold()
    if text in _YES or text in _NO:
        return float(text in _YES)
    raise BadRow(
        f"{where}: the column '{label}' has {_short(value)}. With several label columns, each is a "
        "label and its cells are 1 or 0.",
        "label column not 0 or 1",
    )


def _read_tokens(row: Mapping[str, Any], where: str, columns: Columns) -> Record:
    """Read words with tags, as in datasets on the Hugging Face hub."""
    keys = columns.labels[:1] or [key for key in TAG_KEYS if key in row]
    if not keys:
        raise BadRow(
            f"{where}: there are 'tokens' but no tags; looked for {' and '.join(TAG_KEYS)}. "
            "Name the column: --label NAME",
            "tokens without tags",
        )
    tokens = _as_list(row["tokens"], "tokens", where)
    tags = _as_list(row[find_key(row, keys[0], "--label", where)], keys[0], where)
    if columns.names:
        tags = [
            tag if isinstance(tag, list) else columns.names.get(as_label(tag), tag) for tag in tags
        ]
    for values, what in ((tokens, "tokens"), (tags, "tags")):
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            meaning = (
                " and the file does not say what numbers mean. Save the set with its features "
                "(datasets: `save_to_disk`, `to_parquet`), or name them: --label-names FILE"
                if what == "tags" and is_offset(wrong[0])
                else ""
            )
            raise BadRow(
                f"{where}: the {what} have {_short(wrong[0])}; they have to be texts{meaning}.",
                f"{what} that are not strings",
            )
    return tagged_record([(tokens, tags)], where, group_of(row, columns, where))


def _as_list(value: Any, key: str, where: str) -> List[Any]:
    value = parse_cell(value, f"{where}: '{key}'") if isinstance(value, str) else value
    if not isinstance(value, list | tuple):
        raise BadRow(f"{where}: '{key}' is {_short(value)}; it has to be a list of texts.", _SHAPE)
    return list(value)


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else f"{shown[:100]}…"
