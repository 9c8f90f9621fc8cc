"""From docstrings to the clean, distinct paragraphs that every set is drawn from."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from .docstrings import Docstring
from .markup import FATAL_ISSUES, strip_markup
from .modules import drop_near_duplicates, split_modules
from .prose import why_not_prose
from .rst import read_paragraphs


@dataclass
class Paragraph:
    """One clean paragraph.

    module (str): The module that it stands in.
    line (int): The line of the definition whose docstring it stands in.
    kind (str): "prose", or "field" for the description of a parameter or returned value.
    text (str): What a reader sees.
    spans (Tuple[Tuple[int, int, str], ...]): Start, end and label of roles and literals.
    issue (Optional[str]): Why the spans are not complete gold; None if they are.
    topic (Optional[str]): The topic of the module.
    split (str): The split of the module.
    """

    module: str
    line: int
    kind: str
    text: str
    spans: Tuple[Tuple[int, int, str], ...]
    issue: Optional[str] = None
    topic: Optional[str] = None
    split: str = "train"


def collect_paragraphs(
    docstrings: Iterable[Docstring], *, topic_of: Callable[[str], Optional[str]], seed: int
) -> Tuple[List[Paragraph], Dict[str, int]]:
    """Keep the readable paragraphs, one of each, and give every module a split.

    docstrings (Iterable[Docstring]): Docstrings in a fixed order.
    topic_of (Callable[[str], Optional[str]]): Module to topic.
    seed (int): Seed of the split.
    RETURNS (Tuple[List[Paragraph], Dict[str, int]]): The paragraphs in the order of the docstrings,
        and how many were dropped for which reason.
    """
    clean: List[Paragraph] = []
    dropped: Counter = Counter()
    seen = set()
    for docstring in docstrings:
        for kind, marked in read_paragraphs(docstring.text):
            # Half of all paragraphs are plain copies: it pays to find these first.
            if marked in seen:
                dropped["duplicate"] += 1
                continue
            seen.add(marked)
            text, spans, issue = strip_markup(marked)
            reason = (
                issue
                if issue in FATAL_ISSUES
                else why_not_prose(text, spans, is_field=kind == "field")
            )
            if reason:
                dropped[reason] += 1
            else:
                clean.append(Paragraph(docstring.module, docstring.line, kind, text, spans, issue))
    kept = [clean[i] for i in drop_near_duplicates([paragraph.text for paragraph in clean])]
    dropped["near duplicate"] += len(clean) - len(kept)
    _assign(kept, topic_of, seed)
    return kept, dict(sorted(dropped.items()))


def _assign(
    paragraphs: List[Paragraph], topic_of: Callable[[str], Optional[str]], seed: int
) -> None:
    """Set topic and split, with the topics as strata, and the packages for what has no topic."""
    sizes: Dict[str, Counter] = defaultdict(Counter)
    for paragraph in paragraphs:
        paragraph.topic = topic_of(paragraph.module)
        package = paragraph.module.partition(".")[0]
        sizes[f"topic {paragraph.topic}" if paragraph.topic else package][paragraph.module] += 1
    split_of = split_modules(sizes, seed=seed)
    for paragraph in paragraphs:
        paragraph.split = split_of[paragraph.module]
