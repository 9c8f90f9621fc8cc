"""Files of one token a line (CoNLL-2003, IOB, BIOES, BILUO), with documents and spaces restored."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import FrozenSet, Iterator, List, Optional, Tuple

from ..record import Columns, Record, Span
from ..spacing import gather_evidence, join_words, restore_spaces, unescape
from .tags import decode_tags, name_scheme, split_tag
from .text import read_lines

DOCUMENT_MARK = "-DOCSTART-"
# CoNLL-U Plus marks documents in comments.
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_COMMENT = re.compile(r"#(\s.*)?")
_LOOKS_LIKE_A_TAG = re.compile(r"O|[BILUES]-\S+")


@dataclass
class Sentence:
    """One block of lines.

    line (int): The first line.
    words (List[str]): The tokens.
    tags (List[str]): A tag each.
    begins_document (bool): Whether a mark stands before it.
    """

    line: int
    words: List[str] = field(default_factory=list)
    tags: List[str] = field(default_factory=list)
    begins_document: bool = False


def looks_like_columns(path: Path, lines: int = 200) -> bool:
    """Tell whether a file has one token a line with its tag in the last column.

    path (Path): A file that may be anything.
    lines (int): How many to look at.
    RETURNS (bool): Whether all of them end in a tag.
    """
    seen = 0
    try:
        for number, line in read_lines(path, ("utf-8", "cp1252")):
            if number > lines:
                break
            if not line.strip() or _COMMENT.fullmatch(line.strip()):
                continue
            cells = _cells(line)
            if len(cells) < 2 or not _LOOKS_LIKE_A_TAG.fullmatch(cells[-1]):
                return False
            seen += 1
    except (ValueError, OSError):
        return False
    return seen > 0


def read_columns(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a file of one token a line, whole documents where the file marks them.

    path (Path): The file. Blank lines end sentences; `-DOCSTART-` begins a document.
    columns (Columns): `text` and `labels` may be numbers of columns from 1; the first and the last
        are read without. `sentences` cuts documents.
    YIELDS (Record): Documents, with the words of the file and spaces as they probably were.
    RAISES (ValueError): A line has too few columns or no tag; the message names the line. Or a
        `group` is asked for.
    """
    if columns.group is not None:
        raise ValueError(
            f"--group is {columns.group!r}; files of one token a line have no such column. "
            "Documents stay whole where -DOCSTART- marks them."
        )
    evidence = gather_evidence(sentence.words for sentence in read_sentences(path, columns))
    joining = evidence.joining
    document: List[Sentence] = []
    marked = False
    for sentence in read_sentences(path, columns):
        marked = marked or sentence.begins_document
        full = (
            len(document) >= columns.sentences
            if columns.sentences
            else not marked or sentence.begins_document
        )
        # A document's end is an end, however many sentences are asked for.
        if document and (full or sentence.begins_document):
            yield _to_record(document, joining, path)
            document = []
        document.append(sentence)
    if document:
        yield _to_record(document, joining, path)


def describe_columns(path: Path, columns: Columns) -> Tuple[str, int]:
    """Say what is in a file.

    path (Path): The file.
    columns (Columns): As for `read_columns`.
    RETURNS (Tuple[str, int]): The scheme of its tags, and how many entities begin as they should
        not in that scheme and were repaired.
    """
    prefixes: Counter = Counter()
    begun_inside = 0
    for sentence in read_sentences(path, columns):
        prefixes.update(split_tag(tag)[0] for tag in sentence.tags)
        begun_inside += decode_tags(sentence.tags)[1]
    scheme = name_scheme(prefixes, begun_inside)
    return scheme, 0 if scheme == "IOB1" else begun_inside


def read_sentences(path: Path, columns: Columns) -> Iterator[Sentence]:
    """Read the blocks of a file.

    path (Path): The file.
    columns (Columns): Numbers of the columns, and the encodings.
    YIELDS (Sentence): Those that have a token.
    RAISES (ValueError): A line has too few columns or no tag.
    """
    word_column = _number(columns.text, "--text", default=0)
    tag_column = _number(columns.labels[0] if columns.labels else None, "--label", default=-1)
    needed = max(2, word_column + 1, tag_column + 1)
    begins_document = False
    sentence: Optional[Sentence] = None
    for number, line in read_lines(path, columns.encodings):
        if not line.strip():
            if sentence:
                yield sentence
                sentence = None
            continue
        if line.startswith(DOCUMENT_MARK) or _NEW_DOCUMENT.match(line):
            if sentence:
                yield sentence
                sentence = None
            begins_document = True
            continue
        cells = _cells(line)
        # A line of the text may begin with "#": only between sentences, and only without a tag, is
        # it a comment.
        if sentence is None and _COMMENT.fullmatch(line) and not _is_tag(cells[-1]):
            continue
        if "\t" in line and cells[-1] == "O" and not cells[0]:
            # A token that is no token.
            continue
        if len(cells) < needed:
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r} has {len(cells)} "
                f"column{'s' if len(cells) > 1 else ''}, and {needed} are needed: a token and its "
                "tag, with a tab or a space between them, and a blank line after each sentence."
            )
        if sentence is None:
            sentence = Sentence(number, begins_document=begins_document)
            begins_document = False
        if not cells[word_column]:
            raise ValueError(f"{path}, line {number}: {line!r} has a tag and no token.")
        split_tag(cells[tag_column], f"{path}, line {number}")
        sentence.words.append(unescape(cells[word_column]))
        sentence.tags.append(cells[tag_column])
    if sentence:
        yield sentence


def _to_record(document: List[Sentence], joining: FrozenSet[str], path: Path) -> Record:
    words: List[str] = []
    sent_starts: List[bool] = []
    entities: List[Tuple[int, int, str]] = []
    for sentence in document:
        found, _ = decode_tags(sentence.tags)
        entities += [(len(words) + i, len(words) + j, label) for i, j, label in found]
        sent_starts += [k == 0 for k in range(len(sentence.words))]
        words += sentence.words
    spaces = restore_spaces(words, joining)
    # Nothing follows the last word.
    spaces[-1] = False
    text, starts = join_words(words, spaces)
    spans: List[Span] = [
        (starts[i], starts[j - 1] + len(words[j - 1]), label) for i, j, label in entities
    ]
    return Record(
        text,
        f"{path}, line {document[0].line}",
        spans=spans,
        words=words,
        spaces=spaces,
        sent_starts=sent_starts if len(document) > 1 else None,
    )


def _cells(line: str) -> List[str]:
    # Tokens may have spaces in them where tabs separate the columns.
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def _is_tag(cell: str) -> bool:
    return bool(_LOOKS_LIKE_A_TAG.fullmatch(cell))


def _number(value: Optional[str], option: str, *, default: int) -> int:
    if value is None:
        return default
    if not value.isdigit() or int(value) < 1:
        raise ValueError(
            f"{option} is {value!r}. In files of one token a line, columns have numbers, from 1."
        )
    return int(value) - 1
