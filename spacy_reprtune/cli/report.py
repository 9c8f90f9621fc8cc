"""`python -m spacy reprtune report`: everything that was measured, on one page."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

TITLE = "What was trained"


def report_cli(
    metrics_dir: Path = typer.Argument(
        Path("metrics"), help="Directory with the scores of recipes", exists=True, file_okay=False
    ),
    output: Path = typer.Option(
        ..., "--output", "-o", help="HTML file: one page that needs no network", dir_okay=False
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
) -> None:
    """
    Put everything that was measured on one page.

    Scores with intervals, time, memory and size of all recipes; scores of each class, confusions,
    precision-recall, calibration and training curves; the freezing and the few-shot curve,
    pretraining, the most confident errors, the data. Every number is from a file in METRICS_DIR or
    beside it, and what is missing is said to be missing, with the command that makes it.
    """
    save_report(metrics_dir, output, markdown, title=title, corpus=corpus, training=training)


def save_report(
    metrics_dir: Path,
    output: Path,
    markdown: Optional[Path] = None,
    *,
    title: str = TITLE,
    corpus: Optional[Path] = None,
    training: Optional[Path] = None,
) -> None:
    """Write the page; the arguments are those of the command."""
    from ..reporting.page import to_html, to_markdown
    from ..reporting.report import make_report

    root = metrics_dir.resolve().parent
    try:
        metrics, sections = make_report(
            metrics_dir, corpus=corpus or root / "corpus", training=training or root / "training"
        )
    except ImportError as error:
        msg.fail("No report: it needs matplotlib", f"pip install matplotlib ({error})", exits=1)
    except (ValueError, OSError) as error:
        msg.fail("No report", str(error), exits=1)
    for problem in metrics.problems:
        msg.warn(problem)
    pages = {output: to_html(sections, title=title, problems=metrics.problems)}
    if markdown is not None:
        pages[markdown] = to_markdown(sections)
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
        msg.good(f"Saved {path} ({len(text.encode('utf8')) / 1000:,.0f} kB)")
