"""`python -m spacy reprtune package`: a trained pipeline as a wheel."""

from contextlib import nullcontext
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
    half: Optional[str] = typer.Option(
        None, help="Store encoder weights in half the size, fp16 or bf16; they are loaded as fp32"
    ),
    corpus: Optional[Path] = typer.Option(
        None,
        help="With --half: texts to compare predictions on, a .spacy file or a folder of them",
        exists=True,
    ),
    limit: int = typer.Option(500, help="Maximum number of these texts", min=1),
) -> None:
    """
    Package a trained pipeline as a wheel, without a network.

    The wheel requires spacy-reprtune. With --source, that wheel is built as well, so the output
    directory has everything that `pip install --no-index --find-links` needs besides public
    packages. A README.md in the pipeline's directory (`reprtune card` writes one) and a LICENSE
    are part of the package.
    """
    from ..data.corpus import read_texts
    from ..packaging.half import describe_agreement, note_in_card, with_half_weights
    from ..packaging.wheels import package_pipeline

    try:
        texts = read_texts(corpus, limit) if half is not None and corpus is not None else []
        copied = (
            with_half_weights(model_dir, half, texts) if half else nullcontext((model_dir, None))
        )
        with copied as (pipeline_dir, measured):
            if half is not None:
                note_in_card(pipeline_dir, half, measured)
                if measured is None:
                    hint = "Name a corpus: --corpus TEST.spacy"
                    msg.warn(f"The effect of {half} was not measured", hint)
                else:
                    msg.info(describe_agreement(half, measured))
            wheels = package_pipeline(
                pipeline_dir, output_dir, name=name, version=version, source_dir=source
            )
    except (ValueError, RuntimeError) as error:
        msg.fail("Can't package the pipeline", str(error), exits=1)
    for wheel in wheels:
        msg.good(f"{wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
    package = wheels[0].name.split("-")[0]
    msg.text(
        f"Where its requirements are installed: pip install --no-index --find-links {output_dir} "
        f"{package}"
    )
