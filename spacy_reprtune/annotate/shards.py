"""Cut input files into shards: row groups of Parquet, or ranges of lines or records."""

import csv
import io
import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ..files import is_utf8

READABLE = (".parquet", ".jsonl", ".csv", ".tsv", ".txt")
SHARD_ROWS = 10_000
# Rows of a JSONL file of which at least one must have a column. A row may be damaged, but not all.
FIRST_ROWS = 1000


@dataclass(frozen=True)
class Shard:
    """A part of an input file that becomes one output file.

    path (str): The input file.
    first (int): Number of its first row among all rows of all inputs.
    rows (int): How many rows it has.
    start, stop (int): First byte of the rows and the one after the last. For Parquet, the number of
        the row group and the next number.
    """

    path: str
    first: int
    rows: int
    start: int
    stop: int


@dataclass
class Row:
    """A row of an input.

    number (int): Number of the row among all rows of all inputs, from 0.
    id (Any): Value of the id column, as int or str, or None if it can't be read. Without an id
        column, the number.
    text (Any): Value of the text column, of any type.
    error (Optional[str]): Why the row could not be read, or None.
    """

    number: int
    id: Any
    text: Any
    error: Optional[str] = None


def find_inputs(
    paths: Sequence[Path], *, output: Path, readable: Sequence[str] = READABLE
) -> List[Path]:
    """List the files to annotate.

    paths (Sequence[Path]): Files, and folders whose readable files are used in order of name.
    output (Path): What the run writes: a file, or a folder. If it is below one of the folders, an
        earlier run may have written it, so its files are left out.
    readable (Sequence[str]): Endings of readable files.
    RETURNS (List[Path]): The files.
    RAISES (ValueError): A file is missing, named twice, or has an unknown ending, or a folder has
        no readable file.
    """
    found: List[Path] = []
    for path in paths:
        if path.is_dir():
            files = [f for f in path.rglob("*") if f.suffix.lower() in readable]
            if path.resolve() in output.resolve().parents:
                files = [f for f in files if not f.resolve().is_relative_to(output.resolve())]
            if not files:
                raise ValueError(f"{path} has no file that ends in {', '.join(readable)}.")
            found += sorted(files)
        elif not path.is_file():
            raise ValueError(f"{path} does not exist.")
        elif path.suffix.lower() not in readable:
            raise ValueError(f"{path} ends in {path.suffix!r}. Use {', '.join(readable)}.")
        else:
            found.append(path)
    for path in found:
        if found.count(path) > 1:
            raise ValueError(f"{path} is named twice, so its rows would be annotated twice.")
    return found


def cut(path: Path, first: int, columns: Sequence[str], shard_rows: int) -> List[Shard]:
    """Cut a file into shards.

    path (Path): The file.
    first (int): Number of its first row.
    columns (Sequence[str]): Columns that the file must have. In JSONL, one of the first rows must
        have each of them. A .txt file has only a text.
    shard_rows (int): Rows per shard; row groups of Parquet stay whole.
    RETURNS (List[Shard]): The shards, none of them empty.
    RAISES (ValueError): A column is missing, or the format of the file does not match its ending.
    """
    if path.suffix.lower() == ".parquet":
        return _cut_row_groups(path, first, columns)
    shards: List[Shard] = []
    start = rows = 0
    if path.suffix.lower() in (".csv", ".tsv"):
        records = _records(path)
        header, start = next(records, ([], 0))
        check_columns(path, _column_names(header), columns)
        ends = ((end, not _is_blank(record)) for record, end in records)
    else:
        keys = _first_keys(path, columns) if path.suffix.lower() == ".jsonl" else []
        # Rows that are all damaged fail one by one, each with its reason.
        if keys:
            check_columns(path, keys, columns)
        ends = _lines(path)
    for end, counts in ends:
        rows += counts
        if rows == shard_rows:
            shards.append(Shard(str(path), first, rows, start, end))
            first, start, rows = first + rows, end, 0
    if rows:
        shards.append(Shard(str(path), first, rows, start, end))
    return shards


def read_rows(shard: Shard, *, text: str, id: Optional[str]) -> List[Row]:
    """Read the rows of a shard.

    shard (Shard): The shard.
    text (str): Name of the column with the texts.
    id (Optional[str]): Name of the column with the ids, or None for the rows' numbers.
    RETURNS (List[Row]): The rows. A row that can't be read has an error.
    RAISES (ValueError): The file is damaged, or has changed.
    """
    if Path(shard.path).suffix.lower() == ".parquet":
        rows = _read_row_group(shard, text, id)
    else:
        rows = _read_range(shard, text, id)
    if id is not None:
        for row in rows:
            _check_id(row, id)
    return rows


def _read_range(shard: Shard, text: str, id: Optional[str]) -> List[Row]:
    path = Path(shard.path)
    kind = path.suffix.lower()
    with path.open("rb") as file:
        file.seek(shard.start)
        data = file.read(shard.stop - shard.start)
    if kind in (".csv", ".tsv"):
        rows = list(_table_rows(data, path, text, id, shard.first))
    else:
        lines = [line for line in data.split(b"\n") if line.strip()]
        parse = _parse_json if kind == ".jsonl" else _parse_line
        rows = [parse(line, shard.first + i, text, id) for i, line in enumerate(lines)]
    if len(rows) != shard.rows:
        raise ValueError(
            f"{path} has changed since the run began: rows {shard.first} to "
            f"{shard.first + shard.rows} are now {len(rows)} rows. Start again with another output."
        )
    return rows


def _check_id(row: Row, column: str) -> None:
    """Make the id of a row an int or a string that can be written, or give the row an error."""
    if row.id is not None and type(row.id) not in (int, str):
        row.id = str(row.id)
    error = None
    if row.id is None or row.id == "":
        error = f"The row has no {column!r}."
    elif isinstance(row.id, str) and not is_utf8(row.id):
        error = f"The {column!r} {row.id!r} is not UTF-8."
    if error is not None:
        row.id, row.error = None, row.error or error


def _lines(path: Path) -> Iterator[Tuple[int, bool]]:
    """YIELDS (Tuple[int, bool]): Where each line of a file ends, and whether it is a row, which
    blank lines are not."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            yield end, bool(line.strip())


def _records(path: Path) -> Iterator[Tuple[List[str], int]]:
    """YIELDS (Tuple[List[str], int]): Each record of a table, the header first, and where it ends.
    Bytes that are not UTF-8 are half surrogate pairs."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        with path.open(encoding="utf8", errors="surrogateescape", newline="") as file:
            for line in file:
                # A quote after a byte order mark begins a field.
                text = line if end else line.removeprefix("\ufeff")
                end += len(line.encode("utf8", "surrogateescape"))
                yield text

    # The reader takes no line before it needs it, so `end` belongs to the record.
    for record in _parse_table(lines(), path):
        yield record, end


def _parse_table(lines: Iterable[str], path: Path) -> Iterator[List[str]]:
    # A field may be as long as any text.
    csv.field_size_limit(2**31 - 1)
    yield from csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")


def _column_names(header: Sequence[str]) -> List[str]:
    """RETURNS (List[str]): The names of columns, which may not be UTF-8, as text to print."""
    return [cell.encode("utf8", "surrogateescape").decode("utf8", "replace") for cell in header]


def _is_blank(record: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in record)


def _first_keys(path: Path, wanted: Sequence[str]) -> List[str]:
    """RETURNS (List[str]): The keys of the first rows of a JSONL file, each once, up to the row
    that completes those that are wanted."""
    keys: Dict[str, None] = {}
    with path.open("rb") as file:
        for line in islice(filter(bytes.strip, file), FIRST_ROWS):
            with suppress(ValueError):
                value = json.loads(line)
                keys.update(dict.fromkeys(value if isinstance(value, dict) else ()))
            if keys.keys() >= set(wanted):
                break
    return list(keys)


def check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that a file has all columns that are needed.

    path (Path): The file.
    found (Sequence[str]): Columns of the file.
    wanted (Sequence[str]): Columns that it must have.
    RAISES (ValueError): A column is missing.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]!r}. Its columns are {', '.join(found) or 'none'}."
        )


def _table_rows(data: bytes, path: Path, text: str, id: Optional[str], first: int) -> Iterator[Row]:
    header = _column_names(next(_records(path), ([], 0))[0])
    decoded = io.StringIO(data.decode("utf8", errors="surrogateescape"), newline="")
    number = first
    for record in _parse_table(decoded, path):
        if _is_blank(record):
            continue
        named = dict(zip(header, record, strict=False))
        error = None
        if len(record) != len(header):
            error = f"The row has {len(record)} cells, but the header has {len(header)}."
        elif not is_utf8(named[text]):
            error = "The text is not UTF-8."
        yield Row(number, named.get(id) if id else number, named.get(text), error)
        number += 1


def _parse_json(line: bytes, number: int, text: str, id: Optional[str]) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Row(number, None if id else number, None, f"The line is not JSON: {error}.")
    if not isinstance(value, dict):
        kind = type(value).__name__
        return Row(number, None if id else number, None, f"The line is a {kind}, not an object.")
    found = value.get(id) if id else number
    if text not in value:
        return Row(number, found, None, f"The row has no {text!r}.")
    if isinstance(value[text], str) and not is_utf8(value[text]):
        return Row(number, found, None, "The text has half of a surrogate pair.")
    return Row(number, found, value[text])


def _parse_line(line: bytes, number: int, text: str, id: Optional[str]) -> Row:
    try:
        # Only the first line of a file can have a byte order mark.
        return Row(number, number, line.decode("utf8").removeprefix("\ufeff").rstrip("\r"))
    except UnicodeDecodeError:
        return Row(number, number, None, "The text is not UTF-8.")


def _cut_row_groups(path: Path, first: int, columns: Sequence[str]) -> List[Shard]:
    metadata = _parquet(path).metadata
    check_columns(path, metadata.schema.to_arrow_schema().names, columns)
    shards = []
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if rows:
            shards.append(Shard(str(path), first, rows, group, group + 1))
            first += rows
    return shards


def _read_row_group(shard: Shard, text: str, id: Optional[str]) -> List[Row]:
    wanted = [text] if id is None else list(dict.fromkeys([text, id]))
    try:
        table = _parquet(Path(shard.path)).read_row_group(shard.start, columns=wanted)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Row group {shard.start} of {shard.path} is damaged: {error} Write the file again, "
            "or leave it out."
        ) from error
    texts = table[text].to_pylist()
    numbers = range(shard.first, shard.first + len(texts))
    ids = numbers if id is None else table[id].to_pylist()
    return [Row(n, i, value) for n, i, value in zip(numbers, ids, texts, strict=True)]


def _parquet(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a whole Parquet file: {error}") from error
