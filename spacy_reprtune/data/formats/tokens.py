"""Turn words with tags into a record, however the file lists them."""

from typing import List, Optional, Sequence, Tuple

from ..record import BadRow, Record, Span
from ..spacing import join_words, unescape
from .tags import decode_tags, prefixes_of

# Words and tags of a sentence.
Tagged = Tuple[Sequence[str], Sequence[str]]


def tagged_record(sentences: Sequence[Tagged], where: str, group: Optional[str] = None) -> Record:
    """Build a record from the sentences of one text.

    sentences (Sequence[Tagged]): Words and tags of each sentence. Words without a letter are left
        out and counted.
    where (str): Place of the text.
    group (Optional[str]): Group of the text.
    RETURNS (Record): Record with words, whose spaces are restored when the whole file is known.
    RAISES (BadRow): A tag is not a tag, or there are more or fewer tags than words.
    """
    record = Record("", where, group=group)
    words: List[str] = []
    sent_starts: List[bool] = []
    entities: List[Tuple[int, int, str]] = []
    for tokens, all_tags in sentences:
        if len(tokens) != len(all_tags):
            raise BadRow(
                f"{where}: there are {len(tokens)} tokens and {len(all_tags)} tags.",
                "tokens and tags differ in number",
            )
        # Entities have no white space at their edges, so words have none either.
        stripped = [unescape(word.strip()).strip() for word in tokens]
        pairs = [(w, t) for w, t in zip(stripped, all_tags, strict=True) if w]
        if len(pairs) < len(tokens):
            record.ignored["token of white space"] += len(tokens) - len(pairs)
            # An entity that is only white space is lost with its words.
            record.lost += [
                ("only white space", f"{where}: {label} of {tokens[i:j]!r}")
                for i, j, label in decode_tags(all_tags, where)[0]
                if not "".join(stripped[i:j])
            ]
        tags = [tag for _, tag in pairs]
        found, begun_inside = decode_tags(tags, where)
        record.begun_inside += begun_inside
        record.prefixes += prefixes_of(tags)
        entities += [(len(words) + i, len(words) + j, label) for i, j, label in found]
        sent_starts += [k == 0 for k in range(len(pairs))]
        words += [word for word, _ in pairs]
    record.words = words
    record.sent_starts = sent_starts if len(sentences) > 1 else None
    set_spaces(record, [True] * len(words), entities)
    record.spaces = None
    return record


def set_spaces(
    record: Record, spaces: List[bool], entities: Sequence[Tuple[int, int, str]]
) -> None:
    """Give a record with words its text and its spans by character.

    record (Record): Changed in place.
    spaces (List[bool]): Whether a space follows each word. Nothing follows the last one.
    entities (Sequence[Tuple[int, int, str]]): First word, the one after the last, and label.
    """
    words = record.words or []
    if spaces:
        spaces[-1] = False
    record.text, starts = join_words(words, spaces)
    record.spaces = spaces
    spans: List[Span] = [
        (starts[i], starts[j - 1] + len(words[j - 1]), label) for i, j, label in entities
    ]
    record.spans = spans


def word_entities(record: Record) -> List[Tuple[int, int, str]]:
    """RETURNS (List[Tuple[int, int, str]]): Spans of a record with words, by word."""
    starts, position = {}, 0
    ends = {}
    for k, (word, space) in enumerate(
        zip(record.words or (), record.spaces or [True] * len(record.words or ()), strict=True)
    ):
        starts[position] = k
        ends[position + len(word)] = k + 1
        position += len(word) + space
    return [(starts[i], ends[j], label) for i, j, label in record.spans or ()]
