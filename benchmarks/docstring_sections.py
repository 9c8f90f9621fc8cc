"""Paragraphs of docstrings, labeled with the section that they are in.

The docstrings are those of installed packages in numpydoc's format. Headings and the lines with
names and types are left out, so the label has to be found from what a paragraph says and from
where it stands. A module is in one split only.
"""

import ast
import hashlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

PACKAGES = ("sklearn", "scipy", "numpy")
LABELS = ("description", "parameters", "returns", "raises", "notes")
NAMES = {
    "parameters": "parameters",
    "other parameters": "parameters",
    "returns": "returns",
    "yields": "returns",
    "raises": "raises",
    "notes": "notes",
}
ITEMS = ("parameters", "returns", "raises")
HEADING = re.compile(r"^(\w[\w ]+)\n-{3,}\s*$", re.M)
WORDS = range(4, 61)
PARAGRAPHS = range(10, 31)
Paragraph = Tuple[str, str]


def docstring_paragraphs() -> Dict[str, List[List[Paragraph]]]:
    """RETURNS (Dict[str, List[List[Tuple[str, str]]]]): Paragraphs and their labels, by split and
    docstring."""
    splits: Dict[str, List[List[Paragraph]]] = {"train": [], "test": []}
    seen = set()
    for path in _modules():
        split = "test" if hashlib.sha256(path.stem.encode()).digest()[0] < 64 else "train"
        for docstring in _docstrings(path):
            found = [p for p in _paragraphs(docstring) if len(p[0].split()) in WORDS]
            texts = tuple(text for text, _ in found)
            if len(found) in PARAGRAPHS and texts not in seen:
                seen.add(texts)
                splits[split].append(found)
    return splits


def _modules() -> Iterator[Path]:
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            yield from sorted(
                path for path in Path(spec.origin).parent.rglob("*.py") if "tests" not in path.parts
            )


def _docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _paragraphs(docstring: str) -> Iterator[Paragraph]:
    """YIELDS (Tuple[str, str]): Each paragraph of the sections that have a label, and the label."""
    parts = HEADING.split(docstring)
    for name, text in zip(["", *parts[1::2]], parts[::2], strict=True):
        label = NAMES.get(name.strip().lower(), "") if name else "description"
        if not label:
            continue
        if label in ITEMS:
            # What is not indented is the name and the type of an item.
            indented = [line if line.startswith(" ") else "" for line in text.split("\n")]
            text = inspect.cleandoc("\n" + "\n".join(indented))
        for paragraph in re.split(r"\n\s*\n", text):
            # Directives, tables, formulas and code are not prose.
            if paragraph.strip() and not re.search(r"^\s*(\.\.|>>>|[|=+-]{3})", paragraph, re.M):
                yield " ".join(paragraph.split()), label
