"""`python -m spacy reprtune annotate`: files in, annotated files out."""

from pathlib import Path
from typing import List, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU

_REMEDIES = {
    "pyarrow": 'pip install "spacy-reprtune[convert]", or use --format jsonl for text files.',
    "ray": 'pip install "spacy-reprtune[ray]", or use --engine local.',
}


def annotate_cli(
    model: str = typer.Argument(..., help="Directory or name of a pipeline"),
    paths: List[Path] = typer.Argument(
        ..., help="Files or folders of Parquet, JSONL, CSV, TSV or txt, and last the output folder"
    ),
    text: str = typer.Option("text", "--text", "-t", help="Column with the texts"),
    id: Optional[str] = typer.Option(
        None, "--id", help="Column with unique ids  [default: number of the row]"
    ),
    columns: str = typer.Option(
        "cats,ents,spans", "--columns", help="What to write, separated by commas"
    ),
    workers: int = typer.Option(1, "--workers", "-n", help="Processes that share the cores", min=1),
    engine: str = typer.Option("local", "--engine", "-e", help="local, or ray for Ray Data"),
    address: Optional[str] = typer.Option(
        None, "--address", help="Ray cluster  [default: start Ray on this machine]"
    ),
    batch_size: int = typer.Option(128, "--batch-size", help="Texts per batch", min=1),
    format: str = typer.Option("parquet", "--format", "-f", help="parquet or jsonl"),
    shard_rows: int = typer.Option(
        10_000, "--shard-rows", help="Rows per output file; row groups of Parquet stay whole", min=1
    ),
    disable: str = typer.Option(
        "", "--disable", help="Components that do not run, separated by commas"
    ),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Annotate files of any size. After an interruption, the same command resumes.

    Each row group or range of lines becomes one file in the output folder. Rows that can't be
    annotated are in errors.jsonl with their id and the reason; if that is all of them, the exit
    code is 1. manifest.json keeps results of different models, settings or inputs apart.
    """
    from ..annotate.annotator import Annotator
    from ..annotate.run import ERRORS, annotate_files

    if len(paths) < 2:
        msg.fail("Name at least one input, and the output folder last", exits=1)
    *inputs, output = paths
    try:
        annotator = Annotator(
            model,
            text=text,
            columns=_names(columns),
            batch_size=batch_size,
            disable=_names(disable),
            gpu_id=use_gpu,
            code=None if code_path is None else str(code_path),
        )
        outcome = annotate_files(
            annotator,
            inputs,
            output,
            id=id,
            workers=workers,
            format=format,
            shard_rows=shard_rows,
            engine=engine,
            address=address,
        )
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _REMEDIES:
            raise
        msg.fail(f"This needs {missing}", _REMEDIES[missing], exits=1)
    except (ValueError, OSError) as error:
        hint = "" if isinstance(error, ValueError) else " The same command continues from there."
        msg.fail("Not annotated", f"{error}{hint}", exits=1)
    for reason in outcome.damaged:
        msg.fail("A part could not be read", reason)
    if outcome.failed and outcome.failed == outcome.rows:
        msg.fail(
            f"All {outcome.rows:,} rows failed",
            f"All reasons are in {output / ERRORS}. The first is: {outcome.reason}",
            exits=1,
        )
    if outcome.failed:
        msg.warn(f"{outcome.failed:,} rows failed: see {output / ERRORS}")
    msg.good(
        f"{outcome.rows - outcome.failed:,} of {outcome.rows:,} rows are annotated in {output}"
    )
    if outcome.damaged:
        msg.fail("Fix the parts above, then run the same command again to add them", exits=1)


def _names(value: str) -> List[str]:
    return [name.strip() for name in value.split(",") if name.strip()]
