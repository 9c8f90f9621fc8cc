"""What a report is made of, before it is HTML or Markdown."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple, Union

from markupsafe import Markup


@dataclass
class Text:
    """A paragraph.

    text (str): Plain text.
    """

    text: str
    kind: str = "text"


@dataclass
class Missing:
    """Something that is not there.

    what (str): What, and where it would be: "The freezing curve (metrics/sweep.json)".
    how (str): The command that makes it, or nothing.
    """

    what: str
    how: str = ""
    kind: str = "missing"


@dataclass
class Table:
    """A table; its first column is names, the others are numbers.

    header (Sequence[str]): Column titles.
    rows (Sequence[Sequence[str]]): The cells.
    title (str): Over it.
    best (Dict[int, int]): Rows to mark, by their column.
    words (Sequence[int]): Columns that are text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    best: Dict[int, int] = field(default_factory=dict)
    words: Sequence[int] = (0,)
    kind: str = "table"


@dataclass
class Plot:
    """A picture.

    svg (Markup): The SVG element.
    caption (str): Under it: what is to be seen.
    title (str): Over it, and for those who can't see it.
    """

    svg: Markup
    title: str
    caption: str = ""
    kind: str = "plot"


@dataclass
class Matrix:
    """A confusion matrix.

    title (str): Over it.
    rows, columns (Sequence[str]): Right and predicted labels.
    cells (Sequence[Sequence[int]]): The counts.
    shares (Sequence[Sequence[float]]): Of the row, for the colour.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[int]]
    shares: Sequence[Sequence[float]]
    note: str = ""
    kind: str = "matrix"


@dataclass
class Mistake:
    """A wrong prediction.

    head (str): What was predicted, and how surely.
    lines (List[Tuple[str, Markup]]): "right" and "predicted", each with its text as HTML.
    """

    head: str
    lines: List[Tuple[str, Markup]]


@dataclass
class Mistakes:
    """Wrong predictions of a recipe.

    title (str): Over them.
    mistakes (List[Mistake]): The surest first.
    """

    title: str
    mistakes: List[Mistake]
    kind: str = "mistakes"


@dataclass
class Fold:
    """Blocks that one has to open.

    title (str): What to click on.
    blocks (List[Block]): What is in it.
    is_open (bool): Whether it is open from the start.
    """

    title: str
    blocks: "List[Block]"
    is_open: bool = False
    kind: str = "fold"


@dataclass
class Grid:
    """Pictures beside each other where there is room.

    blocks (List[Plot]): The pictures.
    """

    blocks: List[Plot]
    kind: str = "grid"


Block = Union[Text, Missing, Table, Plot, Matrix, Mistakes, Fold, Grid]


@dataclass
class Section:
    """A part of the report.

    id (str): For links.
    title (str): Its heading.
    blocks (List[Block]): What is in it.
    """

    id: str
    title: str
    blocks: List[Block]


def score_text(value: Optional[float]) -> str:
    """RETURNS (str): A score with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def interval_text(low: float, high: float) -> str:
    """RETURNS (str): An interval of scores."""
    return f"{low:.3f}–{high:.3f}"


def number_text(value: Optional[float]) -> str:
    """RETURNS (str): A number with as many digits as are of use, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def seconds_text(value: Optional[float]) -> str:
    """RETURNS (str): A time: "48 s", "12 min", "1 h 05 min"."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
