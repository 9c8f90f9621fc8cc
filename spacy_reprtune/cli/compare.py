"""`python -m spacy reprtune compare`: own figures beside published ones."""

from pathlib import Path

import typer
from wasabi import msg


def compare_cli(
    published: Path = typer.Argument(
        ...,
        help="JSON file with the published figures and where ours are, such as assets/book.json",
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
    import srsly

    from ..reporting.compare import as_markdown, compare

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
