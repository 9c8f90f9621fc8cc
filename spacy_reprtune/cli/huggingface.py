"""`python -m spacy reprtune import-hf` and `export-hf`: fine-tuned Hugging Face models."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def import_hf_cli(
    model: str = typer.Argument(..., help="Directory of a checkpoint, or its id on the hub"),
    output_dir: Path = typer.Argument(..., help="Directory for the pipeline"),
    name: Optional[str] = typer.Option(
        None, "--name", "-n", help="Name of the component  [default: textcat or ner]"
    ),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of the pipeline"),
) -> None:
    """
    Make a spaCy pipeline from a fine-tuned Hugging Face classifier, without training.

    Takes checkpoints for text classification (one label or several per text) and for named
    entities (BIO, IO, BILOU or IOBES labels). Probabilities stay the same.
    """
    from ..exchange.huggingface import import_huggingface
    from ..files import replaced_directory

    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        msg.fail(f"{output_dir} exists and is not empty", "Name a new directory.", exits=1)
    try:
        nlp = import_huggingface(model, component=name, lang=lang)
        with replaced_directory(output_dir) as folder:
            nlp.to_disk(folder)
    except (ValueError, OSError) as error:
        msg.fail("Cannot import this model", str(error), exits=1)
    ((component, pipe),) = nlp.pipeline
    labels = ", ".join(pipe.labels)  # type: ignore[attr-defined]
    msg.good(f"Saved the pipeline to {output_dir}", f"Labels of '{component}': {labels}")


def export_hf_cli(
    model: str = typer.Argument(..., help="Pipeline: a directory or an installed package"),
    output_dir: Path = typer.Argument(..., help="Directory for the checkpoint"),
    name: str = typer.Option(..., "--name", "-n", help="Name of the component"),
) -> None:
    """
    Write a component as a checkpoint that transformers loads without this package.

    Where transformers has no head that computes the same, the message says why, and which settings
    to train with instead.
    """
    from spacy.util import load_model

    from ..exchange.hf_export import export_huggingface

    nlp = load_model(model)
    if name not in nlp.pipe_names:
        found = f"It has {', '.join(nlp.pipe_names)}."
        msg.fail(f"The pipeline has no component '{name}'", found, exits=1)
    try:
        export_huggingface(nlp.get_pipe(name), output_dir)
    except ValueError as error:
        msg.fail("Cannot export this component", str(error), exits=1)
    task = "token" if nlp.get_pipe_meta(name).factory == "reprtune_ner" else "text"
    load = f'transformers.pipeline("{task}-classification", "{output_dir}")'
    msg.good(f"Saved the checkpoint to {output_dir}", load)
    if getattr(nlp.get_pipe(name), "scheme", "bio") != "bio":
        msg.warn(
            "Its tags are BILOU, and transformers groups only B and I.",
            'Use aggregation_strategy="none", or train with scheme = "bio".',
        )
