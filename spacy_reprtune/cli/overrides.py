"""Overrides of config settings on the command line, the same for all commands that take them."""

from typing import Any, Dict

import typer
from wasabi import msg

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
