"""A row of a table, or an object of a JSON file, to a record: what an annotation may look like."""

import difflib
import math
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from ..record import Columns, Record, Span
from .tags import decode_tags

# Where an annotation may stand, when nobody says where.
LABEL_KEYS = ("label", "labels", "cats")
SPAN_KEYS = ("spans", "entities")
TAG_KEYS = ("ner_tags", "tags")
_ALLOWED = (
    "a label ('SPORT'), a list of labels, a table of labels and scores ({'SPORT': 1.0}), or a list "
    "of spans ([0, 4, 'PERSON'] or {'start': 0, 'end': 4, 'label': 'PERSON'})"
)
_YES = {"1", "1.0", "true", "yes"}
_NO = {"0", "0.0", "false", "no", ""}


def read_row(row: Mapping[str, Any], columns: Columns, where: str) -> Record:
    """Read a row by the shape of its values: a label, labels, scores, spans, or tokens with tags.

    row (Mapping[str, Any]): Column to value.
    columns (Columns): Which columns to read.
    where (str): Where the row stands, for messages.
    RETURNS (Record): The text and its annotation.
    RAISES (ValueError): A column is missing, or a value has none of these shapes.
    """
    if columns.text is None and "text" not in row and "tokens" in row:
        return _read_tokens(row, columns, where)
    text_key = columns.text or "text"
    text = row[find_key(row, text_key, "--text", where)]
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return Record("", where, drop="no text", group=_group(row, columns, where))
    if not isinstance(text, str):
        raise ValueError(f"{where}: '{text_key}' is {text!r}; it has to be a text.")
    record = Record(text, where, group=_group(row, columns, where))
    if len(columns.labels) > 1:
        record.cats = {
            label: _as_flag(row[find_key(row, label, "--label", where)], label, where)
            for label in columns.labels
        }
        return record
    if columns.labels:
        keys: Sequence[str] = [find_key(row, columns.labels[0], "--label", where)]
    else:
        keys = [key for key in (*LABEL_KEYS, *SPAN_KEYS) if key in row]
    for key in keys:
        read_annotation(row[key], key, record, columns.label_separator)
    return record


def find_key(row: Mapping[str, Any], key: str, option: str, where: str) -> str:
    """Find a column by its name.

    row (Mapping[str, Any]): Column to value.
    key (str): The name.
    option (str): The option that names another one.
    where (str): For the message.
    RETURNS (str): The name.
    RAISES (ValueError): There is no such column; the message lists those there are.
    """
    if key in row:
        return key
    names = [str(name) for name in row]
    folded = {name.strip().casefold(): name for name in names}
    close = difflib.get_close_matches(key.casefold(), folded, n=1, cutoff=0.6)
    hint = f" Did you mean '{folded[close[0]]}'?" if close else ""
    raise ValueError(
        f"{where}: there is no column '{key}'; there are {', '.join(map(repr, names)) or 'none'}."
        f"{hint} Name the column: {option} NAME"
    )


def read_annotation(value: Any, key: str, record: Record, separator: Optional[str]) -> None:
    """Add what one value says to a record.

    value (Any): A label, a list of labels, a table of scores, or a list of spans.
    key (str): Its column, for messages.
    record (Record): Changed in place.
    separator (Optional[str]): Between several labels in one string.
    RAISES (ValueError): The value is none of these.
    """
    where = record.where
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return
    if isinstance(value, str):
        names = value.split(separator) if separator else [value]
        names = [name.strip() if separator else name for name in names]
        record.cats = {**(record.cats or {}), **{name: 1.0 for name in names if name.strip()}}
    elif isinstance(value, bool | int | float):
        # 1.0 and 1 are the same class to whoever wrote the file.
        whole = isinstance(value, float) and value.is_integer()
        record.cats = {**(record.cats or {}), str(int(value) if whole else value): 1.0}
    elif isinstance(value, Mapping):
        if set(value) == {"choices"}:
            read_annotation(value["choices"], key, record, separator)
            return
        scores = {str(label): _as_score(score, label, where) for label, score in value.items()}
        record.cats = {**(record.cats or {}), **scores}
        record.complete = False
    elif isinstance(value, list | tuple):
        _read_list(value, key, record)
    else:
        raise ValueError(f"{where}: '{key}' is {value!r}; allowed are {_ALLOWED}.")


def _read_list(values: Sequence[Any], key: str, record: Record) -> None:
    if not values:
        # Under "label", no label or no entity: the rest of the file tells which.
        record.spans = record.spans or []
        if key not in SPAN_KEYS:
            record.cats = record.cats or {}
    elif all(isinstance(value, str) for value in values):
        record.cats = {**(record.cats or {}), **dict.fromkeys(values, 1.0)}
    elif all(isinstance(value, list | tuple | Mapping) for value in values):
        record.spans = record.spans or []
        for value in values:
            record.spans.append(_as_span(value, key, record.where))
    elif all(isinstance(value, int) for value in values):
        record.cats = {**(record.cats or {}), **{str(int(value)): 1.0 for value in values}}
    else:
        raise ValueError(f"{record.where}: '{key}' is {values!r}; allowed are {_ALLOWED}.")


def _as_span(value: Any, key: str, where: str) -> Span:
    if isinstance(value, Mapping):
        start = value.get("start", value.get("start_offset"))
        end = value.get("end", value.get("end_offset"))
        label = value.get("label", value.get("labels"))
        if isinstance(label, list) and len(label) == 1:
            label = label[0]
    else:
        start, end, label = value if len(value) == 3 else (None, None, None)
    numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in (start, end))
    if not numbers or not isinstance(label, str):
        raise ValueError(
            f"{where}: '{key}' has the span {value!r}. A span needs a first character, the one "
            "after the last, and a label: [0, 4, 'PERSON'] or "
            "{'start': 0, 'end': 4, 'label': 'PERSON'}."
        )
    return start, end, label


def _as_score(score: Any, label: Any, where: str) -> float:
    if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
        raise ValueError(
            f"{where}: the score of '{label}' is {score!r}; it has to be between 0 and 1, or true "
            "or false."
        )
    return float(score)


def _as_flag(value: Any, label: str, where: str) -> float:
    text = str(value if value is not None else "").strip().casefold()
    if text in _YES:
        return 1.0
    if text in _NO:
        return 0.0
    raise ValueError(
        f"{where}: the column '{label}' has {value!r}. With several label columns, each is a label "
        "and its cells are 1 or 0."
    )


def _group(row: Mapping[str, Any], columns: Columns, where: str) -> Optional[str]:
    if columns.group is None:
        return None
    value = row[find_key(row, columns.group, "--group", where)]
    # A text without a group is a group of its own.
    return None if value is None or value == "" else str(value)


def _read_tokens(row: Mapping[str, Any], columns: Columns, where: str) -> Record:
    """Words with tags, as sets on the Hugging Face hub have them."""
    from ..spacing import join_words, restore_spaces

    keys = columns.labels[:1] or [key for key in TAG_KEYS if key in row]
    if not keys:
        raise ValueError(
            f"{where}: there are 'tokens' but no tags; looked for {' and '.join(TAG_KEYS)}. "
            "Name the column: --label NAME"
        )
    words = [str(word) for word in row["tokens"]]
    tags = list(row[find_key(row, keys[0], "--label", where)])
    if len(words) != len(tags):
        raise ValueError(f"{where}: there are {len(words)} tokens and {len(tags)} tags.")
    if any(not isinstance(tag, str) for tag in tags):
        raise ValueError(
            f"{where}: the tags are numbers ({tags[0]!r}) and the file does not say what they "
            "mean. Save the set with its features (datasets: `save_to_disk`, `to_parquet`)."
        )
    pairs = [(word, tag) for word, tag in zip(words, tags, strict=True) if word.strip()]
    words = [word for word, _ in pairs]
    entities, _ = decode_tags([tag for _, tag in pairs], where)
    spaces = restore_spaces(words)
    text, starts = join_words(words, spaces)
    return Record(
        text,
        where,
        spans=word_spans(entities, words, starts),
        words=words,
        spaces=spaces,
        group=_group(row, columns, where),
    )


def word_spans(
    entities: Sequence[Tuple[int, int, str]], words: Sequence[str], starts: Sequence[int]
) -> List[Span]:
    """Turn spans of words into spans of characters.

    entities (Sequence[Tuple[int, int, str]]): First word, the one after the last, and label.
    words (Sequence[str]): The words.
    starts (Sequence[int]): The first character of each.
    RETURNS (List[Span]): The same by character.
    """
    return [(starts[i], starts[j - 1] + len(words[j - 1]), label) for i, j, label in entities]
