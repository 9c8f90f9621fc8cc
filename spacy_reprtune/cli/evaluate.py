"""`python -m spacy reprtune evaluate`: `spacy evaluate`, and what a report needs besides."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import typer
from wasabi import msg


def evaluate_cli(
    model: str = typer.Argument(..., help="Directory or name of a pipeline"),
    corpus: Path = typer.Argument(
        ..., help="Annotated texts, a .spacy file or a folder of them", exists=True
    ),
    output: Path = typer.Option(
        ..., "--output", "-o", help="JSON file for the scores, metrics/RECIPE.json", dir_okay=False
    ),
    report: Optional[Path] = typer.Option(
        None,
        "--report",
        "-r",
        help="HTML file: then put all that is in the directory of --output on one page",
        dir_okay=False,
    ),
    code_path: Optional[Path] = typer.Option(
        None, "--code", "-c", help="Python file with registered functions to import"
    ),
    use_gpu: int = typer.Option(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU"),
) -> None:
    """
    Score a pipeline as `spacy evaluate` does, and keep its predictions for `reprtune report`.

    The JSON file has the scores that `spacy evaluate --output` writes, and under "run" documents a
    second, memory and size. RECIPE.predictions.jsonl.gz beside it has what was predicted for each
    text, with the text.
    """
    import srsly
    from spacy.cli._util import import_code

    from ..reporting.evaluate import evaluate
    from ..reporting.predictions import predictions_path, write_predictions
    from .report import save_report

    import_code(code_path)
    try:
        scores, predictions = evaluate(model, corpus, use_gpu=use_gpu, silent=False)
    except (ValueError, OSError) as error:
        msg.fail("Cannot evaluate", str(error), exits=1)
    path = predictions_path(output)
    # Never new scores beside old predictions.
    path.unlink(missing_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, scores)
    write_predictions(predictions, path)
    rows = _rows(scores)
    if rows:
        msg.table(rows, header=("score", ""), divider=True, aligns=("l", "r"))
    msg.good(f"Saved {output} and {path.name}")
    if report is not None:
        save_report(output.parent, report)


def _rows(scores: Dict[str, Any]) -> List[Tuple[str, str]]:
    named = [
        (str(scores.get("cats_score_desc")), "cats_score"),
        ("accuracy", "cats_micro_f"),
        ("entity P", "ents_p"),
        ("entity R", "ents_r"),
        ("entity F", "ents_f"),
    ]
    # Of independent labels it is no accuracy.
    if scores.get("cats_score_desc") == "macro AUC":
        named[1] = ("micro F", "cats_micro_f")
    rows = [(title, f"{scores[key]:.3f}") for title, key in named if scores.get(key) is not None]
    speed = scores["run"]["docs_per_second"]
    if speed:
        rows.append(("documents/s", f"{speed:,.1f}"))
    return rows
