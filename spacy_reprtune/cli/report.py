"""`python -m spacy reprtune report`: all measurements on one page."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

TITLE = "Training report"


def report_cli(
    metrics_dir: Path = typer.Argument(
        Path("metrics"), help="Directory with the scores of recipes", exists=True, file_okay=False
    ),
    output: Optional[Path] = typer.Option(
        None, "--output", "-o", help="HTML file: one page that needs no network", dir_okay=False
    ),
    markdown: Optional[Path] = typer.Option(
        None, "--markdown", "-m", help="Markdown file: the tables, for a README", dir_okay=False
    ),
    title: str = typer.Option(TITLE, "--title", help="Heading of the page"),
    corpus: Optional[Path] = typer.Option(
        None, "--corpus", help="Corpora, for their manifests  [default: corpus beside METRICS_DIR]"
    ),
    training: Optional[Path] = typer.Option(
        None, "--training", help="Trainings, for pretraining  [default: training beside it]"
    ),
    code_path: Optional[Path] = typer.Option(
        None, "--code", "-c", help="Python file with sections of your own to import"
    ),
) -> None:
    """
    Print a table of all scores, and put all measurements on one page.

    The page has scores with intervals, time, memory and size of all recipes; scores per label,
    confusion matrices, precision-recall, calibration and training curves; the freezing and the
    few-shot curve, pretraining, the most confident errors and the data. Every number comes from a
    file in METRICS_DIR or beside it. The last line names what is missing and the command that
    creates it.
    """
    from spacy.cli._util import import_code

    import_code(code_path)
    save_report(metrics_dir, output, markdown, title=title, corpus=corpus, training=training)


def save_report(
    metrics_dir: Path,
    output: Optional[Path],
    markdown: Optional[Path] = None,
    *,
    title: str = TITLE,
    corpus: Optional[Path] = None,
    training: Optional[Path] = None,
) -> None:
    """Print the table and write the pages, given the arguments of the command."""
    from ..reporting.markdown import to_markdown
    from ..reporting.page import to_html
    from ..reporting.report import make_report
    from ..reporting.sections.scores import score_table

    root, pages = metrics_dir.resolve().parent, {}
    try:
        metrics, groups, sections = make_report(
            metrics_dir, corpus=corpus or root / "corpus", training=training or root / "training"
        )
        if output is not None:
            pages[output] = to_html(sections, title=title, problems=metrics.problems)
        if markdown is not None:
            pages[markdown] = to_markdown(sections)
    except ImportError as error:
        msg.fail("No report: it needs matplotlib", f"pip install matplotlib ({error})", exits=1)
    except (ValueError, OSError) as error:
        msg.fail("No report", str(error), exits=1)
    for problem in metrics.problems:
        msg.warn(problem)
    for group in groups:
        table = score_table(group, costs=False)
        aligns = ["l", *["r"] * (len(table.header) - 1)]
        msg.table(table.rows, header=table.header, divider=True, aligns=aligns)
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
        msg.good(f"Saved {path} ({len(text.encode('utf8')) / 1000:,.0f} kB)")
