"""`python -m spacy reprtune init-config`: the config of the recipe that fits."""

import shlex
import sys
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

_SWEEP = Path("metrics/sweep.json")


def init_config_cli(
    output: Path = typer.Argument(..., help="Config file to write", dir_okay=False),
    data: Optional[Path] = typer.Option(
        None, "--data", "-d", help="Folder with train.spacy and dev.spacy; asked for if left out"
    ),
    minutes: Optional[float] = typer.Option(
        None, "--minutes", "-m", help="How long training may take  [default: no limit]"
    ),
    device: Optional[str] = typer.Option(
        None, "--device", help="auto, cpu, cuda, cuda:1, mps; asked for if left out"
    ),
    encoder: Optional[str] = typer.Option(
        None, "--encoder", "-e", help="Hub id, directory or package:…  [default: the recipe's]"
    ),
    text: Optional[Path] = typer.Option(
        None, "--text", "-t", help="Text of the same kind, for pretraining first"
    ),
    recipe: Optional[str] = typer.Option(
        None,
        "--recipe",
        "-r",
        help="frozen, setfit, last-blocks, joint or multitask; sentences or overlapping for spans  "
        "[default: what fits]",
    ),
    task: Optional[str] = typer.Option(
        None,
        "--task",
        help="labels, entities, both or spans, where the texts have several of them  "
        "[default: labels and entities, or spans where there are neither]",
    ),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of the pipeline"),
    recipes: Optional[Path] = typer.Option(
        None,
        "--recipes",
        help="Folder of configs to choose from  [default: the shipped ones]",
        exists=True,
        file_okay=False,
    ),
    curve: Optional[Path] = typer.Option(
        None,
        "--curve",
        help=f"What `reprtune sweep` measured, to cite  [default: {_SWEEP}, if it is there]",
        exists=True,
        dir_okay=False,
    ),
    force: bool = typer.Option(False, "--force", "-F", help="Replace the file if it exists"),
) -> None:
    """
    Write the config that fits your data, and your time if you limit it.

    Looks at the corpus, times the encoder for three seconds, chooses between a probe on the frozen
    encoder, SetFit, the last blocks and joint fine-tuning, and says why. Groups of `doc.spans` are
    classified if they are sentences, and found like entities otherwise. Without --minutes, only
    the data decides. The config is commented, and the command that trains it is printed.
    """
    from ..data.advise import advise

    if output.exists() and not force:
        msg.fail(f"{output} exists", "Name another file, or replace it with --force.", exits=1)
    if data is None:
        data = Path(_ask("Folder of the corpus", None, "--data"))
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
            task=task,
            recipes=recipes,
            curve=curve or _SWEEP,
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot choose a recipe", str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    config = shlex.quote(output.as_posix())
    output.write_text(advice.config.replace("THIS_FILE", config), encoding="utf8")
    msg.text(advice.why)
    for warning in advice.warnings:
        msg.warn(warning)
    if advice.warnings:
        msg.info("`spacy reprtune check` shows where.")
    msg.good(f"Saved {output}")
    msg.text(f"Now: python -m spacy train {config} --output training/{advice.recipe}")


def _ask(question: str, default: Optional[str], option: str) -> str:
    """Ask the person at the terminal; without a terminal, take the default."""
    if sys.stdin is not None and sys.stdin.isatty():
        return typer.prompt(question, default=default)
    if default is None:
        msg.fail(f"{question} is needed", f"Name it: {option}", exits=1)
    return default
