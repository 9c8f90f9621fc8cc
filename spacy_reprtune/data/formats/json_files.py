"""JSON objects, one per line or all in one list: plain, and what annotation tools export."""

import json
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Iterator, Mapping, Tuple

from ..record import BadRow, Columns, Record, read_each
from .label_studio import is_task, read_task
from .prodigy import read_answer
from .rows import read_row
from .spacy_json import as_row, is_document, read_document
from .text import open_text, read_lines
from .token_table import read_rows

# Keys under which tools put the list of examples.
_LISTS = ("annotations", "examples", "data", "rows")


def read_json_lines(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a file of one JSON object per line.

    path (Path): File of objects with a text and `label`, `labels`, `cats`, `spans` or `entities`,
        as Prodigy and doccano export them, or of spaCy's `Doc.to_json`, or training tuples.
    columns (Columns): Names of the keys, and the encodings.
    YIELDS (Record): One per object, in order.
    RAISES (ValueError): The file is not encoded as `columns` says, or is one list.
    """
    yield from _read_objects(_parse_lines(path, columns), columns)


def read_json(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a list of JSON objects, such as Label Studio's JSON and JSON-MIN exports.

    path (Path): The file. spaCy 2's training tuples (`["text", {"entities": […]}]`) and the objects
        of `Doc.to_json` are understood, too.
    columns (Columns): Names of the keys, and the encodings.
    YIELDS (Record): One per object, in order.
    RAISES (ValueError): It is not a list of objects.
    """
    with open_text(path, columns.encodings) as file:
        try:
            rows = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(rows, Mapping):
        lists = [key for key in _LISTS if isinstance(rows.get(key), list)]
        rows = [rows] if is_document(rows) or is_task(rows) else rows.get((lists or [""])[0], rows)
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds {type(rows).__name__}; it has to be a list of objects.")
    places = ((f"{path}, object {number}", row) for number, row in enumerate(rows, start=1))
    yield from _read_objects(places, columns)


def _parse_lines(path: Path, columns: Columns) -> Iterator[Tuple[str, Any]]:
    for number, line in read_lines(path, columns.encodings):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == 1 and line.strip().startswith("["):
                raise ValueError(
                    f"{path} is one list of objects and not one object per line; name it .json"
                ) from error
            yield where, BadRow(f"{where} is not JSON: {error}", "not JSON")


def _read_objects(rows: Iterator[Tuple[str, Any]], columns: Columns) -> Iterator[Record]:
    head = list(islice(rows, 1))
    rows = ((where, as_row(row)) for where, row in chain(head, rows))
    if head and isinstance(head[0][1], Mapping) and "text" not in head[0][1]:
        # Perhaps one word per object. A tool's own keys would have given it away.
        first = head[0][1]
        if not is_task(first) and "tokens" not in first:
            yield from read_rows(rows, columns)
            return
    yield from read_each(rows, partial(read_object, columns=columns))


def read_object(row: Any, where: str, columns: Columns) -> Record:
    """Read one object, by the keys that tell its origin.

    row (Any): What was parsed.
    where (str): Place of the object.
    columns (Columns): Names of the keys.
    RETURNS (Record): The text and its annotation.
    RAISES (BadRow): It is not an object, or not of any known form.
    """
    if is_task(row):
        return read_task(row, where, columns)
    if isinstance(row, Mapping) and "answer" in row:
        return read_answer(row, where, columns)
    if is_document(row):
        return read_document(row, where, columns)
    return read_row(row, where, columns)
