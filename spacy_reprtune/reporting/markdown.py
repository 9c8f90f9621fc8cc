"""Reports and tables in Markdown."""

import re
from typing import List, Optional, Sequence

from .blocks import Block, Section, Table


class Markdown(str):
    """Text that is already Markdown, so it is not escaped."""


def to_markdown(sections: Sequence[Section]) -> str:
    """Write the text and the tables of a report, without figures and mistakes.

    sections (Sequence[Section]): The sections.
    RETURNS (str): The Markdown.
    """
    parts: List[str] = []
    for section in sections:
        body = [text for block in section.blocks for text in _block(block)]
        if body:
            parts += [f"## {plain(section.title)}", *body]
    missing = [item for section in sections for item in section.missing]
    named = [f"{plain(item.what)}, from {code(item.command)}" for item in missing]
    if named:
        parts.append(f"Missing: {'; '.join(named)}.")
    return "\n\n".join(parts) + "\n"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], aligns: Optional[Sequence[str]] = None
) -> str:
    """Write a table.

    header (Sequence[str]): Column titles.
    rows (Sequence[Sequence[str]]): The cells: text, which is escaped, or `Markdown`.
    aligns (Optional[Sequence[str]]): "l" or "r" for each column. If None, the first column is
        aligned left and all others right.
    RETURNS (str): The table.
    """
    aligns = ["l"] + ["r"] * (len(header) - 1) if aligns is None else aligns
    rule = [Markdown("---" if align == "l" else "---:") for align in aligns]
    lines = [[_cell(cell) for cell in line] for line in (header, rule, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(text: str) -> str:
    """RETURNS (str): Text escaped so that Markdown shows it literally."""
    text = " ".join(text.split())
    return re.sub(r"([\\*_\[\]<>#|`~])", r"\\\1", text)


def code(text: str) -> str:
    """RETURNS (str): Text as code, fenced by more consecutive backticks than it contains."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = f" {text} " if text[:1] == "`" or text[-1:] == "`" else text
    return fence + inner + fence


def code_cell(text: str) -> Markdown:
    """RETURNS (Markdown): Text as code for a table cell, with bars escaped."""
    return Markdown(code(text).replace("|", "\\|"))


def _block(block: Block) -> List[str]:
    if block.kind == "text":
        return [plain(block.text)]
    if block.kind == "table":
        return _table(block)
    if block.kind == "matrix":
        lines = zip(block.rows, block.cells, strict=True)
        rows = [[name, *map(str, cells)] for name, cells in lines]
        return _table(Table(["gold \\ predicted", *block.columns], rows, title=block.title))
    return []


def _table(table: Table) -> List[str]:
    marked = {(row, column) for column, row in table.best.items()}
    rows = [
        [Markdown(f"**{plain(text)}**") if (i, j) in marked else text for j, text in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    aligns = ["l" if j in table.words else "r" for j in range(len(table.header))]
    text = markdown_table(table.header, rows, aligns).rstrip("\n")
    return [f"**{plain(table.title)}**", text] if table.title else [text]


def _cell(text: str) -> str:
    return text if isinstance(text, Markdown) else plain(str(text)) or " "
