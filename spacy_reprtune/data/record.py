"""One annotated text on its way from a user's file to a `Doc`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, TypeVar

from ..files import is_utf8

# First character, the one after the last, and label.
Span = Tuple[int, int, str]
Row = TypeVar("Row")


class BadRow(ValueError):
    """A row that can't be read. It is left out and counted; the rest of its file is read."""

    def __init__(self, message: str, reason: str) -> None:
        """message (str): Where it is, what is wrong, and what was expected.
        reason (str): A few words to count it under.
        """
        super().__init__(message)
        self.reason = reason


@dataclass
class Record:
    """A text with its annotation in a file. Fields that are None were not annotated.

    text (str): Text. If there are words but no spaces, the words joined by single spaces.
    where (str): Place in the file, for messages: "notes.csv, line 12".
    cats (Optional[Dict[str, float]]): Label to score.
    complete (bool): Whether a label that `cats` does not mention is 0. Otherwise it is unknown.
    spans (Optional[List[Span]]): Entities, by character.
    spans_complete (bool): Whether the rest of the text has no entity. Otherwise it is unknown.
    lost (List[Tuple[str, str]]): Spans that can't be read: the reason, and the case to show.
    ignored (Counter[str]): Annotations of kinds that are not read, such as relations.
    words (Optional[List[str]]): Tokens, if the file has its own.
    spaces (Optional[List[bool]]): Whether a space follows each word; None to restore them.
    sent_starts (Optional[List[bool]]): Whether each word begins a sentence.
    prefixes (str): Prefix of each word's tag, such as "OBIO", to name the file's tagging scheme.
    begun_inside (int): Number of entities that begin with an I, E or L tag.
    group (Optional[str]): Texts of one group stay in one split.
    split (Optional[str]): Split of the text in the file.
    drop (Optional[str]): Why it is left out, in a few words to count it under.
    case (str): Description of a dropped text; its place if empty.
    note (str): Warning about the whole file.
    """

    text: str
    where: str
    cats: Optional[Dict[str, float]] = None
    complete: bool = True
    spans: Optional[List[Span]] = None
    spans_complete: bool = True
    lost: List[Tuple[str, str]] = field(default_factory=list)
    ignored: "Counter[str]" = field(default_factory=Counter)
    words: Optional[List[str]] = None
    spaces: Optional[List[bool]] = None
    sent_starts: Optional[List[bool]] = None
    prefixes: str = ""
    begun_inside: int = 0
    group: Optional[str] = None
    split: Optional[str] = None
    drop: Optional[str] = None
    case: str = ""
    note: str = ""

    @property
    def n_spans(self) -> int:
        """RETURNS (int): Number of spans in the file, including those that could not be read."""
        return len(self.spans or ()) + len(self.lost)

    @property
    def labels(self) -> List[str]:
        """RETURNS (List[str]): Labels of the text and of its entities, sorted, each once."""
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
        names = [*(self.cats or ()), *(label for _, _, label in self.spans or ())]
        if not all(map(is_utf8, [self.text, self.group or "", *names])):
            return "half of a surrogate pair, which no encoding can write"
        return None


def printable(text: str) -> str:
    """RETURNS (str): A text that can be written anywhere: half a surrogate pair is escaped."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def read_each(
    rows: Iterable[Tuple[str, Row]], read: Callable[[Row, str], Record]
) -> Iterator[Record]:
    """Read rows one by one, so that a bad row affects only itself.

    rows (Iterable[Tuple[str, Row]]): Places and rows. A row may already be a `BadRow`.
    read (Callable[[Row, str], Record]): Reads a row at a place, and may raise `BadRow`.
    YIELDS (Record): One per row. If a row can't be read, its record says why it is dropped.
    """
    for where, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            record = read(row, where)
        except BadRow as error:
            record = Record("", where, drop=error.reason, case=str(error))
        yield record


@dataclass(frozen=True)
class Columns:
    """Which columns or keys of a file to read, and how.

    texts (Tuple[str, ...]): Columns of the text, ("text",) if empty. Several are joined by a line
        end.
    labels (Tuple[str, ...]): Columns of the annotation. If there are several, each is a label, and
        its cells are 0 or 1.
    group (Optional[str]): Column of the group of a text. A group stays in one split.
    separator (Optional[str]): Separator of the cells of a line, for CSV.
    label_separator (Optional[str]): Separator of several labels in one cell.
    header (bool): Whether the first row of a table names the columns. Otherwise they are called
        "1", "2" and so on.
    names (Optional[Mapping[str, str]]): Id of a label or tag to its name.
    offsets (str): "characters" or "utf-16", the unit of the offsets of spans.
    encodings (Tuple[str, ...]): Encoding of the file. Bytes that do not fit the first are read in
        the second.
    sentences (Optional[int]): Sentences per text, for files of one token per line. None for whole
        documents if the file marks them, and else one sentence.
    spans_key (Optional[str]): Group of `doc.spans` to read where a file has groups.
    """

    texts: Tuple[str, ...] = ()
    labels: Tuple[str, ...] = ()
    group: Optional[str] = None
    separator: Optional[str] = None
    label_separator: Optional[str] = None
    header: bool = True
    names: Optional[Mapping[str, str]] = None
    offsets: str = "characters"
    encodings: Tuple[str, ...] = ("utf-8",)
    sentences: Optional[int] = None
    spans_key: Optional[str] = None
