"""`python -m spacy reprtune evaluate`: `spacy evaluate`, with all that a report needs."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU


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
        help="HTML file for a report of everything in the directory of --output",
        dir_okay=False,
    ),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Score a pipeline as `spacy evaluate` does, and keep its predictions for `reprtune report`.

    The JSON file has the scores that `spacy evaluate --output` writes and, under "run", documents
    per second, memory and size. RECIPE.predictions.jsonl.gz beside it has the texts with their
    predictions.
    """
    import srsly
    from spacy.cli._util import import_code

    from ..reporting.evaluate import evaluate, is_scored
    from ..reporting.headline import headline, is_exclusive, span_keys
    from ..reporting.predictions import predictions_path, write_predictions
    from .report import save_report

    import_code(code_path)
    try:
        scores, predictions = evaluate(model, corpus, use_gpu=use_gpu, silent=False)
    except (ValueError, OSError) as error:
        msg.fail("Can't evaluate", str(error), exits=1)
    path = predictions_path(output)
    # Old predictions must not stay beside new scores.
    path.unlink(missing_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Exactly as spaCy writes it.
    srsly.write_json(output, scores)
    write_predictions(predictions, path)
    name, value = headline(scores)
    named = {
        name: value,
        "accuracy" if is_exclusive(scores) else "micro F": scores.get("cats_micro_f"),
        "entity precision": scores.get("ents_p"),
        "entity recall": scores.get("ents_r"),
        "entity F": scores.get("ents_f"),
        **{f"span F ({key})": scores[f"spans_{key}_f"] for key in span_keys(scores)},
    }
    rows = [(title, f"{value:.3f}") for title, value in named.items() if value is not None]
    if scores["run"]["docs_per_second"]:
        rows.append(("documents/s", f"{scores['run']['docs_per_second']:,.1f}"))
    if rows:
        msg.table(rows, header=("score", ""), divider=True, aligns=("l", "r"))
    if not is_scored(scores, predictions):
        msg.warn(
            "Nothing was scored",
            f"No text in {corpus} has annotation that {model} predicts: they have "
            f"{', '.join(scores['run']['annotated']) or 'none at all'}.",
        )
    msg.good(f"Saved {output} and {path.name}")
    if report is not None:
        save_report(output.parent, report)
