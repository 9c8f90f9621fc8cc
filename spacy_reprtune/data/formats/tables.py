"""Read tables in text files: CSV and TSV, with or without a header."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Iterator, List, Tuple, Union

from ..record import BadRow, Columns, Record
from .rows import LABEL_KEYS, SPAN_KEYS, TAG_KEYS, find_key
from .text import open_text, read_lines
from .token_table import WORDS, read_rows

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_QUOTES = (
    "A cell with a separator, a quote or a line end in it has to be in double quotes, and a quote "
    'in it doubled: "say ""no"", please".'
)


def read_csv(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a table. Cells may be quoted, and have line ends inside quotes.

    path (Path): The file, with a header unless `columns` says that it has none.
    columns (Columns): Names, separator and encodings.
    YIELDS (Record): One per row, or per sentence of a table of words. A row with more cells than
        the header is dropped, and its record says why.
    RAISES (ValueError): The file is empty, the separator is wrong, or a column is missing; the
        message says where and what to do.
    """
    separator = columns.separator or ","
    if len(separator) != 1:
        raise ValueError(f"--separator is {separator!r}; it has to be one character.")
    # A cell may be a whole book; the standard library stops at 131,072 characters.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with open_text(path, columns.encodings) as file:
        yield from read_rows(_table_rows(file, path, separator, columns), columns)


def read_tsv(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a table whose cells are separated by tabs; see `read_csv`."""
    yield from read_csv(path, replace(columns, separator=columns.separator or "\t"))


def _table_rows(
    file: IO[str], path: Path, separator: str, columns: Columns
) -> Iterator[Tuple[str, Any]]:
    quoting = csv.QUOTE_MINIMAL
    if separator == "\t" and not _quotes_pair_up(path, columns):
        quoting = csv.QUOTE_NONE
    names: List[str] = []
    for line, cells in _Rows(file, separator, quoting):
        where = f"{path}, line {line}"
        if isinstance(cells, str):
            # Quotes and carriage returns are text, if the row then has the right number of cells.
            literal = cells.rstrip("\r\n").split(separator)
            if names and len(literal) != len(names):
                message = f"{where} can't be read as a table cut at each {_name(separator)}: "
                yield where, BadRow(f"{message}{cells.strip()!r}. {_QUOTES}", "stray quote")
                continue
            cells = literal
        if not cells:
            continue
        if not names and len("".join(cells)) <= 5 and "".join(cells).lower().startswith("sep="):
            # Excel's line that names the separator.
            continue
        if not names:
            names = _name_columns(cells, path, separator, columns)
            if columns.header:
                continue
        if len(cells) > len(names):
            of = "header" if columns.header else "first row"
            message = (
                f"{where} has {len(cells)} cells, which is more cells than the {of} has "
                f"({len(names)}), when it is cut at each {_name(separator)}. {_QUOTES}"
            )
            yield where, BadRow(message, f"more cells than the {of}")
        else:
            # A short row has no value for its last columns.
            yield where, {**dict.fromkeys(names), **dict(zip(names, cells, strict=False))}
    if not names:
        raise ValueError(f"{path} is empty: it needs a header and rows.")


class _Rows:
    """The rows of a table. A quote that never closes, or closes inside of a cell, costs one line:
    reading continues with the next line, instead of reading the rest of the file as one cell."""

    def __init__(self, file: IO[str], separator: str, quoting: int) -> None:
        self._lines = iter(file)
        self._again: List[str] = []
        self._row: List[str] = []
        self._options = {"delimiter": separator, "quoting": quoting, "strict": True}

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.pop() if self._again else next(self._lines, None)
            if line is None:
                return
            self._row.append(line)
            yield line

    def __iter__(self) -> Iterator[Tuple[int, Union[List[str], str]]]:
        number = 1
        reader = csv.reader(self._feed(), **self._options)
        while True:
            self._row = []
            try:
                yield number, next(reader)
                number += len(self._row)
            except StopIteration:
                return
            except csv.Error:
                first, *rest = self._row
                yield number, first
                self._again += reversed(rest)
                number += 1
                reader = csv.reader(self._feed(), **self._options)


def _quotes_pair_up(path: Path, columns: Columns) -> bool:
    """Whether quotes enclose cells. Many tables with tabs have them as part of the text."""
    pair_up, widths = True, set()
    for _, line in read_lines(path, columns.encodings):
        cells = line.split("\t")
        widths.add(len(cells))
        for cell in cells:
            if cell.startswith('"') and (len(cell) == 1 or not cell.endswith('"')):
                pair_up = False
    # A cell with a line end in it leaves lines with other numbers of cells.
    return pair_up or (len(widths) > 1 and _reads_with_quotes(path, columns))


def _reads_with_quotes(path: Path, columns: Columns) -> bool:
    """Whether all rows of a table with tabs have as many cells, if quotes enclose them."""
    with open_text(path, columns.encodings) as file:
        try:
            rows = csv.reader(file, delimiter="\t", strict=True)
            return len({len(row) for row in rows if row}) == 1
        except csv.Error:
            return False


def _name_columns(cells: List[str], path: Path, separator: str, columns: Columns) -> List[str]:
    """The names of the columns, checked against the columns that are asked for."""
    if not columns.header:
        names = [str(number) for number in range(1, len(cells) + 1)]
        if not columns.texts or not columns.labels:
            shown = "; ".join(
                f"{name}: {cell[:40]!r}" for name, cell in zip(names, cells, strict=True)
            )
            raise ValueError(
                f"{path} is read without a header, so its columns have numbers. Name them: --text "
                f"and --label, each with a number. The first row has {shown}"
            )
        return names
    if len(cells) == 1 and (hint := _other_separator(cells[0], separator)):
        raise ValueError(f"{path} has one column, {cells[0]!r}, {hint}")
    header = dict.fromkeys(cells)
    wanted = [(name, "--text") for name in columns.texts]
    wanted += [(name, "--label") for name in columns.labels]
    wanted += [(columns.group, "--group")] if columns.group else []
    if "tokens" in header and not columns.texts:
        wanted += [] if columns.labels or {*TAG_KEYS} & {*cells} else [("ner_tags", "--label")]
    elif not {name.strip().casefold() for name in cells} & {*WORDS}:
        wanted += [] if columns.texts else [("text", "--text")]
        known = columns.labels or any(key in header for key in (*LABEL_KEYS, *SPAN_KEYS))
        wanted += [] if known else [("label", "--label")]
    for name, option in wanted:
        try:
            find_key(header, name, option, f"{path}, header")
        except BadRow as error:
            raise ValueError(
                f"{error}, or its number if the first row is not a header: --no-header --text 1 "
                "--label 2"
            ) from error
    used = {*(name for name, _ in wanted), *LABEL_KEYS, *SPAN_KEYS, *TAG_KEYS, "text", "tokens"}
    twice = [name for name in header if cells.count(name) > 1 and name in used]
    if twice:
        raise ValueError(
            f"{path} has {cells.count(twice[0])} columns named {twice[0]!r}, but only one can be "
            "read. Rename them, or read the table by numbers, without its first row: --no-header"
        )
    return cells


def _other_separator(header: str, separator: str) -> str:
    """A remedy if a header seems to have another separator, or an empty text."""
    counts = {mark: header.count(mark) for mark in _SEPARATORS if mark != separator}
    mark = max(counts, key=lambda key: counts[key])
    if not counts[mark]:
        return ""
    return (
        f"when it is cut at each {_name(separator)}. It seems to be "
        f"cut at each {_SEPARATORS[mark]}: --separator {_SEPARATORS[mark]}"
    )


def _name(separator: str) -> str:
    return _SEPARATORS.get(separator, repr(separator))
