"""A report as a self-contained HTML page."""

from pathlib import Path
from typing import Sequence

from markupsafe import Markup

from .blocks import Plot, Section
from .svg import page_style, to_svg

TEMPLATES = Path(__file__).parent / "templates"


def to_html(sections: Sequence[Section], *, title: str, problems: Sequence[str] = ()) -> str:
    """Write a report as a page.

    sections (Sequence[Section]): The sections.
    title (str): Heading of the page.
    problems (Sequence[str]): Files that could not be read, named at the top.
    RETURNS (str): The page. It loads nothing, runs no script, and its content security policy
        forbids both.
    RAISES (ImportError): The report has figures, but matplotlib is not installed.
    """
    with page_style():
        return render_template(
            "report.html",
            sections=[section for section in sections if section.blocks],
            missing=[item for section in sections for item in section.missing],
            title=title,
            problems=problems,
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf8")),
            svg=_svg,
        )


def render_template(name: str, **values: object) -> str:
    """Fill in one of the templates.

    name (str): File name; values are escaped in a template that ends in .html.
    **values: What the template uses.
    RETURNS (str): The text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**values)


def _svg(plot: Plot) -> Markup:
    return to_svg(plot.draw(), plot.name, label=plot.title)
