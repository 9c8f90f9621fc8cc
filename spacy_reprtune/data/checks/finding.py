"""Findings: faults of a corpus, and facts worth knowing about it."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterable, Iterator, List

# The worst level comes first. Errors make training fail or its scores meaningless.
LEVELS = ("error", "warning", "note")
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """A kind of fault in a corpus.

    level (str): "error", "warning" or "note".
    code (str): Name of the kind, for tools and tests.
    message (str): Description, with numbers.
    advice (str): What to do about it.
    count (int): Number of cases.
    cases (List[str]): Some of the cases.
    """

    level: str
    code: str
    message: str
    advice: str = ""
    count: int = 1
    cases: List[str] = field(default_factory=list)

    def to_dict(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The finding for a JSON file."""
        return asdict(self)


@dataclass
class Cases:
    """A number of cases, and some of them to show.

    count (int): Number of cases.
    shown (List[str]): First few cases.
    """

    count: int = 0
    shown: List[str] = field(default_factory=list)

    def add(self, case: str) -> None:
        """case (str): Next case."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(case)

    def finding(
        self, level: str, code: str, noun: str, what: str, advice: str = ""
    ) -> Iterator[Finding]:
        """Report the cases, if there are any.

        level, code, advice (str): See `Finding`.
        noun (str): Noun for a case, in the singular: "text".
        what (str): The fault, to follow the noun: "without a word".
        YIELDS (Finding): At most one finding.
        """
        if self.count:
            message = f"{plural(self.count, noun)} {what}."
            yield Finding(level, code, message, advice, self.count, self.shown)


def join_cases(cases: Iterable[Cases]) -> Cases:
    """RETURNS (Cases): Cases of several splits together."""
    joined = Cases()
    for part in cases:
        joined.count += part.count
        joined.shown = (joined.shown + part.shown)[:SHOWN]
    return joined


def show_counts(counts: "Counter[str]", limit: int = 6) -> str:
    """RETURNS (str): Names and numbers, the most frequent first: "GOOD 12, BAD 3"."""
    parts = [f"{name} {count:,}" for name, count in counts.most_common(limit)]
    return ", ".join(parts) + (", …" if len(counts) > limit else "")


def plural(count: int, noun: str) -> str:
    """RETURNS (str): "1 text", "2 texts"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("ty") else f"{count:,} {noun}s"
