"""`python -m spacy reprtune distill`: a teacher, unlabeled texts, and a config become a student."""

from pathlib import Path
from typing import List, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU, config_overrides


def distill_cli(
    ctx: typer.Context,
    teacher: str = typer.Argument(..., help="Directory or name of the trained pipeline"),
    config_path: Path = typer.Argument(
        ..., help="Training config of the student", exists=True, dir_okay=False
    ),
    pool: List[Path] = typer.Option(
        ...,
        "--text",
        "-t",
        help="Unlabeled texts: JSONL, txt, CSV, TSV, Parquet, .spacy, folder",
    ),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Directory for corpus, model-best, model-last and result.json"
    ),
    gold: Optional[Path] = typer.Option(
        None, "--gold", help="Annotated docs to mix in, a .spacy file", exists=True, dir_okay=False
    ),
    dev: Optional[Path] = typer.Option(
        None,
        "--dev",
        help="Annotated docs to choose on  [default: the config's paths.dev]",
        exists=True,
    ),
    test: Optional[Path] = typer.Option(
        None, "--test", help="Annotated docs to compare both on  [default: dev]", exists=True
    ),
    column: str = typer.Option("text", "--column", help="Column with the texts"),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Distill a trained pipeline into a smaller one. After an interruption, the same command resumes.

    The teacher annotates the texts with its probabilities, and the student that the config
    describes is trained on them as by `reprtune train`. Its components of this package get
    soft_labels = true. If [paths] encoder of the config is empty, it becomes the teacher's encoder.
    At the end, both are compared on the same docs: score, words per second, size. Settings of the
    config can be overridden as with `spacy train`.
    """
    import srsly
    from spacy.cli._util import import_code
    from spacy.util import load_config

    from ..annotate.resume import MANIFEST, earlier_run, write_manifest
    from ..distill.pool import label_pool
    from ..distill.student import compare, described, dev_corpus, rows_of, student_overrides
    from ..training.experiments import fingerprint
    from ..training.full_config import full_config
    from .train import run_training

    given = config_overrides(ctx)
    import_code(code_path)
    corpus, result_path = output / "corpus", output / "result.json"
    msg.divider("Annotating the pool")
    try:
        config = load_config(config_path, overrides=given, interpolate=False)
        overrides = {**student_overrides(config, teacher, corpus, dev), **given}
        full = full_config(load_config(config_path, overrides=overrides, interpolate=False))
        chosen_on = dev_corpus(full)
        judged = test or dev or chosen_on
        if judged is None:
            raise ValueError("The config names no docs to compare on. Name some: --test FILE")
        labeled = label_pool(
            teacher, pool, corpus, text=column, gold=gold, use_gpu=use_gpu, left_out=output
        )
        request = {
            "corpus": described(corpus / MANIFEST),
            "dev": described(chosen_on),
            "config": fingerprint(full, output=output),
        }
        compared = {**request, "test": described(judged)}
        trained = earlier_run(output, request)
        done = bool(trained and "test" in trained and result_path.exists())
        if done:
            earlier_run(output, compared)
    except (ValueError, OSError) as error:
        msg.fail("Not distilled", str(error), exits=1)
    msg.good(f"{labeled.texts:,} texts are annotated in {corpus}")
    if labeled.skipped:
        reasons = "damaged, blank, too long, or the teacher failed"
        msg.warn(f"{labeled.skipped:,} rows were skipped: {reasons}")
    if not trained:
        run_training(config_path, output, overrides, use_gpu)
        # A comparison that fails or is stopped then leaves only itself to be repeated.
        write_manifest(output, request)
    if not done:
        try:
            result = compare(teacher, output / "model-best", judged, use_gpu=use_gpu)
        except (ValueError, OSError) as error:
            msg.fail("The student is trained, but can't be compared", str(error), exits=1)
        srsly.write_json(result_path, result)
        write_manifest(output, compared)
    result = srsly.read_json(result_path)
    header = ("", "teacher", "student")
    msg.table(rows_of(result), header=header, divider=True, aligns=("l", "r", "r"))
    msg.good(f"The student is in {output / 'model-best'}")
