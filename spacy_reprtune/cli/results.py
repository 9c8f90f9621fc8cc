"""`python -m spacy reprtune results`: one table over all recipes."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def results_cli(
    metrics_dir: Path = typer.Argument(
        ...,
        help="Directory with what `spacy evaluate --output` wrote, a file a recipe",
        exists=True,
        file_okay=False,
    ),
    output: Path = typer.Option(..., help="Markdown file for the table"),
    only: Optional[str] = typer.Option(
        None, help="Recipes to show, with commas between them  [default: all]"
    ),
) -> None:
    """
    Print the scores of all recipes as one table.

    Saved as Markdown as well.
    """
    from ..reporting.table import markdown_table, read_scores

    try:
        header, rows = read_scores(metrics_dir, only.split(",") if only else None)
    except ValueError as error:
        msg.fail("No results to show", str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(markdown_table(header, rows), encoding="utf8")
    msg.table(rows, header=header, divider=True, aligns=["l"] + ["r"] * (len(header) - 1))
    msg.good(f"Saved to {output}")
