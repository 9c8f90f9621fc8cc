"""The label names of a Hugging Face token classifier, as tags of a recognizer."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence

# A position of each scheme in use, and the same position in BILOU (IOBES has S and E, BMES has M).
_POSITIONS = {"B": "B", "I": "I", "M": "I", "L": "L", "E": "L", "U": "U", "S": "U"}
_TAG = re.compile(r"([A-Za-z])[-_](.+)")
_SCHEMES = {frozenset("BI"): "bio", frozenset("BILU"): "bilou", frozenset("I"): "io"}


@dataclass(frozen=True)
class TagRows:
    """Where each tag's logit is.

    labels (List[str]): Labels of entities, in the order of their first row.
    scheme (str): "bio", "bilou", or "io", where a label has a single tag.
    rows (Dict[str, int]): Row of each tag, named "O", "B-LABEL" and so on. With "io" the tags
        B and I of a label share a row.
    """

    labels: List[str]
    scheme: str
    rows: Dict[str, int]


def read_tags(names: Sequence[str], source: Path) -> TagRows:
    """Understand the label names of a token classifier.

    names (Sequence[str]): The names in the order of the logits: BIO, IO, BILOU, IOBES or BMES tags.
    source (Path): The file that they are from, for errors.
    RETURNS (TagRows): The tags.
    RAISES (ValueError): The names are not tags of entities, or a label lacks tags.
    """
    remedy = f"Rename the labels under id2label (and label2id) in {source}."
    outside = [i for i, name in enumerate(names) if name.upper() == "O"]
    if len(outside) != 1:
        raise ValueError(
            f"The labels in {source} are not tags of entities: {_listed(names)}. One of them has "
            f"to be O, for tokens outside of entities. {remedy} Labels for every token, such as "
            "parts of speech, can't be imported."
        )
    inside = {i: name for i, name in enumerate(names) if i != outside[0]}
    tags = {i: _TAG.fullmatch(name) for i, name in inside.items()}
    found: Dict[str, Dict[str, int]] = defaultdict(dict)
    if not any(tags.values()):
        for i, name in inside.items():
            found[name]["I"] = i
    for i, tag in tags.items():
        position = _POSITIONS.get(tag[1].upper()) if tag else None
        if position is None and any(tags.values()):
            raise ValueError(
                f"The label {names[i]!r} in {source} is not a tag, but others are: "
                f"{_listed(names)}. A tag is a position (B, I, L or E, U or S), a hyphen and a "
                f"label, as in B-PERSON. {remedy}"
            )
        if tag and position in found[tag[2]]:
            raise ValueError(
                f"Two labels in {source} are the tag {position}-{tag[2]}: {_listed(names)}. "
                f"{remedy}"
            )
        if tag:
            found[tag[2]][position] = i
    used = frozenset(position for rows in found.values() for position in rows)
    # A label whose entities had one token each in training may lack I, but a sequence needs it.
    wanted = used if used in _SCHEMES else frozenset("BILU" if used & set("LU") else "BI")
    for label, rows in found.items():
        lacking = [f"{position}-{label}" for position in sorted(wanted - rows.keys())]
        if lacking:
            raise ValueError(
                f"The labels in {source} have tags of {label!r} but not {', '.join(lacking)}: "
                f"{_listed(names)}. Entities can't be told apart without them. {remedy}"
            )
    if not found:
        raise ValueError(f"The labels in {source} have no tag besides O. {remedy}")
    scheme = _SCHEMES[wanted]
    rows = {"O": outside[0]}
    for label, own in found.items():
        if scheme == "io":
            own = {"B": own["I"], "I": own["I"]}
        rows.update((f"{position}-{label}", row) for position, row in own.items())
    return TagRows(list(found), scheme, rows)


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
