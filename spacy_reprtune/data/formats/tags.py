"""Turn tags into entities, whatever the scheme: IOB1, IOB2 (BIO), BIOES, BMES, BILUO."""

import re
from collections import Counter
from typing import Counter as CounterType
from typing import List, Sequence, Tuple

from ..record import BadRow

# First word, the one after the last, and label.
Entity = Tuple[int, int, str]
# Label of tags without one, as in files that mark only one kind of entity.
UNNAMED = "ENTITY"

_TAG = re.compile(r"([BILUESMW])(?:[-_](.+))?", re.DOTALL | re.IGNORECASE)
# BMES says M for "inside" and, sometimes, W for a whole word.
_SYNONYMS = {"M": "I", "W": "S"}


def decode_tags(tags: Sequence[str], where: str = "") -> Tuple[List[Entity], int]:
    """Read the entities of one sentence.

    One rule covers all schemes, because they differ only in what they leave out: B, S and U begin
    an entity, and so does any tag that does not continue the label before it; E, L, S and U end
    one.

    tags (Sequence[str]): One tag per word: `O`, or a prefix, a hyphen and a label.
    where (str): Place of the sentence, for the message.
    RETURNS (Tuple[List[Entity], int]): Entities in order, and how many of them begin with an I, E
        or L. In IOB1 most do; in other schemes that is a mistake, which this repairs.
    RAISES (BadRow): A value is not a tag.
    """
    entities: List[Entity] = []
    begun_inside = 0
    start, label = None, ""
    for i, tag in enumerate(tags):
        prefix, name = split_tag(tag, where)
        if start is not None and (prefix in "OBSU" or name != label):
            entities.append((start, i, label))
            start = None
        if prefix != "O" and start is None:
            begun_inside += prefix in "IEL"
            start, label = i, name
        if start is not None and prefix in "ELSU":
            entities.append((start, i + 1, label))
            start = None
    if start is not None:
        entities.append((start, len(tags), label))
    return entities, begun_inside


def split_tag(tag: str, where: str = "") -> Tuple[str, str]:
    """Split a tag into its prefix and its label.

    tag (str): Tag such as `O`, `B-PERSON`, `B_PERSON` or a bare `B`. The label may have hyphens.
    where (str): Place of the tag, for the message.
    RETURNS (Tuple[str, str]): Prefix (one of B, I, L, U, E, S, O) and label; no label for `O`.
    RAISES (BadRow): It is not a tag.
    """
    if tag in ("O", "o"):
        return "O", ""
    match = _TAG.fullmatch(tag)
    if match is None:
        place = f"{where}: " if where else ""
        raise BadRow(
            f"{place}{tag!r} is not a tag. Allowed are O, and B-, I-, E-, S- (IOB, BIOES) or B-, "
            "I-, L-, U- (BILUO) in front of a label: B-PERSON.",
            "tag not understood",
        )
    prefix = match[1].upper()
    return _SYNONYMS.get(prefix, prefix), match[2] or UNNAMED


def name_scheme(prefixes: CounterType[str], begun_inside: int) -> str:
    """Name the scheme of a file.

    prefixes (Counter[str]): Number of tags by prefix.
    begun_inside (int): Number of entities that begin with an I, E or L.
    RETURNS (str): "IOB1", "IOB2", "BIOES" or "BILUO".
    """
    if prefixes["U"] or prefixes["L"]:
        return "BILUO"
    if prefixes["S"] or prefixes["E"]:
        return "BIOES"
    # In IOB1, a B only separates neighbors of the same label.
    return "IOB1" if begun_inside > prefixes["B"] else "IOB2"


def prefixes_of(tags: Sequence[str]) -> str:
    """RETURNS (str): Prefix of each tag, joined: "OBIO"."""
    return "".join(split_tag(tag)[0] for tag in tags)


def is_tag(value: str) -> bool:
    """RETURNS (bool): Whether a value is a tag of a word."""
    return value in ("O", "o") or _TAG.fullmatch(value) is not None


def looks_like_tags(tags: Sequence[str]) -> bool:
    """Tell whether values are the tags of words rather than the labels of texts.

    tags (Sequence[str]): Values of a column.
    RETURNS (bool): Whether all are tags, and not all are `O` or bare prefixes without any `O`.
    """
    found = Counter()
    for tag in tags:
        if tag in ("O", "o"):
            found["outside"] += 1
        elif match := _TAG.fullmatch(tag):
            found["named" if match[2] else "bare"] += 1
        else:
            return False
    return bool(found["named"] or (found["bare"] and found["outside"] and "B" in set(tags)))
