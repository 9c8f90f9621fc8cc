"""`python -m spacy reprtune package`: a trained pipeline as a wheel."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def package_cli(
    model_dir: Path = typer.Argument(
        ..., help="Directory of the trained pipeline", exists=True, file_okay=False
    ),
    output_dir: Path = typer.Argument(..., help="Directory for the wheels"),
    name: str = typer.Option(..., help="Name of the package, without the language code"),
    version: str = typer.Option("0.0.0", help="Version of the package"),
    source: Optional[Path] = typer.Option(
        None,
        help="Source directory of spacy-reprtune, to put its wheel beside the pipeline's",
        exists=True,
        file_okay=False,
    ),
) -> None:
    """
    Package a trained pipeline as a wheel, without a network.

    The wheel requires spacy-reprtune; with --source, that wheel is built as well, so that the
    output directory has all that `pip install --no-index --find-links` needs besides public
    packages.
    """
    from ..packaging.wheels import package_pipeline

    try:
        wheels = package_pipeline(
            model_dir, output_dir, name=name, version=version, source_dir=source
        )
    except (ValueError, RuntimeError) as error:
        msg.fail("Can't package the pipeline", str(error), exits=1)
    for wheel in wheels:
        msg.good(f"{wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
