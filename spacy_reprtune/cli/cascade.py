"""`python -m spacy reprtune cascade`: two trained text classifiers in one component."""

from pathlib import Path

import typer
from wasabi import msg


def cascade_cli(
    small: str = typer.Argument(..., help="Directory or name of the fast pipeline"),
    large: str = typer.Argument(..., help="Directory or name of the accurate pipeline"),
    dev: Path = typer.Option(
        ..., "--dev", help="Annotated docs to fit the threshold on, .spacy", exists=True
    ),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Directory for the pipeline", file_okay=False
    ),
    keep: float = typer.Option(
        0.99, "--keep", help="Share of the large classifier's score on dev to keep"
    ),
) -> None:
    """
    Put a fast text classifier before an accurate one.

    The fast one answers if it is certain, and the accurate one answers the rest.
    doc._.reprtune_answered_by says which one did. The certainty that is needed is fitted on dev, so
    that --keep holds there. Both need the same labels, and neither is changed.
    """
    from spacy.training import Corpus

    from ..components.cascade_pipe import Cascade
    from ..distill.assemble import assemble_cascade

    try:
        nlp = assemble_cascade(small, large, keep=keep)
        cascade = next(pipe for _, pipe in nlp.pipeline if isinstance(pipe, Cascade))
        examples = list(Corpus(dev)(nlp))
        if not any(cascade.large.is_answered(eg.reference.cats) for eg in examples):
            raise ValueError(
                f"None of the {len(examples)} docs in {dev} has categories of the classifiers "
                f"({', '.join(cascade.labels)}), so no threshold can be fitted."
            )
        cascade.calibrate(examples)
    except (ValueError, OSError) as error:
        msg.fail("No cascade", str(error), exits=1)
    nlp.to_disk(output)
    if cascade.threshold is None:
        msg.warn(
            "The large classifier answers everything",
            f"No threshold keeps {keep:.1%} of its score on dev.",
        )
    else:
        msg.info(
            "The small classifier answers where its certainty is at least "
            f"{cascade.threshold:.3f}: {cascade.cfg['early']:.1%} of dev, at "
            f"{cascade.cfg['kept']:.1%} of the score"
        )
    msg.good(f"The cascade is in {output}")
