"""`python -m spacy reprtune results`: one table over all recipes."""

from pathlib import Path

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
) -> None:
    """
    Print the scores of all recipes as one table.

    Saved as Markdown as well.
    """
    from ..reporting.table import markdown_table, read_scores

    try:
        header, rows = read_scores(metrics_dir)
    except ValueError as error:
        msg.fail("No results to show", str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(markdown_table(header, rows), encoding="utf8")
    msg.table(rows, header=header, divider=True, aligns=["l"] + ["r"] * (len(header) - 1))
    msg.good(f"Saved to {output}")
