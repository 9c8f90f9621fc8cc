"""`python -m spacy reprtune push`: upload a packaged pipeline to the Hugging Face hub."""

from pathlib import Path
from typing import List, Optional

import typer
from wasabi import msg


def push_cli(
    wheel: Path = typer.Argument(
        ..., help="Wheel of the pipeline, from `reprtune package`", exists=True, dir_okay=False
    ),
    repo: str = typer.Argument(..., help="Repository on the hub: ORGANIZATION/NAME"),
    beside: Optional[List[Path]] = typer.Option(
        None, "--with", help="Another wheel to upload: that of spacy-reprtune", dir_okay=False
    ),
    private: bool = typer.Option(False, "--private", help="Make a new repository private"),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Also empty a repository that is not a spaCy pipeline"
    ),
    message: Optional[str] = typer.Option(None, "--message", help="Message of the commit"),
) -> None:
    """
    Upload a packaged pipeline to the Hugging Face hub, in one commit.

    The repository gets the pipeline's files, with the card that `reprtune card` wrote, and the
    wheel. All other files in the repository are deleted, including those of an earlier version. A
    repository that has files but is not a spaCy pipeline is refused. Log in first:
    `huggingface-cli login`, or HF_TOKEN. HF_ENDPOINT names another hub.
    """
    from ..packaging.push import push_wheel

    try:
        address = push_wheel(
            wheel,
            repo,
            beside=beside or [],
            private=private,
            overwrite=overwrite,
            message=message,
        )
    except (ValueError, OSError) as error:
        msg.fail("Can't push", str(error), exits=1)
    msg.good(f"Pushed {wheel.name} to {repo}: {address}")
