"""Read tables with one word per row, such as `Sentence #, Word, POS, Tag`."""

import re
from functools import partial
from itertools import chain, islice, pairwise
from typing import (
    AbstractSet,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from ..record import BadRow, Columns, Record, read_each
from ..spans import is_offset
from .rows import as_label, find_key, group_of, read_row
from .tags import is_tag, looks_like_tags, split_tag
from .tokens import tagged_record

Row = Tuple[str, Any]
# Number of rows that are read to tell a table of tokens from a table of texts.
PEEK = 200
# Share of these rows that has to look like words with tags, so that a damaged row does not matter.
_SHARE = 0.9
WORDS = ("word", "words", "token", "form")
_TAGS = ("tag", "tags", "ner_tag", "ner_tags", "ner", "bio", "label", "labels")


class _Table(NamedTuple):
    word: str
    tag: str
    # Columns whose values change where a sentence ends.
    borders: List[str]


def read_rows(
    rows: Iterable[Row],
    columns: Columns,
    read: Optional[Callable[[Any, str], Record]] = None,
) -> Iterator[Record]:
    """Read the rows of a table, each of which is a text, or a word of a sentence.

    rows (Iterable[Tuple[str, Any]]): Places and rows.
    columns (Columns): Which columns to read.
    read (Optional[Callable[[Any, str], Record]]): Reads a row that is a text, at a place;
        `read_row` if None.
    YIELDS (Record): Texts in order.
    RAISES (ValueError): It is a table of words, and no column tells where sentences end.
    """
    rows = iter(rows)
    head = list(islice(rows, PEEK))
    table = _find_table(head, columns)
    rows = chain(head, rows)
    if table is None:
        yield from read_each(rows, read or partial(read_row, columns=columns))
    else:
        yield from read_each(_sentences(rows, table), partial(_read_sentence, table, columns))


def _find_table(head: List[Row], columns: Columns) -> Optional[_Table]:
    mappings = [row for _, row in head if isinstance(row, Mapping)]
    if not mappings or len(columns.texts) > 1 or len(columns.labels) > 1:
        return None
    names = {str(name).strip().casefold(): name for row in mappings for name in row}
    known = [names[name] for name in WORDS if name in names]
    word = columns.texts[0] if columns.texts else "text" if "text" in names else (known or [""])[0]
    known = [names[name] for name in _TAGS if name in names]
    tag = columns.labels[0] if columns.labels else (known or [""])[0]
    values = [_named(row.get(tag), columns) for row in mappings]
    values = [value for value in values if isinstance(value, str) and value]
    words = [row[word] for row in mappings if isinstance(row.get(word), str)]
    # Words may have no-break spaces in them.
    single = sum(len(text.strip().split(" ")) == 1 for text in words)
    if not words or not values or single < _SHARE * len(words):
        return None
    tags = [value for value in values if is_tag(value)]
    outside = sum(value in ("O", "o") for value in values) / len(values)
    tagged = len(tags) >= _SHARE * len(values) and looks_like_tags(tags)
    borders = _border_columns(mappings, names, {word, tag})
    if borders and (tagged or outside == 1):
        return _Table(word, tag, borders)
    named = borders and word.strip().casefold() in WORDS
    if not tagged and not named and outside < 0.5:
        return None
    example = next((value for value in values if value not in ("O", "o")), "O")
    looks = (
        f"{head[0][0].rpartition(',')[0]} looks like a table of words: '{word}' has single words "
        f"and '{tag}' has tags such as {example!r}, "
    )
    if not borders:
        raise ValueError(
            f"{looks}and no column tells where a sentence ends. Name such a column 'sentence', "
            "with the same number for all words of a sentence; or write one word and its tag per "
            "line, with blank lines between sentences (--format conll)."
        )
    raise ValueError(
        f"{looks}which do not say where an entity begins. Write B-{example} at the first word of "
        f"an entity and I-{example} at the others, or name the tags that numbers stand for: "
        "--label-names FILE"
    )


def _border_columns(
    rows: List[Mapping[str, Any]], names: Mapping[str, str], others: AbstractSet[str]
) -> List[str]:
    """The columns that number sentences and documents: several rows have the same number, or none.
    Numbers of sentences may begin again in each document."""
    found: Dict[str, str] = {}
    for pattern in ("sent(?!i)", "doc"):
        for name in (names[name] for name in names if re.match(pattern, name)):
            numbers = [row.get(name) for row in rows]
            repeated = any(x in (None, "", before) for before, x in pairwise(numbers))
            if name not in others and (repeated or len(rows) == 1):
                found.setdefault(pattern, name)
    return list(found.values())


def _named(tag: Any, columns: Columns) -> Any:
    """The name of a tag, if `columns` has names for numbers."""
    if columns.names and isinstance(tag, str | int | float):
        return columns.names.get(as_label(tag), tag)
    return as_label(tag) if is_offset(tag) else tag


def _sentences(rows: Iterable[Row], table: _Table) -> Iterator[Tuple[str, List[Row]]]:
    """The rows of each sentence. It ends where a number changes; a blank cell repeats it."""
    current: List[Row] = []
    numbers: Dict[str, Any] = {}
    for where, row in rows:
        values = {x: row.get(x) for x in table.borders} if isinstance(row, Mapping) else {}
        values = {x: v.strip() if isinstance(v, str) else v for x, v in values.items()}
        values = {x: v for x, v in values.items() if v not in (None, "")}
        if current and any(numbers.get(x) != v for x, v in values.items()):
            yield current[0][0], current
            current = []
        numbers.update(values)
        current.append((where, row))
    if current:
        yield current[0][0], current


def _read_sentence(table: _Table, columns: Columns, rows: List[Row], where: str) -> Record:
    words, tags = [], []
    skipped = 0
    for place, row in rows:
        if isinstance(row, BadRow):
            raise row
        if not isinstance(row, Mapping):
            raise BadRow(f"{place} is {row!r}; it has to be an object.", "not an object")
        word = row[find_key(row, table.word, "--text", place)]
        tag = _named(row[find_key(row, table.tag, "--label", place)], columns)
        if not isinstance(word, str) or not word.strip():
            skipped += 1
            continue
        if not isinstance(tag, str):
            raise BadRow(f"{place}: {word!r} has the tag {tag!r}.", "tag not understood")
        split_tag(tag, place)
        words.append(word)
        tags.append(tag)
    record = tagged_record([(words, tags)], where, group_of(rows[0][1], columns, where))
    if skipped:
        record.ignored["row without a word"] += skipped
    return record
