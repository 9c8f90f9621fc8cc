"""Read files of one token per line (CoNLL-2003, IOB, BIOES, BILUO)."""

import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

from ..record import BadRow, Columns, Record
from .tags import is_tag, looks_like_tags, split_tag
from .text import read_lines
from .tokens import tagged_record

# Number of a line, from 1, and the line.
Line = Tuple[int, str]
DOCUMENT_MARK = "-DOCSTART-"
# CoNLL-U Plus and CoNLL-2012 mark documents in comments.
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b|#begin document\b")
_COMMENT = re.compile(r"#([ \t].*|end document.*)?")
# Metadata of a sentence in CoNLL-U: "# text = Bo came". It is never a token.
_METADATA = re.compile(r"#(?: +[^\s=]+ *| *[^\s=]+ +)=")
# A no-break space is part of a token, so columns are cut at ASCII blanks only.
_BLANKS = " \t"


@dataclass
class Block:
    """Lines between two blank lines: a sentence.

    line (int): Number of the first line.
    begins_document (bool): Whether a mark of a document comes before it.
    words (List[str]): Tokens.
    tags (List[str]): One tag per token.
    skipped (int): Lines that have no token and the tag O.
    error (Optional[BadRow]): Why the block can't be read.
    """

    line: int
    begins_document: bool
    words: List[str] = field(default_factory=list)
    tags: List[str] = field(default_factory=list)
    skipped: int = 0
    error: Optional[BadRow] = None


def looks_like_columns(path: Path, lines: int = 200) -> bool:
    """Tell whether a file has one token per line with its tag in the last column.

    path (Path): File that may be anything.
    lines (int): Number of lines to look at.
    RETURNS (bool): Whether all of them have a tag in one of the last two columns.
    """
    rows: List[List[str]] = []
    try:
        for _, line in islice(read_lines(path, ("utf-8", "cp1252")), lines):
            line = line.strip(_BLANKS)
            if line and not _COMMENT.fullmatch(line) and not _METADATA.match(line):
                rows.append(_cells(line))
    except (ValueError, OSError):
        return False
    if min(map(len, rows), default=0) < 2:
        return False
    # The last column may be for entities inside of entities, and empty.
    last, before = [row[-1] for row in rows], [row[-2] for row in rows]
    return looks_like_tags(last) or (set(last) <= {"O", "o"} and looks_like_tags(before))


def read_columns(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a file of one token per line, as whole documents if the file marks them.

    path (Path): The file. Blank lines end sentences; `-DOCSTART-` begins a document.
    columns (Columns): `texts` and `labels` may be numbers of columns, from 1; without them, the
        first and the last are read. `sentences` cuts documents.
    YIELDS (Record): Documents, with the words of the file. A sentence with a line that can't be
        read is a separate record, which says why it is dropped.
    RAISES (ValueError): An option does not fit this format.
    """
    if columns.group is not None:
        raise ValueError(
            f"--group is {columns.group!r}; files of one token per line have no such column. "
            "Documents stay whole where -DOCSTART- marks them."
        )
    document: List[Block] = []
    marks = blocks = 0
    begins_document = False
    for block in _read_blocks(path, columns):
        marks += block.begins_document
        # A block that can't be read hands its mark to the next one.
        begins_document = begins_document or block.begins_document
        if block.error:
            where = f"{path}, line {block.line}"
            yield Record("", where, drop=block.error.reason, case=str(block.error))
            continue
        blocks += 1
        full = len(document) >= columns.sentences if columns.sentences else not marks
        # The end of a document always ends a record, however many sentences are asked for.
        if document and (full or begins_document):
            yield _to_record(document, path)
            document = []
        begins_document = False
        document.append(block)
    if document:
        record = _to_record(document, path)
        if marks == 1 and len(document) > 1 and columns.sentences is None:
            where = "at the top" if len(document) == blocks else "after other blocks"
            record.note = (
                f"{path} has one {DOCUMENT_MARK} {where}, so its {len(document):,} blocks became "
                "one text. If each block is a text of its own, as in Label Studio's exports: "
                "--sentences 1"
            )
        yield record


def _read_blocks(path: Path, columns: Columns) -> Iterator[Block]:
    """Read the blocks that have a line of tokens."""
    if len(columns.texts) > 1 or len(columns.labels) > 1:
        raise ValueError("Files of one token per line have one --text and one --label column.")
    word_column = _number(columns.texts, "--text", default=0)
    tag_column = _number(columns.labels, "--label", default=-1)
    begins_document = False
    block: Optional[Block] = None
    for number, line in _without_comments(read_lines(path, columns.encodings), tag_column):
        is_mark = _is_mark(line)
        if is_mark or not line.strip(_BLANKS):
            if block:
                yield block
                block = None
            begins_document = begins_document or is_mark
            continue
        cells = _cells(line)
        if block is None:
            block = Block(number, begins_document)
            begins_document = False
        if block.error is None:
            try:
                _add_line(block, cells, word_column, tag_column, f"{path}, line {number}")
            except BadRow as error:
                block.error = error
    if block:
        yield block


def _without_comments(lines: Iterable[Line], tag_column: int) -> Iterator[Line]:
    """Leave out comments. They are before a sentence, whose first tokens may begin with "#" too."""
    held: List[Line] = []
    n_cells, inside = 0, False
    for number, line in lines:
        ends = _is_mark(line) or not line.strip(_BLANKS)
        if not ends and _METADATA.match(line):
            # What is in front of a comment is a comment.
            held = []
        elif not ends and not inside and _COMMENT.fullmatch(line):
            held.append((number, line))
        else:
            n_cells = n_cells if ends else len(_cells(line))
            yield from _tokens_of(held, n_cells, tag_column)
            yield number, line
            held, inside = [], not ends
    yield from _tokens_of(held, n_cells, tag_column)


def _tokens_of(held: List[Line], n_cells: int, tag_column: int) -> List[Line]:
    """The last of some lines with "#" that look like tokens: they have a tag, and as many cells as
    the token after them."""
    first = len(held)
    while first:
        cells = _cells(held[first - 1][1])
        fits = len(cells) == n_cells if n_cells else len(cells) > 1
        tag = cells[tag_column] if fits and tag_column < len(cells) else ""
        # "e-mail" is a word, although tags may have small letters.
        if not is_tag(tag) or (tag[0].islower() and tag != "o"):
            break
        first -= 1
    return held[first:]


def _is_mark(line: str) -> bool:
    return line.startswith(DOCUMENT_MARK) or bool(_NEW_DOCUMENT.match(line))


def _add_line(block: Block, cells: List[str], word: int, tag: int, where: str) -> None:
    if len(cells) > 1 and not cells[word] and cells[-1] in ("O", "o"):
        block.skipped += 1
        return
    needed = max(2, word + 1, tag + 1)
    if len(cells) < needed:
        raise BadRow(
            f"{where}: {' '.join(cells)!r} has {len(cells)} column{'s' if len(cells) > 1 else ''}, "
            f"and {needed} are needed: a token and its tag, with a tab or a space between them, "
            "and a blank line after each sentence.",
            "too few columns",
        )
    if not cells[word]:
        raise BadRow(f"{where}: {cells!r} has a tag and no token.", "a tag without a token")
    split_tag(cells[tag], where)
    block.words.append(cells[word])
    block.tags.append(cells[tag])


def _to_record(document: List[Block], path: Path) -> Record:
    sentences = [(block.words, block.tags) for block in document]
    record = tagged_record(sentences, f"{path}, line {document[0].line}")
    skipped = sum(block.skipped for block in document)
    if skipped:
        record.ignored["line without a token"] += skipped
    return record


def _cells(line: str) -> List[str]:
    # If tabs separate the columns, tokens may have spaces in them.
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return re.split(" +", line.strip(" "))


def _number(names: Sequence[str], option: str, *, default: int) -> int:
    if not names:
        return default
    if not names[0].isdecimal() or int(names[0]) < 1:
        raise ValueError(
            f"{option} is {names[0]!r}. In files of one token per line, columns have numbers, from "
            "1."
        )
    return int(names[0]) - 1
