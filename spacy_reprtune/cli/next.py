"""`python -m spacy reprtune next`: which texts to annotate next."""

from pathlib import Path
from typing import List, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU


def next_cli(
    model: str = typer.Argument(
        ..., help="Directory or name of a pipeline; with --cold, the name of an encoder"
    ),
    pool: List[Path] = typer.Argument(
        ..., help="Files or folders of Parquet, JSONL, CSV, TSV or txt to choose from"
    ),
    n: int = typer.Option(50, "--n", "-n", help="Texts to choose", min=1),
    format: str = typer.Option(
        "jsonl", "--format", "-f", help="prodigy, doccano, label-studio or jsonl"
    ),
    output: Path = typer.Option(
        Path("next.jsonl"), "--output", "-o", help="File for the annotation tool", dir_okay=False
    ),
    cold: bool = typer.Option(
        False, "--cold", help="There is no pipeline yet: choose typical texts"
    ),
    text: str = typer.Option("text", "--text", "-t", help="Column with the texts"),
    id: Optional[str] = typer.Option(
        None, "--id", help="Column with unique ids  [default: number of the row]"
    ),
    code_path: Optional[Path] = CODE_PATH,
    use_gpu: int = USE_GPU,
) -> None:
    """
    Choose the texts that are worth annotating next, with the pipeline's guesses.

    Of the texts that the pipeline is least sure of, it takes one per cluster of their vectors, but
    no copies or near copies. The file contains the pipeline's own annotation, so that a person only
    has to correct it. Annotate, export, `convert` together with your other data, train, and repeat.
    """
    from spacy.cli._util import import_code, setup_gpu
    from spacy.util import load_model

    from ..annotate.next_texts import choose_first, choose_next, read_pool, without_long_texts
    from ..annotate.tools import TOOLS, write_tasks

    if format not in TOOLS:
        msg.fail(f"--format is {format!r}", f"It can be {', '.join(TOOLS)}.", exits=1)
    import_code(code_path)
    try:
        found = read_pool(pool, text=text, id=id, output=output)
        setup_gpu(use_gpu, silent=True)
        if cold:
            choices = choose_first(model, found.texts, n)
        else:
            nlp = load_model(model)
            found = without_long_texts(nlp, found)
            choices = choose_next(nlp, found.texts, n)
        labels = sorted({label for choice in choices for label in choice.cats})
        write_tasks(choices, output, format, labels)
    except (ValueError, OSError) as error:
        msg.fail("No texts chosen", str(error), exits=1)
    for choice in choices[:5]:
        doubt = "" if choice.doubt is None else f"{choice.doubt:.2f}  "
        msg.text(f"{doubt}{' '.join(choice.text.split())[:90]}")
    if found.copies or found.damaged:
        msg.warn(
            f"Rows left out: {found.copies:,} as copies or near copies, {found.damaged:,} because "
            "their text is missing, blank, too long or not readable, or because they have no id"
        )
    msg.good(f"Chose {len(choices)} of {len(found.texts):,} texts. Saved to {output}")
