"""Read BRAT's standoff files: a text and, beside it, its annotations by character."""

import re
from pathlib import Path
from typing import Iterator, List

from ..record import BadRow, Columns, Record
from ..spans import Claim, resolve_claims
from .text import read_text

_ENTITY = re.compile(r"(T\d+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t?(.*)", re.DOTALL | re.ASCII)
_IGNORED = {
    "R": "relation",
    "*": "relation",
    "E": "event",
    "A": "attribute",
    "M": "attribute",
    "N": "link to a knowledge base",
}


def read_brat(path: Path, columns: Columns) -> Iterator[Record]:
    """Read the entities of a folder of .txt and .ann files.

    path (Path): The folder, which is searched with its subfolders.
    columns (Columns): Encodings. If `group` is "folder", texts of one folder stay together.
    YIELDS (Record): One per text. Relations, events and attributes are counted and left out.
    RAISES (ValueError): An annotation has no text beside it.
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
        # BRAT counts line ends as they are, so they stay as they are.
        record = Record(read_text(file, columns.encodings), str(file))
        if columns.group == "folder":
            record.group = str(file.parent.relative_to(path))
        annotation = file.with_suffix(".ann")
        try:
            if annotation.is_file():
                _read_entities(annotation, record, columns)
            else:
                record.drop = "no .ann file"
        except BadRow as error:
            record.drop, record.case = error.reason, str(error)
        yield record


def _read_entities(path: Path, record: Record, columns: Columns) -> None:
    claims: List[Claim] = []
    for number, line in enumerate(read_text(path, columns.encodings).split("\n"), start=1):
        where = f"{path}, line {number}"
        line = line.rstrip("\r")
        if not line.startswith("T"):
            kind = _IGNORED.get(line[:1])
            if kind:
                record.ignored[kind] += 1
            elif line.strip() and not line.startswith("#"):
                raise BadRow(f"{where}: {line!r} is not an annotation of BRAT.", "line not BRAT's")
            continue
        match = _ENTITY.fullmatch(line)
        if match is None:
            raise BadRow(
                f"{where}: {line!r} is not an entity. BRAT writes: T1<tab>Label 0 4<tab>text",
                "line not BRAT's",
            )
        _, label, offsets, shown = match.groups()
        if ";" in offsets:
            record.lost.append(("in several parts", f"{where}: {label} '{shown}'"))
        else:
            start, end = map(int, offsets.split())
            claims.append(Claim(start, end, label, shown))
    record.spans, lost = resolve_claims(record.text, claims, columns.offsets, str(path))
    record.lost += lost
