"""`python -m spacy reprtune import-hf`, `export-hf`, `import-setfit` and `export-setfit`."""

from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import typer
from wasabi import msg

_MODEL = typer.Argument(..., help="Pipeline: a directory or an installed package")
_LANG = typer.Option("en", "--lang", "-l", help="Language of the pipeline")


def import_hf_cli(
    model: str = typer.Argument(..., help="Directory of a checkpoint, or its id on the hub"),
    output_dir: Path = typer.Argument(..., help="Directory for the pipeline"),
    name: Optional[str] = typer.Option(
        None, "--name", "-n", help="Name of the component  [default: textcat or ner]"
    ),
    lang: str = _LANG,
) -> None:
    """
    Make a spaCy pipeline from a fine-tuned Hugging Face classifier, without training.

    Takes checkpoints for text classification (one label or several per text) and for named
    entities (BIO, IO, BILOU, IOBES or BMES labels). Probabilities stay the same.
    """
    from ..exchange.huggingface import import_huggingface

    _import(partial(import_huggingface, model, component=name, lang=lang), output_dir)


def import_setfit_cli(
    model_dir: Path = typer.Argument(
        ..., help="Directory that SetFitModel.save_pretrained wrote", exists=True, file_okay=False
    ),
    output_dir: Path = typer.Argument(..., help="Directory for the pipeline"),
    name: str = typer.Option("textcat", "--name", "-n", help="Name of the component"),
    lang: str = _LANG,
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

    load = partial(import_setfit, model_dir, trust_pickle=trust_pickle, name=name, lang=lang)
    _import(load, output_dir)


def export_hf_cli(
    model: str = _MODEL,
    output_dir: Path = typer.Argument(..., help="Directory for the checkpoint"),
    name: str = typer.Option(..., "--name", "-n", help="Name of the component"),
) -> None:
    """
    Write a component as a checkpoint that transformers loads without this package.

    Where transformers has no head that computes the same, the message says why, and which settings
    to train with instead.
    """
    from ..exchange.hf_export import export_huggingface

    pipe = _export(export_huggingface, model, name, output_dir)
    task = "text" if hasattr(pipe, "exclusive") else "token"
    load = f'transformers.pipeline("{task}-classification", "{output_dir}")'
    msg.good(f"Saved the checkpoint to {output_dir}", load)
    if getattr(pipe, "scheme", "bio") != "bio":
        msg.warn(
            "Its tags are BILOU, and transformers groups only B and I.",
            'Use aggregation_strategy="none", or train with scheme = "bio".',
        )


def export_setfit_cli(
    model: str = _MODEL,
    output_dir: Path = typer.Argument(..., help="Directory for the setfit model"),
    name: str = typer.Option("textcat", "--name", "-n", help="Name of the component"),
) -> None:
    """
    Write a reprtune_setfit component as a model of the setfit library.

    The head of the result is a pickle, because the library reads no other format.
    """
    from ..exchange.setfit import export_setfit

    _export(export_setfit, model, name, output_dir)
    msg.good(
        f"Saved the setfit model to {output_dir}", "Its head is a pickle, as the library's are."
    )


def _import(load: Callable[[], Any], output_dir: Path) -> None:
    from ..files import replaced_directory

    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        msg.fail(f"{output_dir} exists and is not empty", "Name a new directory.", exits=1)
    try:
        nlp = load()
        with replaced_directory(output_dir) as folder:
            nlp.to_disk(folder)
    except (ValueError, OSError) as error:
        msg.fail("Cannot import this model", str(error), exits=1)
    ((name, pipe),) = nlp.pipeline
    labels = f"Labels of '{name}': {', '.join(pipe.labels)}"
    msg.good(f"Saved the pipeline to {output_dir}", labels)


def _export(export: Any, model: str, name: str, output_dir: Path) -> Any:
    from spacy.util import load_model

    try:
        nlp = load_model(model)
    except (ValueError, OSError) as error:
        msg.fail("Cannot load the pipeline", str(error), exits=1)
    if name not in nlp.pipe_names:
        found = f"It has {', '.join(nlp.pipe_names)}."
        msg.fail(f"The pipeline has no component '{name}'", found, exits=1)
    pipe = nlp.get_pipe(name)
    try:
        export(pipe, output_dir)
    except ValueError as error:
        msg.fail("Cannot export this component", str(error), exits=1)
    return pipe
