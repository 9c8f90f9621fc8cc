"""BRAT's standoff files: a text and, beside it, its annotations by character."""

import re
from pathlib import Path
from typing import Iterator, List

from ..record import Columns, Record, Span
from .text import read_text

_ENTITY = re.compile(r"(T\d+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t?(.*)")


def read_brat(path: Path, columns: Columns) -> Iterator[Record]:
    """Read the entities of a folder of .txt and .ann files.

    path (Path): The folder, searched through.
    columns (Columns): The encodings. With a `group` of "folder", texts of one folder stay together.
    YIELDS (Record): A record a text. Relations, events, attributes and notes are left out.
    RAISES (ValueError): An annotation has no text, or a line of entities can't be read.
    """
    if columns.group not in (None, "folder"):
        raise ValueError(
            f"--group is {columns.group!r}; for BRAT it can only be 'folder', which keeps the "
            "texts of one folder in one split."
        )
    for annotation in sorted(path.rglob("*.ann")):
        if not annotation.with_suffix(".txt").is_file():
            raise ValueError(f"{annotation} has no text: {annotation.stem}.txt is not beside it.")
    for file in sorted(path.rglob("*.txt")):
        # Line ends count as BRAT counts them, so they stay as they are.
        record = Record(read_text(file, columns.encodings), str(file))
        if columns.group == "folder":
            record.group = str(file.parent.relative_to(path))
        annotation = file.with_suffix(".ann")
        if annotation.is_file():
            _read_entities(annotation, record, columns)
        else:
            record.drop = "no .ann file"
        yield record


def _read_entities(path: Path, record: Record, columns: Columns) -> None:
    spans: List[Span] = []
    for number, line in enumerate(read_text(path, columns.encodings).splitlines(), start=1):
        if not line.startswith("T"):
            continue
        match = _ENTITY.fullmatch(line.rstrip("\n"))
        where = f"{path}, line {number}"
        if match is None:
            raise ValueError(
                f"{where}: {line!r} is no entity. BRAT writes: T1<tab>Label 0 4<tab>text"
            )
        _, label, offsets, shown = match.groups()
        if ";" in offsets:
            record.lost.append(("in several parts", f"{where}: {label} '{shown}'"))
            continue
        start, end = map(int, offsets.split())
        found = " ".join(record.text[start:end].split())
        if shown and end <= len(record.text) and found != " ".join(shown.split()):
            record.lost.append(
                ("not what stands there", f"{where}: {label} '{shown}', the text has '{found}'")
            )
            continue
        spans.append((start, end, label))
    record.spans = spans
