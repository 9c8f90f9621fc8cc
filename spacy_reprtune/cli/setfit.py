"""`python -m spacy reprtune import-setfit` and `export-setfit`: models of the setfit library."""

from pathlib import Path

import typer
from wasabi import msg


def import_setfit_cli(
    model_dir: Path = typer.Argument(
        ..., help="Directory that SetFitModel.save_pretrained wrote", exists=True, file_okay=False
    ),
    output_dir: Path = typer.Argument(..., help="Directory for the pipeline"),
    name: str = typer.Option("textcat", "--name", "-n", help="Name of the component"),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of the pipeline"),
    trust_pickle: bool = typer.Option(
        False,
        "--trust-pickle",
        help="Load the model's head, a pickle, which runs any code that its author put into it",
    ),
) -> None:
    """
    Make a spaCy pipeline from a model of the setfit library.

    Vectors and probabilities stay the same; the pipeline has no pickle.
    """
    from ..exchange.setfit import import_setfit

    try:
        nlp = import_setfit(model_dir, trust_pickle=trust_pickle, name=name, lang=lang)
    except ValueError as error:
        msg.fail("Cannot import this model", str(error), exits=1)
    nlp.to_disk(output_dir)
    labels = ", ".join(nlp.get_pipe(name).labels)
    msg.good(f"Saved the pipeline to {output_dir}", f"Labels: {labels}")


def export_setfit_cli(
    model: str = typer.Argument(..., help="Pipeline: a directory or an installed package"),
    output_dir: Path = typer.Argument(..., help="Directory for the setfit model"),
    name: str = typer.Option("textcat", "--name", "-n", help="Name of the component"),
) -> None:
    """
    Write a reprtune_setfit component as a model of the setfit library.

    The head of the result is a pickle, because the library reads no other format.
    """
    from spacy.util import load_model

    from ..exchange.setfit import export_setfit

    nlp = load_model(model)
    if name not in nlp.pipe_names:
        msg.fail(
            f"The pipeline has no component '{name}'",
            f"It has {', '.join(nlp.pipe_names)}.",
            exits=1,
        )
    try:
        export_setfit(nlp.get_pipe(name), output_dir)  # type: ignore[arg-type]
    except ValueError as error:
        msg.fail("Cannot export this component", str(error), exits=1)
    msg.good(
        f"Saved the setfit model to {output_dir}", "Its head is a pickle, as the library's are."
    )
