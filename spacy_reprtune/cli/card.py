"""`python -m spacy reprtune card`: a README for a trained pipeline."""

import shutil
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def card_cli(
    model_dir: Path = typer.Argument(
        ..., help="Directory of the trained pipeline", exists=True, file_okay=False
    ),
    metrics: Optional[Path] = typer.Option(
        None,
        "--metrics",
        "-m",
        help="Scores of the test set, as `reprtune evaluate` writes them, with predictions beside "
        "them, or `spacy evaluate --output`, without",
        exists=True,
        dir_okay=False,
    ),
    manifest: Optional[Path] = typer.Option(
        None, "--manifest", help="manifest.json of the corpus, or its folder", exists=True
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        help="Directory for a copy of the pipeline with the card; an earlier pipeline is replaced "
        " [default: the card is written into MODEL_DIR]",
        file_okay=False,
    ),
    name: Optional[str] = typer.Option(
        None, "--name", help="Name of the package, without the language code"
    ),
    version: Optional[str] = typer.Option(None, "--version", help="Version of the package"),
    description: Optional[str] = typer.Option(
        None, "--description", help="One sentence about the pipeline"
    ),
    author: Optional[str] = typer.Option(None, "--author", help="Author of the pipeline"),
    license: Optional[str] = typer.Option(
        None, "--license", help="License of the pipeline, as the hub names it: mit, cc-by-4.0"
    ),
    data_name: Optional[str] = typer.Option(None, "--data-name", help="Name of the data"),
    data_license: Optional[str] = typer.Option(None, "--data-license", help="License of the data"),
    repo: Optional[str] = typer.Option(
        None, "--repo", help="Future repository on the Hugging Face hub: ORGANIZATION/NAME"
    ),
) -> None:
    """
    Write a model card (README.md) for a trained pipeline.

    The card has labels, test scores with intervals, data, encoder, freezing, calibration, license
    and versions, and says how to load the pipeline. Unknown facts are marked as missing. `spacy
    package` and `reprtune package` put the card into the package, `reprtune push` onto the hub.
    meta.json gets the test scores as its performance.
    """
    from ..files import replaced_directory
    from ..packaging.wheels import check_name
    from ..reporting.card import write_card
    from ..reporting.card_facts import add_manifest, add_scores, read_pipeline

    try:
        facts = read_pipeline(model_dir)
        if name is not None or version is not None:
            check_name(name or "x", facts.meta["lang"], version or "0.0.0")
        keys = ("name", "version", "description", "author", "license")
        given = zip(keys, (name, version, description, author, license), strict=True)
        facts.meta.update({key: value for key, value in given if value is not None})
        facts.data_name, facts.data_license, facts.repo = data_name, data_license, repo
        if metrics is not None:
            add_scores(facts, metrics)
        if manifest is not None:
            add_manifest(facts, manifest)
        if output is None:
            path = write_card(model_dir, facts)
        else:
            _check_output(output, model_dir)
            with replaced_directory(output) as folder:
                shutil.copytree(model_dir, folder, dirs_exist_ok=True)
                write_card(folder, facts)
            path = output / "README.md"
    except (ValueError, OSError) as error:
        msg.fail("Can't write a card", str(error), exits=1)
    if facts.scores is None:
        msg.warn("The card has no test scores", "Name a file: --metrics metrics/RECIPE.json")
    elif facts.no_intervals:
        msg.warn("The card's scores have no intervals", facts.no_intervals)
    msg.good(f"Wrote {path}")


def _check_output(output: Path, model_dir: Path) -> None:
    """Refuse to replace anything but an earlier copy."""
    source, target = model_dir.resolve(), output.resolve()
    if target == source:
        raise ValueError("--output names MODEL_DIR itself. Leave it out.")
    wrong, remedy = "", "Name a new directory."
    if target in source.parents:
        wrong = "holds MODEL_DIR, which would be deleted."
    elif source in target.parents:
        wrong, remedy = "is inside of MODEL_DIR.", "Name a directory outside of it."
    elif target.is_dir() and any(target.iterdir()) and not (target / "meta.json").is_file():
        wrong = "exists and is not a pipeline: it has files, but no meta.json."
        remedy = "Name a new or empty directory, or move its files away."
    if wrong:
        raise ValueError(f"--output {output} {wrong} {remedy}")
