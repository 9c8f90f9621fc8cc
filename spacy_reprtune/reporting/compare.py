"""Own figures beside published ones: a JSON file holds those, with their source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import srsly

from .table import markdown_table

MISSING = "–"


@dataclass
class Table:
    """A table with what stands above it.

    title (str): Its title.
    note (str): What to know about it, or "".
    header (List[str]): The column titles.
    rows (List[List[str]]): The cells.
    numbers (int): How many columns are numbers, the last ones.
    """

    title: str
    note: str
    header: List[str]
    rows: List[List[str]]
    numbers: int = 2

    @property
    def aligns(self) -> List[str]:
        """RETURNS (List[str]): "l" or "r" for each column."""
        n_words = len(self.header) - self.numbers
        return ["l"] * n_words + ["r"] * self.numbers


def compare(path: Path, folder: Path) -> Tuple[List[Table], List[str]]:
    """Set own figures beside published ones.

    path (Path): The published figures: `title`, `source`, and any of `figures` (each with `what`,
        `measure`, `published`, and where ours is: a `file` and the `key` in it), `curve` (scores by
        trained blocks, beside the file of a sweep) and `fill_mask` (sentences, beside the report
        of a pretraining).
    folder (Path): What the names of files start from.
    RETURNS (Tuple[List[Table], List[str]]): The tables, and the files that are not there; what
        should be in them is a dash.
    RAISES (ValueError): The file is not of this form, or none of the files is there.
    """
    try:
        published = srsly.read_json(path)
        wanted = [figure["file"] for figure in published.get("figures", [])]
        wanted += [published[key]["file"] for key in ("curve", "fill_mask") if key in published]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no file of published figures: {error!r}") from error
    files = list(dict.fromkeys(wanted))
    missing = [name for name in files if not (folder / name).is_file()]
    if len(missing) == len(files):
        raise ValueError(f"None of the files that {path} names is there: {', '.join(missing)}")
    ours = {name: srsly.read_json(folder / name) for name in files if name not in missing}
    tables = []
    if published.get("figures"):
        tables.append(_figures(published, ours))
    if "curve" in published:
        tables.append(_curve(published["curve"], ours))
    if "fill_mask" in published:
        tables.append(_fill_mask(published["fill_mask"], ours))
    return tables, missing


def as_markdown(tables: Sequence[Table], source: str) -> str:
    """RETURNS (str): The tables as a page."""
    parts = []
    for table in tables:
        note = f"{table.note}\n\n" if table.note else ""
        lines = markdown_table(table.header, table.rows, table.aligns)
        parts.append(f"## {table.title}\n\n{note}{lines}")
    return "\n".join([*parts, f"Published: {source}\n"])


def _figures(published: Dict[str, Any], ours: Dict[str, Any]) -> Table:
    rows = [
        [
            figure["what"],
            figure["measure"],
            _score(figure["published"]),
            _score(_look_up(ours.get(figure["file"]), figure["key"])),
        ]
        for figure in published["figures"]
    ]
    header = ["", "measure", "published", "ours"]
    return Table(published["title"], published.get("note", ""), header, rows)


def _curve(curve: Dict[str, Any], ours: Dict[str, Any]) -> Table:
    points = ours.get(curve["file"], {}).get("points", [])
    own = {str(point["unfreeze"]): point["mean"] for point in points}
    theirs = {str(blocks): score for blocks, score in curve["published"].items()}
    rows = [
        [blocks, _score(theirs.get(blocks)), _score(own.get(blocks))]
        for blocks in sorted({*own, *theirs}, key=_depth)
    ]
    header = ["last blocks that train", "published", "ours"]
    return Table(curve["title"], curve.get("note", ""), header, rows)


def _fill_mask(fill: Dict[str, Any], ours: Dict[str, Any]) -> Table:
    own = ours.get(fill["file"], {}).get("fill_mask", [])
    rows = [
        [row["sentence"], whose, ", ".join(row["before"]), ", ".join(row["after"])]
        for whose, group in (("published", fill["published"]), ("ours", own))
        for row in group
    ]
    return Table(fill["title"], fill.get("note", ""), ["sentence", "", "before", "after"], rows, 0)


def _depth(blocks: str) -> float:
    return float(blocks) if blocks.isdigit() else {"none": 0.0}.get(blocks, float("inf"))


def _look_up(content: Any, key: Sequence[str]) -> Optional[float]:
    for part in key:
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _score(value: Optional[float]) -> str:
    return MISSING if value is None else f"{value:.3f}"
