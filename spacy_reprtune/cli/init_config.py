"""`python -m spacy reprtune init-config`: the recipe that fits, as a complete config."""

import sys
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def init_config_cli(
    output: Path = typer.Argument(..., help="Config file to write", dir_okay=False),
    data: Optional[Path] = typer.Option(
        None, "--data", "-d", help="Folder with train.spacy and dev.spacy; asked for if left out"
    ),
    minutes: Optional[float] = typer.Option(
        None, "--minutes", "-m", help="How long training may take; asked for if left out"
    ),
    device: Optional[str] = typer.Option(
        None, "--device", help="auto, cpu, cuda, mps; asked for if left out"
    ),
    encoder: Optional[str] = typer.Option(
        None, "--encoder", "-e", help="Hub id, directory or package:…  [default: the recipe's]"
    ),
    text: Optional[Path] = typer.Option(
        None, "--text", "-t", help="Text of the same kind, for pretraining first"
    ),
    recipe: Optional[str] = typer.Option(
        None, "--recipe", "-r", help="frozen, setfit, last-blocks or joint  [default: what fits]"
    ),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of the pipeline"),
    recipes: Optional[Path] = typer.Option(
        None, "--recipes", help="Folder of configs to choose from  [default: the shipped ones]"
    ),
    curve: Path = typer.Option(
        Path("metrics/sweep.json"),
        "--curve",
        help="What `reprtune sweep` measured, cited if it is there",
    ),
    force: bool = typer.Option(False, "--force", "-F", help="Replace the file if it exists"),
) -> None:
    """
    Write the config that fits your data, machine and time.

    Looks at the corpus, times the encoder for three seconds, chooses between a solved head on the
    frozen encoder, SetFit, the last blocks and joint fine-tuning, and says why. The config is
    complete and commented; the command that trains it is printed.
    """
    from ..data.advise import advise

    if output.exists() and not force:
        msg.fail(f"{output} exists", "Name another file, or replace it with --force.", exits=1)
    data = data or Path(_ask("Folder of the corpus", None, "--data"))
    minutes = minutes if minutes is not None else float(_ask("Minutes for training", "20", "-m"))
    device = device or _ask("Device: auto, cpu, cuda, mps", "auto", "--device")
    try:
        advice = advise(
            data,
            minutes=minutes,
            device=device,
            encoder=encoder,
            text=text,
            lang=lang,
            recipe=recipe,
            recipes=recipes,
            curve=curve,
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot choose a recipe", str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(advice.config.replace("THIS_FILE", output.as_posix()), encoding="utf8")
    msg.text(advice.why)
    for warning in advice.warnings:
        msg.warn(warning)
    if advice.warnings:
        msg.info("`spacy reprtune check` shows where.")
    msg.good(f"Saved {output}")
    command = f"python -m spacy train {output.as_posix()} --output training/{advice.recipe}"
    msg.text(f"Now: {command}")


def _ask(question: str, default: Optional[str], option: str) -> str:
    """Ask who sits at the terminal; elsewhere take the default."""
    if sys.stdin is not None and sys.stdin.isatty():
        return typer.prompt(question, default=default)
    if default is None:
        msg.fail(f"{question} is needed", f"Name it: {option}", exits=1)
    return default
