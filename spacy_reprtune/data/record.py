"""One annotated text on its way from a user's file to a `Doc`."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

# First character, the one after the last, and label.
Span = Tuple[int, int, str]


@dataclass
class Record:
    """A text with what its file says about it. What is None was not annotated.

    text (str): The text.
    where (str): Where it stands, for messages: "line 12".
    cats (Optional[Dict[str, float]]): Label to score.
    complete (bool): Whether a label that `cats` does not mention does not hold. Otherwise it is
        unknown.
    spans (Optional[List[Span]]): Entities, by character.
    spans_complete (bool): Whether the rest of the text has no entity. Otherwise it is unknown.
    lost (List[Tuple[str, str]]): Spans that can't be read: the reason, and what to show.
    words (Optional[List[str]]): Tokens, where the file has its own.
    spaces (Optional[List[bool]]): Whether white space follows each word.
    sent_starts (Optional[List[bool]]): Whether each word begins a sentence.
    group (Optional[str]): Texts of one group stay in one split.
    split (Optional[str]): The split that the file gives it.
    drop (Optional[str]): Why it is left out, a few words to count it under.
    """

    text: str
    where: str
    cats: Optional[Dict[str, float]] = None
    complete: bool = True
    spans: Optional[List[Span]] = None
    spans_complete: bool = True
    lost: List[Tuple[str, str]] = field(default_factory=list)
    words: Optional[List[str]] = None
    spaces: Optional[List[bool]] = None
    sent_starts: Optional[List[bool]] = None
    group: Optional[str] = None
    split: Optional[str] = None
    drop: Optional[str] = None

    @property
    def n_spans(self) -> int:
        """RETURNS (int): Spans in the file, with those that could not be read."""
        return len(self.spans or ()) + len(self.lost)

    @property
    def labels(self) -> List[str]:
        """RETURNS (List[str]): The labels that hold, and the entity types, sorted, once each."""
        held = {label for label, score in (self.cats or {}).items() if score >= 0.5}
        return sorted(held | {label for _, _, label in self.spans or ()})

    def why_not(self) -> Optional[str]:
        """RETURNS (Optional[str]): Why it can't be in a corpus, or None if it can."""
        if self.drop:
            return self.drop
        if not self.text.strip():
            return "empty text"
        if self.cats is None and self.spans is None:
            return "not annotated"
        return None


@dataclass(frozen=True)
class Columns:
    """Which columns or keys of a file to read.

    text (Optional[str]): The text, "text" if None.
    labels (Tuple[str, ...]): The annotation. Several are columns of 0 and 1, a label each.
    group (Optional[str]): What has to stay in one split.
    separator (Optional[str]): Between the cells of a line, for CSV.
    label_separator (Optional[str]): Between several labels in one cell.
    encodings (Tuple[str, ...]): How the file is encoded. What does not fit the first is read in
        the second.
    sentences (Optional[int]): Sentences a document, for files of one token a line. None for whole
        documents where the file marks them, else one sentence.
    """

    text: Optional[str] = None
    labels: Tuple[str, ...] = ()
    group: Optional[str] = None
    separator: Optional[str] = None
    label_separator: Optional[str] = None
    encodings: Tuple[str, ...] = ("utf-8",)
    sentences: Optional[int] = None
