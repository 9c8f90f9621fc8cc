"""The building blocks of a report, before they become HTML or Markdown."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple, Union

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Text:
    """A paragraph.

    text (str): Plain text.
    """

    text: str
    kind: str = "text"


@dataclass
class Table:
    """A table whose first column holds names and whose other columns hold numbers.

    header (Sequence[str]): Column titles.
    rows (Sequence[Sequence[str]]): The cells.
    title (str): Title above the table.
    best (Dict[int, int]): Cells to mark: column to row.
    words (Sequence[int]): Columns that hold text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    best: Dict[int, int] = field(default_factory=dict)
    words: Sequence[int] = (0,)
    kind: str = "table"


@dataclass
class Plot:
    """A figure, drawn only when a page needs it: Markdown has no figures.

    name (str): Prefix of the ids in the SVG, unique within the page.
    title (str): Title above the figure, also read to people who can't see it.
    draw (Callable[[], Figure]): Draws the figure.
    caption (str): What the figure shows, below it.
    """

    name: str
    title: str
    draw: "Callable[[], Figure]"
    caption: str = ""
    kind: str = "plot"


@dataclass
class Matrix:
    """A confusion matrix.

    title (str): Title above the matrix.
    rows (Sequence[str]): Gold labels.
    columns (Sequence[str]): Predicted labels.
    cells (Sequence[Sequence[int]]): Counts.
    note (str): How to read the matrix, below it.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[int]]
    note: str = ""
    kind: str = "matrix"


@dataclass
class Mistake:
    """A wrong prediction.

    head (str): The prediction and its probability.
    lines (List[Tuple[str, Markup]]): Text as HTML, each with a name such as "gold", or "".
    """

    head: str
    lines: List[Tuple[str, Markup]]


@dataclass
class Mistakes:
    """Wrong predictions of a recipe.

    title (str): Title above the list.
    mistakes (List[Mistake]): The mistakes, most confident first.
    """

    title: str
    mistakes: List[Mistake]
    kind: str = "mistakes"


@dataclass
class Fold:
    """Blocks that are hidden until the reader opens them.

    title (str): The line to click on.
    blocks (List[Block]): The hidden blocks.
    """

    title: str
    blocks: "List[Block]"
    kind: str = "fold"


@dataclass
class Grid:
    """Figures side by side where the page is wide enough.

    blocks (List[Plot]): The figures.
    """

    blocks: List[Plot]
    kind: str = "grid"


Block = Union[Text, Table, Plot, Matrix, Mistakes, Fold, Grid]


@dataclass
class Missing:
    """Something that a report could show but no file holds.

    what (str): What is missing and where it would be: "the freezing curve (metrics/sweep.json)".
    command (str): What creates it.
    """

    what: str
    command: str


@dataclass
class Section:
    """A section of the report, left out while it has no blocks.

    id (str): Target of links to it.
    title (str): Heading.
    blocks (List[Block]): Content.
    missing (List[Missing]): What the section lacks, for the last line of the report.
    """

    id: str
    title: str
    blocks: List[Block] = field(default_factory=list)
    missing: List[Missing] = field(default_factory=list)


def score_text(value: Optional[float]) -> str:
    """RETURNS (str): A score with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def interval_text(interval: Optional[Tuple[float, float]]) -> str:
    """RETURNS (str): An interval of scores, or a dash."""
    return "–" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def number_text(value: Optional[float]) -> str:
    """RETURNS (str): A number with as many digits as are useful, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def seconds_text(value: Optional[float]) -> str:
    """RETURNS (str): A duration: "48 s", "12 min", "1 h 05 min"; a dash for None."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def join_words(words: Sequence[str]) -> str:
    """RETURNS (str): Words in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
