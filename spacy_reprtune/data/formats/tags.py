"""Tags to entities, whatever the scheme: IOB1, IOB2 (BIO), BIOES, BILUO."""

import re
from collections import Counter
from typing import Counter as CounterType
from typing import List, Sequence, Tuple

# First word, the one after the last, and label.
Entity = Tuple[int, int, str]

_TAG = re.compile(r"([BILUOES])-(.+)", re.DOTALL)


def decode_tags(tags: Sequence[str], where: str = "") -> Tuple[List[Entity], int]:
    """Read the entities of one sentence.

    One rule covers all schemes, because they differ only in what they leave out: B, S and U begin
    an entity, and so does anything that does not go on with the label before; E, L, S, U end one.

    tags (Sequence[str]): A tag a word: `O`, or a prefix, a hyphen and a label.
    where (str): Where they stand, for the message.
    RETURNS (Tuple[List[Entity], int]): Entities in order, and how many begin with an I, E or L. In
        IOB1 most do; elsewhere that is a mistake which this repairs.
    RAISES (ValueError): A tag is none of these.
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
    """Take a tag apart.

    tag (str): As `O` or `B-PERSON`. The label may have hyphens.
    where (str): For the message.
    RETURNS (Tuple[str, str]): Prefix and label, no label for `O`.
    RAISES (ValueError): It is none.
    """
    if tag == "O":
        return "O", ""
    match = _TAG.fullmatch(tag)
    if match is None or match[1] == "O":
        place = f"{where}: " if where else ""
        raise ValueError(
            f"{place}{tag!r} is no tag. Allowed are O, and B-, I-, E-, S- (IOB, BIOES) or B-, I-, "
            "L-, U- (BILUO) in front of a label: B-PERSON."
        )
    return match[1], match[2]


def name_scheme(prefixes: CounterType[str], begun_inside: int) -> str:
    """Say which scheme a file has.

    prefixes (Counter[str]): How often each prefix occurs.
    begun_inside (int): How many entities begin with an I, E or L.
    RETURNS (str): "IOB1", "IOB2", "BIOES" or "BILUO".
    """
    if prefixes["U"] or prefixes["L"]:
        return "BILUO"
    if prefixes["S"] or prefixes["E"]:
        return "BIOES"
    # In IOB1, a B only separates neighbours of the same label.
    return "IOB1" if begun_inside > prefixes["B"] else "IOB2"


def count_prefixes(tags: Sequence[str]) -> CounterType[str]:
    """RETURNS (Counter[str]): How often each prefix occurs."""
    return Counter(split_tag(tag)[0] for tag in tags)
