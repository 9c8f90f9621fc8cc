"""Sections as one HTML page that needs nothing else, and as Markdown."""

from pathlib import Path
from typing import List, Sequence

from .blocks import Block, Section, Table
from .table import Markdown, markdown_table, plain

TEMPLATES = Path(__file__).parent / "templates"


def to_html(sections: Sequence[Section], *, title: str, problems: Sequence[str] = ()) -> str:
    """Set sections as a page.

    sections (Sequence[Section]): The sections.
    title (str): Of the page.
    problems (Sequence[str]): What could not be read, said at the top.
    RETURNS (str): The page. It refers to nothing outside of itself, has no script, and forbids
        both to whatever might get in.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    style = (TEMPLATES / "report.css").read_text(encoding="utf8")
    return template.render(sections=sections, title=title, problems=problems, style=style)


def to_markdown(sections: Sequence[Section], *, level: int = 2) -> str:
    """Set sections as Markdown: text and tables, without pictures and errors.

    sections (Sequence[Section]): The sections. Those without text or table are left out.
    level (int): Of their headings.
    RETURNS (str): The Markdown.
    """
    parts: List[str] = []
    for section in sections:
        body = [text for block in section.blocks for text in _block(block)]
        if body:
            parts += [f"{'#' * level} {plain(section.title)}", *body]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> List[str]:
    if block.kind == "text":
        return [plain(block.text)]
    if block.kind == "missing":
        how = f" Write it with `{_code(block.how)}`." if block.how else ""
        return [f"Missing: {plain(block.what)}.{how}"]
    if block.kind == "table":
        return _table(block)
    if block.kind == "matrix":
        header = ["right \\ predicted", *block.columns]
        rows = [
            [name, *map(str, cells)] for name, cells in zip(block.rows, block.cells, strict=True)
        ]
        return _table(Table(header, rows, title=block.title))
    # Pictures are for the page, and what is folded there is too much here.
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


def _code(text: str) -> str:
    return text.replace("`", "'")
