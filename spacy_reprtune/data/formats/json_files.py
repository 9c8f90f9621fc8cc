"""Read JSON objects, one per line or all in one list, also from annotation tools."""

import json
from collections import Counter
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ..record import BadRow, Columns, Record, read_each
from .label_studio import is_task, read_task
from .prodigy import read_answer
from .rows import read_row
from .spacy_json import as_row, is_document, read_document
from .text import read_lines, read_text
from .token_table import PEEK, read_rows

# Keys of the list of examples in the files of some tools.
_LISTS = ("annotations", "examples", "data", "rows")


def read_json_lines(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a file of one JSON object per line.

    path (Path): File of objects with a text and `label`, `labels`, `cats`, `spans` or `entities`,
        as Prodigy and doccano export them, or of spaCy's `Doc.to_json`, or training tuples.
    columns (Columns): Names of the keys, and the encodings.
    YIELDS (Record): One per object, in order.
    RAISES (ValueError): The file is not encoded as `columns` says, or holds one list.
    """
    yield from _read_objects(_parse_lines(path, columns), columns)


def read_json(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a list of JSON objects, such as Label Studio's JSON and JSON-MIN exports.

    path (Path): The file. It may also hold spaCy 2's training tuples (`["text", {"entities":
        […]}]`) or objects of `Doc.to_json`.
    columns (Columns): Names of the keys, and the encodings.
    YIELDS (Record): One per object, in order.
    RAISES (ValueError): It is not a list of objects.
    """
    text = read_text(path, columns.encodings)
    twice: List[str] = []
    try:
        rows = parse_json(text, twice)
    except (ValueError, RecursionError) as error:
        if not _has_lines(path, columns):
            raise ValueError(f"{path} is not JSON: {error}") from error
        rows = None
    if rows is None:
        yield from read_json_lines(path, columns)
        return
    if isinstance(rows, Mapping):
        lists = [key for key in _LISTS if isinstance(rows.get(key), list)]
        rows = [rows] if is_document(rows) or is_task(rows) else rows.get((lists or [""])[0], rows)
    if not isinstance(rows, list):
        raise ValueError(
            f'{path} holds {type(rows).__name__}; it has to be a list of objects: [{{"text": …, '
            '"label": …}, …], or one object per line.'
        )
    if twice:
        rows = [
            _has_twice(f"{path}, object {number}", twice[0]) if _is_twice(row) else row
            for number, row in enumerate(rows, start=1)
        ]
    places = ((f"{path}, object {number}", row) for number, row in enumerate(rows, start=1))
    yield from _read_objects(places, columns)


def _parse_lines(path: Path, columns: Columns) -> Iterator[Tuple[str, Any]]:
    for number, line in read_lines(path, columns.encodings):
        # Concatenated files have byte order marks inside.
        line = line.strip().lstrip("\ufeff")
        if not line:
            continue
        where = f"{path}, line {number}"
        try:
            twice: List[str] = []
            row = parse_json(line, twice)
            row = _has_twice(where, twice[0]) if twice else row
        except (ValueError, RecursionError) as error:
            if number == 1 and (line == "{" or line[0] == "[") and not _has_lines(path, columns, 1):
                raise ValueError(
                    f"{path} is one list of objects or one object over several lines and not one "
                    "object per line; name it .json"
                ) from error
            row = BadRow(f"{where} is not JSON: {error}", "not JSON")
        if number == 1 and isinstance(row, list) and row and isinstance(row[0], Mapping):
            raise ValueError(
                f"{path} is one list of objects and not one object per line; name it .json"
            )
        yield where, row


class _Twice(dict):
    """An object that has a key twice. Only the last value is kept."""


def parse_json(text: str, twice: List[str]) -> Any:
    """Parse JSON. Python's parser keeps the last value of a key that an object has twice.

    text (str): The text.
    twice (List[str]): Keys that an object has twice, added to.
    RETURNS (Any): The parsed value.
    RAISES (ValueError): The text is not JSON.
    """

    def build(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        counts = Counter(key for key, _ in pairs)
        twice.append(max(counts, key=lambda key: counts[key]))
        return _Twice(found)

    return json.loads(text, object_pairs_hook=build)


def _is_twice(value: Any) -> bool:
    """Whether an object inside of a value has a key twice."""
    if isinstance(value, _Twice):
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_is_twice, inner))


def _has_twice(where: str, key: str) -> BadRow:
    return BadRow(f"{where} has the key {key!r} twice in one object.", "a key twice")


def _has_lines(path: Path, columns: Columns, number: int = 0) -> bool:
    """Whether a line of a file, not counting blank ones, is an object by itself."""
    lines = (line for _, line in read_lines(path, columns.encodings) if line.strip())
    try:
        return isinstance(json.loads(next(islice(lines, number, None), "")), dict)
    except (ValueError, RecursionError):
        return False


def _read_objects(rows: Iterator[Tuple[str, Any]], columns: Columns) -> Iterator[Record]:
    head = list(islice(rows, PEEK))
    rows = ((where, as_row(row)) for where, row in chain(head, rows))
    read = partial(read_object, columns=columns)
    objects = [row for _, row in head if isinstance(row, Mapping)]
    # Each object may be a word, unless it has a key of an annotation tool.
    plain = [row for row in objects if not {"text", "tokens"} & {*row} and not is_task(row)]
    if len(plain) > len(objects) / 2:
        yield from read_rows(rows, columns, read)
    else:
        yield from read_each(rows, read)


def read_object(row: Any, where: str, columns: Columns) -> Record:
    """Read one object. Its keys tell where it comes from.

    row (Any): The parsed value.
    where (str): Place of the object.
    columns (Columns): Names of the keys.
    RETURNS (Record): The text and its annotation.
    RAISES (BadRow): It is not an object, or has none of the known forms.
    """
    if is_task(row):
        return read_task(row, where, columns)
    if isinstance(row, Mapping) and "answer" in row:
        return read_answer(row, where, columns)
    if is_document(row):
        return read_document(row, where, columns)
    return read_row(row, where, columns)
