"""Own figures beside published ones: a JSON file holds those, with their source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import srsly
import typer
from wasabi import msg

from spacy_reprtune.reporting.markdown import markdown_table

MISSING = "–"
_SCORE = (int, float, type(None))
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    type(None): "null",
}


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
    RAISES (ValueError): A file is not of this form, or none of the files is there.
    """
    published = _read(path, f"{path} is not a file of published figures: its content")
    _check_published(published, f"{path} is not a file of published figures")
    wanted = [figure["file"] for figure in published.get("figures", [])]
    wanted += [published[key]["file"] for key in ("curve", "fill_mask") if key in published]
    files = list(dict.fromkeys(wanted))
    missing = [name for name in files if not (folder / name).is_file()]
    if len(missing) == len(files):
        raise ValueError(f"None of the files that {path} names is there: {', '.join(missing)}")
    ours = {name: _read(folder / name, str(folder / name)) for name in files if name not in missing}
    _check_ours(published, ours, folder)
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


def _read(path: Path, place: str) -> Dict[str, Any]:
    try:
        content = srsly.read_json(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} can't be read as JSON: {error}") from error
    _check(content, dict, place)
    return content


def _check_published(published: Dict[str, Any], wrong: str) -> None:
    """wrong (str): Begins what is said of a value of another form."""
    parts = [key for key in ("figures", "curve", "fill_mask") if key in published]
    if not parts:
        raise ValueError(f'{wrong}: it has none of "figures", "curve" and "fill_mask".')
    if "figures" in parts:
        _check_keys(published, {"title": str}, wrong)
        _check(published["figures"], list, f"{wrong}: figures")
        for i, figure in enumerate(published["figures"]):
            place = f"{wrong}: figures[{i}]"
            keys = {"what": str, "measure": str, "file": str, "key": list, "published": _SCORE}
            _check_keys(figure, keys, place)
            for part in figure["key"]:
                _check(part, str, f"{place}.key")
    for name, kind in (("curve", dict), ("fill_mask", list)):
        if name in parts:
            place = f"{wrong}: {name}"
            _check_keys(published[name], {"title": str, "file": str, "published": kind}, place)
    for table, place in ((published, wrong), (published.get("curve", {}), f"{wrong}: curve")):
        _check(table.get("note", ""), str, f"{place}.note")
    if "curve" in parts:
        for blocks, score in published["curve"]["published"].items():
            _check(score, _SCORE, f"{wrong}: curve.published.{blocks}")
    if "fill_mask" in parts:
        fill = published["fill_mask"]
        _check(fill.get("note", ""), str, f"{wrong}: fill_mask.note")
        _check_filled(fill["published"], f"{wrong}: fill_mask.published")


def _check_ours(published: Dict[str, Any], ours: Dict[str, Any], folder: Path) -> None:
    for figure in published.get("figures", []):
        value = _look_up(ours.get(figure["file"]), figure["key"])
        _check(value, _SCORE, f"{folder / figure['file']}: {'.'.join(figure['key'])}")
    curve = published.get("curve", {}).get("file")
    if curve in ours:
        place = f"{folder / curve} is not the file of a sweep: points"
        points = ours[curve].get("points")
        _check(points, list, place)
        for i, point in enumerate(points):
            _check_keys(point, {"unfreeze": (str, int), "mean": _SCORE}, f"{place}[{i}]")
    filled = published.get("fill_mask", {}).get("file")
    if filled in ours:
        place = f"{folder / filled} is not the report of a pretraining: fill_mask"
        _check_filled(ours[filled].get("fill_mask", []), place)


def _check_filled(rows: Any, place: str) -> None:
    _check(rows, list, place)
    for i, row in enumerate(rows):
        _check_keys(row, {"sentence": str, "before": list, "after": list}, f"{place}[{i}]")
        for key in ("before", "after"):
            for word in row[key]:
                _check(word, str, f"{place}[{i}].{key}")


def _check_keys(table: Any, keys: Mapping[str, Any], place: str) -> None:
    _check(table, dict, place)
    for key, kinds in keys.items():
        if key not in table:
            raise ValueError(f'{place} lacks the key "{key}".')
        _check(table[key], kinds, f"{place}.{key}")


def _check(value: Any, kinds: Any, place: str) -> None:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or isinstance(value, bool):
        allowed = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
        raise ValueError(f"{place} must be {allowed}, not {str(value)[:60]!r}.")


def _depth(blocks: str) -> float:
    return float(blocks) if blocks.isdigit() else {"none": 0.0}.get(blocks, float("inf"))


def _look_up(content: Any, key: Sequence[str]) -> Optional[float]:
    for part in key:
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _score(value: Optional[float]) -> str:
    return MISSING if value is None else f"{value:.3f}"


def main(
    published: Path = typer.Argument(
        ...,
        help="JSON file with published figures and the place of ours, such as book.json",
        exists=True,
        dir_okay=False,
    ),
    output: Path = typer.Option(..., "--output", "-o", help="Markdown file for the tables"),
    folder: Path = typer.Option(
        Path(), "--folder", help="Where the files with our figures are named from", file_okay=False
    ),
) -> None:
    """
    Print own figures beside published ones, and save the tables as Markdown.
    """
    try:
        tables, missing = compare(published, folder)
    except ValueError as error:
        msg.fail("Nothing to compare", str(error), exits=1)
    for table in tables:
        msg.divider(table.title)
        msg.table(table.rows, header=table.header, divider=True, aligns=table.aligns, max_col=60)
        if table.note:
            msg.text(table.note)
    for name in missing:
        msg.warn(f"Not there, so a dash in the table: {name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    source = srsly.read_json(published).get("source", str(published))
    output.write_text(as_markdown(tables, source), encoding="utf8")
    msg.good(f"Saved to {output}")


if __name__ == "__main__":
    typer.run(main)
