"""`python -m spacy reprtune package`: a trained pipeline as a wheel."""

import shlex
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Iterator, Optional

import typer
from wasabi import msg


def package_cli(
    model_dir: Path = typer.Argument(
        ..., help="Directory of the trained pipeline", exists=True, file_okay=False
    ),
    output_dir: Path = typer.Argument(..., help="Directory for the wheels", file_okay=False),
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
        help="With --half or --int8: texts to compare predictions on, a .spacy file or a folder of "
        "them. --int8 also fits the temperature to their annotation, so use dev",
        exists=True,
    ),
    limit: int = typer.Option(500, help="Maximum number of texts of a corpus", min=1),
    runtime: str = typer.Option(
        "torch", help="What encoders run in: torch or onnx (which needs no torch)"
    ),
    int8: bool = typer.Option(False, help="With --runtime onnx: quantize encoders to int8"),
    train: Optional[Path] = typer.Option(
        None, help="With --int8: texts that heads are fitted to, as in --corpus", exists=True
    ),
    insist: bool = typer.Option(
        False, help="Package int8 even if too many decisions differ, or it is not faster"
    ),
) -> None:
    """
    Package a trained pipeline as a wheel, without a network.

    The wheel requires spacy-reprtune. With --source, that wheel is built as well, so the output
    directory has everything that `pip install --no-index --find-links` needs except public
    packages. A README.md in the pipeline's directory (`reprtune card` writes one) and a LICENSE
    are part of the package. The license of the encoder's weights is not added: put it there.
    """
    from ..packaging.wheels import package_pipeline

    try:
        if runtime not in ("torch", "onnx"):
            raise ValueError(f"--runtime {runtime}: use torch or onnx.")
        if int8 and (runtime == "torch" or train is None or corpus is None):
            raise ValueError(
                "--int8 needs --runtime onnx, --train TRAIN.spacy to fit heads to, and --corpus "
                "DEV.spacy to compare decisions on."
            )
        if half is not None and runtime == "onnx":
            raise ValueError("--half is for --runtime torch. For a smaller package, use --int8.")
        if corpus is not None and not (half or int8):
            raise ValueError("--corpus is for --half and --int8: it measures what they change.")
        if not int8 and (insist or train is not None):
            raise ValueError("--train and --insist are for --int8.")
        if runtime == "onnx":
            changed = _in_onnx(model_dir, train if int8 else None, corpus, limit, insist)
        else:
            changed = _halved(model_dir, half, corpus, limit) if half else nullcontext(model_dir)
        with changed as pipeline_dir:
            wheels = package_pipeline(
                pipeline_dir, output_dir, name=name, version=version, source_dir=source
            )
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        msg.fail("Can't package the pipeline", str(error), exits=1)
    for wheel in wheels:
        msg.good(f"{wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
    package = wheels[0].name.split("-")[0]
    msg.text(
        "Where its requirements are installed: pip install --no-index --find-links "
        f"{shlex.quote(str(output_dir))} {package}"
    )


@contextmanager
def _halved(model_dir: Path, half: str, corpus: Optional[Path], limit: int) -> Iterator[Path]:
    from ..data.corpus import read_texts
    from ..packaging.half import describe_agreement, note_in_card, with_half_weights

    texts = read_texts(corpus, limit) if corpus is not None else []
    with with_half_weights(model_dir, half, texts) as (pipeline_dir, measured):
        note_in_card(pipeline_dir, half, measured)
        if measured is None:
            msg.warn(f"The effect of {half} was not measured", "Name a corpus: --corpus TEST.spacy")
        else:
            msg.info(describe_agreement(half, measured))
        yield pipeline_dir


@contextmanager
def _in_onnx(
    model_dir: Path, train: Optional[Path], corpus: Optional[Path], limit: int, insist: bool
) -> Iterator[Path]:
    from ..packaging.half import add_to_card
    from ..packaging.int8 import Int8
    from ..packaging.onnx_package import with_onnx

    int8 = None
    if train is not None and corpus is not None:
        int8 = Int8(train, corpus, limit=limit, insist=insist)
    with with_onnx(model_dir, int8) as (pipeline_dir, report):
        for sentence in report:
            msg.info(sentence)
        add_to_card(pipeline_dir, "ONNX Runtime", " ".join(report))
        yield pipeline_dir
