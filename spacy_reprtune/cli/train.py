"""`python -m spacy reprtune train`: `spacy train`, which resumes after a kill."""

from pathlib import Path
from typing import Any, Dict, Optional

import typer
from wasabi import msg

from .overrides import CODE_PATH, USE_GPU, config_overrides


def train_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(
        ..., help="Training config", exists=True, allow_dash=True, dir_okay=False
    ),
    output_path: Path = typer.Option(
        ...,
        "--output",
        "--output-path",
        "-o",
        help="Directory for model-last, model-best and, until the end, training-state",
        file_okay=False,
    ),
    code_path: Optional[Path] = CODE_PATH,
    verbose: bool = typer.Option(False, "--verbose", "-V", "-VV", help="Print debug messages"),
    use_gpu: int = USE_GPU,
) -> None:
    """
    Train as `spacy train` does, and resume after an interruption.

    With each evaluation, optimizer state, schedules, random states and the position in the data are
    saved beside model-last. After an interruption, the same command resumes from there. On a CPU,
    it ends with the same weights and scores as an unbroken training. model-last and model-best are
    replaced as a whole. Settings of the config can be overridden as with `spacy train`, for example
    --paths.train FILE.
    """
    import logging

    from spacy.cli._util import import_code
    from spacy.util import logger

    if verbose:
        logger.setLevel(logging.DEBUG)
    overrides = config_overrides(ctx)
    import_code(code_path)
    run_training(config_path, output_path, overrides, use_gpu)


def run_training(
    config_path: Path, output_path: Path, overrides: Dict[str, Any], use_gpu: int
) -> None:
    """Train, or resume a training, and say so on the terminal.

    config_path (Path): The training config.
    output_path (Path): Directory for model-last, model-best and training-state.
    overrides (Dict[str, Any]): Settings of the config to override, by "section.name".
    use_gpu (int): GPU ID, or -1 for the CPU.
    """
    import sys

    from spacy.cli._util import setup_gpu, show_validation_error
    from spacy.training.initialize import init_nlp
    from spacy.util import load_config

    from ..training.checkpoint import Checkpoint
    from ..training.full_config import full_config
    from ..training.resume import STATE, train
    from ..training.state import check_resumable

    if not output_path.exists():
        output_path.mkdir(parents=True)
        msg.good(f"Created output directory: {output_path}")
    msg.info(f"Saving to output directory: {output_path}")
    setup_gpu(use_gpu)
    with show_validation_error(config_path):
        config = load_config(config_path, overrides=overrides, interpolate=False)
    with show_validation_error(config_path, hint_fill=False):
        full = full_config(config)
    try:
        checkpoint = Checkpoint(output_path / STATE, full)
    except ValueError as error:
        msg.fail("Cannot resume the training", str(error), exits=1)
    msg.divider("Initializing pipeline")
    with show_validation_error(config_path, hint_fill=False):
        nlp = init_nlp(config, use_gpu=use_gpu)
    msg.good("Initialized pipeline")
    try:
        check_resumable(nlp, full["training"]["frozen_components"])
    except ValueError as error:
        msg.fail("Cannot train", str(error), exits=1)
    msg.divider("Training pipeline")
    train(nlp, output_path, checkpoint, use_gpu=use_gpu, stdout=sys.stdout, stderr=sys.stderr)
