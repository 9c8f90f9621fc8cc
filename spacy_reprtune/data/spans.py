"""Resolve the spans of a file: compare their offsets with the text that the file gives for them."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple

from .record import Span

OFFSETS = ("characters", "utf-16")
CONTRADICTION = "the text there is not what the file says"


@dataclass(frozen=True)
class Claim:
    """A span as the file states it.

    start, end (int): Offsets, in a unit that is not known yet.
    label (str): Label of the span.
    said (Optional[str]): Text of the span, if the file states it.
    """

    start: int
    end: int
    label: str
    said: Optional[str] = None


def is_offset(value: Any) -> bool:
    """RETURNS (bool): Whether a value from a file is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_offset(value: Any) -> Any:
    """RETURNS (Any): A whole number that a file writes as `4.0` or `"4"`; any other value as is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


def resolve_claims(
    text: str, claims: Sequence[Claim], offsets: str, where: str
) -> Tuple[List[Span], List[Tuple[str, str]]]:
    """Turn the claims about one text into spans by character.

    JavaScript counts UTF-16 units, and an emoji has two of them. If a claim states the text of its
    span, the unit that leads to this text (up to white space) is right, first for the text as a
    whole and then for the single claim. If no claim states a text, `offsets` decides.

    text (str): Text that the claims are about.
    claims (Sequence[Claim]): Claims in any order.
    offsets (str): "characters" or "utf-16".
    where (str): Place of the text, for the cases.
    RETURNS (Tuple[List[Span], List[Tuple[str, str]]]): Spans, and reason and case of each claim
        that no unit makes true.
    """
    in_utf16 = _utf16_reader(text)
    readers: List[Callable[[int], Optional[int]]] = [lambda offset: offset, in_utf16]
    if offsets == "utf-16":
        readers.reverse()
    # The unit that makes more claims true comes first; if both do, the one in `offsets`.
    readers.sort(key=lambda read: -sum(_holds(text, claim, read) for claim in claims))
    spans: List[Span] = []
    lost: List[Tuple[str, str]] = []
    for claim in claims:
        read = next((r for r in readers if _holds(text, claim, r)), None)
        if read is None and claim.said is not None and claim.said.strip():
            found = text[max(0, claim.start) : max(0, claim.end)][:80]
            lost.append(
                (
                    CONTRADICTION if claim.end <= len(text) else "outside of the text",
                    f"{where}: {claim.label} '{claim.said}' at {claim.start}:{claim.end}, where "
                    f"the text has '{found}'",
                )
            )
            continue
        read = read or readers[0]
        start, end = read(claim.start), read(claim.end)
        if start is None or end is None:
            lost.append(
                (
                    "cuts a UTF-16 pair in half",
                    f"{where}: {claim.label} {claim.start}:{claim.end}",
                )
            )
        else:
            spans.append((start, end, claim.label))
    return spans, lost


def seems_utf16(text: str, claims: Sequence[Claim]) -> bool:
    """Guess whether offsets without a text count UTF-16 units.

    text (str): Text that the claims are about.
    claims (Sequence[Claim]): Claims about it.
    RETURNS (bool): Whether more of them begin and end at borders of words if they do.
    """
    in_utf16 = _utf16_reader(text)
    pairs = [(claim.start, claim.end) for claim in claims if not claim.said]
    other = [(in_utf16(start), in_utf16(end)) for start, end in pairs]
    return sum(_cuts_words(text, *p) for p in pairs) > sum(_cuts_words(text, *p) for p in other)


def _cuts_words(text: str, start: Optional[int], end: Optional[int]) -> bool:
    if start is None or end is None or not 0 <= start < end <= len(text):
        return True
    inside = text[start:end]
    begins = inside[0].isspace() or (text[max(0, start - 1) : start + 1].isalnum() and start > 0)
    return bool(
        begins or inside[-1].isspace() or (end < len(text) and text[end - 1 : end + 1].isalnum())
    )


def _holds(text: str, claim: Claim, read: Callable[[int], Optional[int]]) -> bool:
    if not claim.said or not claim.said.strip():
        return False
    start, end = read(claim.start), read(claim.end)
    if start is None or end is None or not 0 <= start < end <= len(text):
        return False
    return "".join(text[start:end].split()) == "".join(claim.said.split())


def _utf16_reader(text: str) -> Callable[[int], Optional[int]]:
    """Make a function that maps offsets in UTF-16 units to characters; None inside of a pair."""
    wide = [i for i, character in enumerate(text) if character > "\uffff"] if text else []
    # Offset of each wide character in units: each one before it adds one more.
    units = [i + k for k, i in enumerate(wide)]

    def read(offset: int) -> Optional[int]:
        before = bisect_left(units, offset)
        if before and units[before - 1] + 1 == offset:
            return None
        return offset - before

    return read
