"""Read Prodigy's answers: `accept`, `reject` or `ignore`, and what each says about a text."""

from dataclasses import replace
from typing import Any, Dict, Mapping

from ..record import BadRow, Columns, Record
from ..spans import as_offset
from .rows import as_label, read_row

_ANSWERS = ("accept", "reject", "ignore")
# Keys that mean in Prodigy what they mean in no other format.
_OWN_KEYS = {"label", "accept", "options"}


def read_answer(row: Mapping[str, Any], where: str, columns: Columns) -> Record:
    """Read one line of `prodigy db-out`.

    row (Mapping[str, Any]): An example with its answer.
    where (str): Place of the example.
    columns (Columns): Names of the keys.
    RETURNS (Record): The text and its annotation.
    RAISES (BadRow): A value is not what Prodigy writes.
    """
    answer = row["answer"]
    if answer not in _ANSWERS:
        raise BadRow(
            f"{where}: 'answer' is {answer!r}; Prodigy writes accept, reject or ignore.",
            "answer not understood",
        )
    bare = {key: value for key, value in row.items() if key not in _OWN_KEYS}
    if len(columns.labels) == 1 and columns.labels[0] in _OWN_KEYS & row.keys():
        # --label names what is read anyway.
        columns = replace(columns, labels=())
    tokens = _tokens_by_id(row)
    if isinstance(row.get("spans"), list):
        bare["spans"] = [_with_text(span, tokens) for span in row["spans"]]
    record = read_row(bare, where, columns)
    if record.drop:
        return record
    _check_tokens(row, tokens, where)
    label = row.get("label")
    label = as_label(label) if isinstance(label, int | float) else label
    if "options" in row:
        _read_choice(row, record)
    elif isinstance(label, str) and not row.get("spans"):
        # A question about one label, so a rejection is an annotation as well.
        record.cats, record.complete = {label: float(answer == "accept")}, False
    elif record.spans is None and row.get("_view_id") in ("ner_manual", "spans_manual"):
        record.spans = []
    elif row.get("_view_id") == "ner":
        # A question about one entity, so nothing is known about the rest of the text.
        record.spans_complete = False
    is_question = record.cats is not None and "options" not in row
    if answer == "ignore" or (answer == "reject" and not is_question):
        record.drop = f"answer is {answer}"
    return record


def _read_choice(row: Mapping[str, Any], record: Record) -> None:
    options, accepted = row["options"], row.get("accept")
    accepted = [] if accepted is None else accepted
    if not isinstance(accepted, list):
        accepted = [accepted]
    ids = [o.get("id") if isinstance(o, Mapping) else None for o in _as_list(options)]
    if not ids or None in ids or any(isinstance(x, list | Mapping) for x in (*ids, *accepted)):
        raise BadRow(
            f"{record.where}: 'options' is {options!r} and 'accept' {accepted!r}. Prodigy writes a "
            "list of objects with an 'id', and a list of ids.",
            "options not understood",
        )
    # 1 and "1" are the same option.
    names = [as_label(option) for option in ids]
    if len(set(names)) < len(names):
        raise BadRow(
            f"{record.where}: 'options' has the same id for several options: {', '.join(names)}.",
            "an option's id twice",
        )
    chosen = {as_label(option) for option in accepted}
    if chosen - set(names):
        raise BadRow(
            f"{record.where}: 'accept' has {', '.join(sorted(chosen - set(names)))}, but the "
            f"options are {', '.join(names)}.",
            "accepts an option that it does not have",
        )
    record.cats = {name: float(name in chosen) for name in names}


def _tokens_by_id(row: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    tokens = [token for token in _as_list(row.get("tokens")) if isinstance(token, Mapping)]
    by_id = {_id(token, "id"): token for token in tokens}
    by_id.pop("", None)
    return by_id


def _with_text(span: Any, tokens: Mapping[str, Mapping[str, Any]]) -> Any:
    """Add to a span the text of its tokens, up to white space."""
    if not isinstance(span, Mapping) or span.get("text"):
        return span
    ids = list(tokens)
    first, last = _id(span, "token_start"), _id(span, "token_end")
    if first not in tokens or last not in tokens:
        return span
    words = [tokens[k].get("text") for k in ids[ids.index(first) : ids.index(last) + 1]]
    if not words or not all(isinstance(word, str) for word in words):
        return span
    return {**span, "text": " ".join(words)}


def _check_tokens(
    row: Mapping[str, Any], tokens: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Check that the offsets of spans and of their tokens agree."""
    for span in _as_list(row.get("spans")):
        first = tokens.get(_id(span, "token_start"))
        last = tokens.get(_id(span, "token_end"))
        if first and last:
            stated = as_offset(span.get("start")), as_offset(span.get("end"))
            found = as_offset(first.get("start")), as_offset(last.get("end"))
            if stated != found:
                raise BadRow(
                    f"{where}: a span has the offsets {stated}, but its tokens have {found}.",
                    "offsets of a span and of its tokens differ",
                )


def _id(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return as_label(found) if isinstance(found, int | float | str) else ""


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else []
