"""`python -m spacy reprtune threshold`: thresholds per label with a guaranteed precision."""

import shutil
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU


def threshold_cli(
    model: str = typer.Argument(..., help="Directory or name of the pipeline"),
    corpus: Path = typer.Argument(
        ..., help="Annotated docs that the pipeline has not trained on, .spacy", exists=True
    ),
    precision: float = typer.Option(
        ..., "--precision", "-p", help="Precision that each label has to reach, such as 0.95"
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        help="Directory for the pipeline with thresholds  [default: MODEL, which is replaced]",
        file_okay=False,
    ),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Fit a threshold per label that guarantees the precision of its predictions.

    For each label of a text classifier or an entity recognizer, it is the lowest score for which
    predictions with this score or more have a precision of at least --precision on new data like
    CORPUS, with a confidence of 95 %. An entity below its threshold is not predicted. A text keeps
    the scores of all labels in doc.cats; doc._.reprtune_labels lists those that reach their
    thresholds, and is empty if the text is left to a person. A label that cannot reach the
    precision is never predicted, and is named with the number of predictions that it would take.
    """
    from spacy.cli._util import import_code, setup_gpu
    from spacy.training import Corpus
    from spacy.util import load_model

    from ..components.thresholds import describe, fit_thresholds

    import_code(code_path)
    setup_gpu(use_gpu, silent=True)
    if output is None and not Path(model).is_dir():
        msg.fail(f"{model} is not a directory", "Name a new one with --output.", exits=1)
    try:
        nlp = load_model(model)
        found = fit_thresholds(nlp, Corpus(corpus)(nlp), precision=precision)
    except (ValueError, OSError) as error:
        msg.fail("No thresholds", str(error), exits=1)
    nlp.to_disk(output or model)
    if output is not None and Path(model).is_dir():
        # What packages take from the directory, such as LICENSE and README.md.
        for path in filter(Path.is_file, Path(model).iterdir()):
            if not (output / path.name).exists():
                shutil.copy2(path, output)
    given = [item for item in found if item.fit.threshold is not None]
    rows = [
        (
            item.component,
            item.label,
            f"{item.fit.threshold:.4f}",
            f"{item.fit.n_kept:,} of {item.fit.n_all:,}",
            f"{item.fit.n_kept / item.fit.n_all:.1%}",
            f"{item.fit.n_right / item.fit.n_kept:.3f}",
        )
        for item in given
    ]
    header = ("component", "label", "threshold", "kept", "coverage", "precision here")
    msg.table(rows, header=header, divider=True, aligns=("l", "l", "r", "r", "r", "r"))
    missing = [item for item in found if item.fit.threshold is None]
    if missing:
        msg.warn(
            f"Never given, because no threshold reaches {precision:g}: {len(missing)} of "
            f"{len(found)} labels",
            "\n".join(map(describe, missing)),
        )
    msg.good(f"The pipeline in {output or model} uses the thresholds")
