"""Tables in Markdown, and the scores of several recipes side by side."""

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import srsly

# Column title, key in the file that `spacy evaluate --output` writes, and how to print it.
_COLUMNS: List[Tuple[str, str, str]] = [
    ("macro F", "cats_macro_f", "{:.3f}"),
    ("accuracy", "cats_micro_f", "{:.3f}"),
    ("macro AUC", "cats_macro_auc", "{:.3f}"),
    ("entity F", "ents_f", "{:.3f}"),
    ("words/s", "speed", "{:,.0f}"),
]


def read_scores(
    metrics_dir: Path, only: Optional[Sequence[str]] = None
) -> Tuple[List[str], List[List[str]]]:
    """Read the scores of all recipes in a directory.

    metrics_dir (Path): Holds a JSON file a recipe, named after it, as `spacy evaluate --output`
        writes it. Other JSON files are passed over.
    only (Optional[Sequence[str]]): The recipes to show, in this order; all if None.
    RETURNS (Tuple[List[str], List[List[str]]]): The header, and a row a recipe. Columns without
        any value are left out; a value that a recipe lacks is a dash.
    RAISES (ValueError): No file there has scores, or one of `only` is not there.
    """
    recipes: Dict[str, Dict[str, Any]] = {}
    for path in sorted(metrics_dir.glob("*.json")):
        scores = srsly.read_json(path)
        if isinstance(scores, dict) and "speed" in scores:
            recipes[path.stem] = scores
    if not recipes:
        raise ValueError(
            f"{metrics_dir} has no file with scores. Write one with: python -m spacy evaluate "
            f"MODEL TEST.spacy --output {metrics_dir}/RECIPE.json"
        )
    missing = [name for name in only or () if name not in recipes]
    if missing:
        raise ValueError(
            f"{metrics_dir} has no scores of {', '.join(missing)}; it has {', '.join(recipes)}."
        )
    if only:
        recipes = {name: recipes[name] for name in only}
    used = [c for c in _COLUMNS if any(s.get(c[1]) is not None for s in recipes.values())]
    header = ["recipe", *[title for title, _, _ in used]]
    rows = [
        [name, *[_format(scores.get(key), pattern) for _, key, pattern in used]]
        for name, scores in recipes.items()
    ]
    return header, rows


class Markdown(str):
    """A cell that is Markdown already."""


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], aligns: Optional[Sequence[str]] = None
) -> str:
    """Set a table in Markdown.

    header (Sequence[str]): The column titles.
    rows (Sequence[Sequence[str]]): The cells: text, which is escaped, or `Markdown`.
    aligns (Optional[Sequence[str]]): "l" or "r" for each column; numbers, which are all but the
        first, to the right if None.
    RETURNS (str): The table.
    """
    aligns = ["l"] + ["r"] * (len(header) - 1) if aligns is None else aligns
    rule = [Markdown("---" if align == "l" else "---:") for align in aligns]
    lines = [[_cell(cell) for cell in line] for line in (header, rule, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(text: str) -> str:
    """RETURNS (str): Text that Markdown takes as it is: no HTML, links, cells or emphasis."""
    text = " ".join(text.split())
    return re.sub(r"([\\*_\[\]<>#|`~])", r"\\\1", text)


def code(text: str) -> str:
    """RETURNS (str): Text as code, with a fence that is longer than any in it."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return (
        f"{fence} {text} {fence}" if text[:1] == "`" or text[-1:] == "`" else fence + text + fence
    )


def code_cell(text: str) -> Markdown:
    """RETURNS (Markdown): Text as code in a table, where a bar ends a cell even in code."""
    return Markdown(code(text).replace("|", "\\|"))


def _cell(text: str) -> str:
    return text if isinstance(text, Markdown) else plain(str(text)) or " "


def _format(value: Optional[float], pattern: str) -> str:
    return "–" if value is None else pattern.format(value)
