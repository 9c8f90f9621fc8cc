"""Options and overrides of config settings that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

import typer
from wasabi import msg

if TYPE_CHECKING:
    from thinc.api import Config

CODE_PATH = typer.Option(
    None, "--code", "-c", help="Python file with registered functions to import"
)
USE_GPU = typer.Option(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU")
REPLACE = typer.Option(
    False, "--replace", help="Replace the results of another config or other data"
)
# For `Typer.command`: leave unknown options to `config_overrides`.
TAKES_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def config_overrides(ctx: typer.Context) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Values by "section.name", as `spacy train` reads them."""
    from click import ClickException
    from spacy.cli._util import parse_config_overrides

    try:
        return parse_config_overrides(ctx.args)
    except ClickException as error:
        # Recent versions of typer have a copy of click and do not know spaCy's errors.
        hint = "Settings of the config are overridden with --section.name VALUE."
        msg.fail(error.format_message(), hint, exits=1)


def experiment_config(
    ctx: typer.Context, config_path: Path, code_path: Optional[Path], use_gpu: int
) -> "Tuple[Config, Dict[str, Any]]":
    """Prepare an experiment that trains a config many times.

    RETURNS (Tuple[Config, Dict[str, Any]]): The config with the overrides of the command line, not
        interpolated, and these overrides.
    """
    from spacy.cli._util import import_code, setup_gpu, show_validation_error
    from spacy.util import load_config

    overrides = config_overrides(ctx)
    import_code(code_path)
    setup_gpu(use_gpu)
    with show_validation_error(config_path):
        return load_config(config_path, overrides=overrides, interpolate=False), overrides
