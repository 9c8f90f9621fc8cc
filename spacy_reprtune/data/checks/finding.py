"""One thing that is wrong, or worth knowing, about a corpus."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List

# From the worst to what is only worth knowing. Errors make training fail or its scores meaningless.
LEVELS = ("error", "warning", "note")
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """A finding.

    level (str): "error", "warning" or "note".
    code (str): A name for it, for tools and tests.
    message (str): What it is, with numbers.
    advice (str): What to do.
    count (int): How often it occurs.
    cases (List[str]): Some of them.
    """

    level: str
    code: str
    message: str
    advice: str = ""
    count: int = 1
    cases: List[str] = field(default_factory=list)

    def to_dict(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): For JSON."""
        return asdict(self)


@dataclass
class Cases:
    """A count of something, and some cases of it.

    count (int): How often.
    shown (List[str]): The first few.
    """

    count: int = 0
    shown: List[str] = field(default_factory=list)

    def add(self, case: str) -> None:
        """case (str): The next one."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(case)


def join_cases(cases: "List[Cases]") -> Cases:
    """RETURNS (Cases): Those of several splits together."""
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
