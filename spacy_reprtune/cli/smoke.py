"""`python -m spacy reprtune smoke`: test a packaged pipeline in a fresh environment."""

import json
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def smoke_cli(
    wheel_dir: Path = typer.Argument(
        ...,
        help="Directory with the wheels of the pipeline and of spacy-reprtune",
        exists=True,
        file_okay=False,
    ),
    model_dir: Path = typer.Argument(
        ..., help="Directory of the trained pipeline", exists=True, file_okay=False
    ),
    corpus: Path = typer.Argument(
        ..., help="Texts to predict, a .spacy file or a folder of them", exists=True
    ),
    output: Path = typer.Option(..., help="JSON file for the result"),
    name: str = typer.Option(
        ..., help="The pipeline's package, with language and version: en_textcat-0.1.0"
    ),
    limit: int = typer.Option(64, help="Maximum number of texts", min=1),
    tolerance: Optional[float] = typer.Option(
        None,
        help="Largest difference between two scores  [default: 0.0001; 0.02 for a package in fp16, "
        "0.1 in bf16, 0.2 in int8]",
        min=0.0,
    ),
    min_equal: Optional[float] = typer.Option(
        None,
        help="Share of texts that must get the same annotation  [default: 1; 0.98 for a package in "
        "fp16, 0.9 in bf16 and int8]",
        min=0.0,
        max=1.0,
    ),
) -> None:
    """
    Install the wheels into a fresh environment, offline, and compare predictions.

    Fails if the installed pipeline does not load without a network, or if its predictions differ
    from those of the trained one. A package in half precision may differ as far as rounding
    can explain.
    """
    from .. import __version__
    from ..data.corpus import read_texts
    from ..packaging.smoke import smoke_test

    stems = (name, f"spacy_reprtune-{__version__}")
    wheels = [wheel for stem in stems for wheel in wheel_dir.glob(f"{stem}-*.whl")]
    if len(wheels) != 2:
        found = ", ".join(path.name for path in sorted(wheel_dir.glob("*.whl"))) or "none"
        msg.fail(
            f"Expected wheels of {' and '.join(stems)} in {wheel_dir}", f"Found: {found}", exits=1
        )
    failed = "Can't read the texts"
    try:
        texts = read_texts(corpus, limit)
        failed = "Can't run the trained pipeline"
        result = smoke_test(wheels, model_dir, texts, tolerance=tolerance, min_equal=min_equal)
    except RuntimeError as error:
        msg.fail("The packaged pipeline does not work elsewhere", str(error), exits=1)
    except ValueError as error:
        msg.fail(failed, str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2), encoding="utf8")
    msg.good(
        f"{result['pipeline']} {result['version']} ({result['weights']}) installed and loaded "
        f"offline, {result['texts']} texts, {result['equal_predictions']:.1%} with the "
        f"same annotation, largest difference {result['largest_difference']:.2g}"
    )
