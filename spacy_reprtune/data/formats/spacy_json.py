"""Read spaCy's own JSON: objects of `Doc.to_json`, and the training tuples of spaCy 2."""

from typing import Any, List, Mapping, Tuple

from ..record import BadRow, Columns, Record
from ..spans import is_offset
from .rows import read_row


def as_row(value: Any) -> Any:
    """RETURNS (Any): `("text", {"entities": …, "cats": …})` as one object; others as they are."""
    is_tuple = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    if not is_tuple:
        return value
    annotation = value[1]
    if isinstance(annotation, Mapping):
        known = {key: x for key, x in annotation.items() if key in ("entities", "cats", "spans")}
        return {"text": value[0], **known}
    if isinstance(annotation, str):
        # A pair of a textcat example: ["text", "LABEL"].
        return {"text": value[0], "label": annotation}
    return value


def is_document(row: Any) -> bool:
    """RETURNS (bool): Whether a value is an object of `Doc.to_json`."""
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("text"), str)
        and isinstance(row.get("tokens"), list)
        and all(isinstance(t, Mapping) and "start" in t and "end" in t for t in row["tokens"])
        and "answer" not in row
    )


def read_document(row: Mapping[str, Any], where: str, columns: Columns) -> Record:
    """Read an object of `Doc.to_json`.

    row (Mapping[str, Any]): The object.
    where (str): Place of the object.
    columns (Columns): Names of the keys.
    RETURNS (Record): The text with its tokens, entities, categories and sentences.
    RAISES (BadRow): Tokens or annotations are not what spaCy writes.
    """
    record = read_row(row, where, columns)
    if record.drop:
        return record
    borders = [(token["start"], token["end"]) for token in row["tokens"]]
    if not columns.texts and borders:
        _set_words(record, borders, row.get("sents"))
    return record


def _set_words(record: Record, borders: List[Tuple[Any, Any]], sents: Any) -> None:
    words: List[str] = []
    spaces: List[bool] = []
    position = 0
    for start, end in borders:
        if not (
            is_offset(start) and is_offset(end) and position <= start < end <= len(record.text)
        ):
            break
        if words:
            spaces.append(start > position)
        elif start > 0:
            # spaCy has a token for white space in front of a text.
            break
        if start - position > 1 or (start > position and record.text[position] != " "):
            break
        words.append(record.text[start:end])
        position = end
    rest = record.text[position:]
    if len(words) != len(borders) or rest not in ("", " "):
        raise BadRow(
            f"{record.where}: the offsets of the tokens do not cut the text into words. "
            "`Doc.to_json` writes all tokens in order, with a space between them or none.",
            "tokens and text differ",
        )
    record.words, record.spaces = words, [*spaces, rest == " "]
    if isinstance(sents, list) and all(isinstance(sent, Mapping) for sent in sents):
        begins = {sent.get("start") for sent in sents if is_offset(sent.get("start"))}
        record.sent_starts = [start in begins for start, _ in borders]
