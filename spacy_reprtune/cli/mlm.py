"""`python -m spacy reprtune mlm`: domain-adaptive pretraining."""

from pathlib import Path
from typing import Optional

import typer
from wasabi import msg


def mlm_cli(
    ctx: typer.Context,
    config_path: Path = typer.Argument(
        ..., help="Pretraining config, such as configs/mlm.cfg", exists=True, dir_okay=False
    ),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Directory of the run; gets encoder/, report and checkpoints"
    ),
    texts: Optional[Path] = typer.Option(
        None, "--from", help="Train on the texts of this file, such as corpus/train.spacy"
    ),
    fresh: bool = typer.Option(
        False, "--fresh", help="Start over instead of going on from the last checkpoint"
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print no progress bar"),
) -> None:
    """
    Pretrain an encoder further, on your own text.

    Masked-language-model pretraining. Writes an encoder directory that any recipe takes by its
    name. The same command goes on where it was stopped, and ends with the same weights. Settings of
    the config can be overridden as with `spacy train`, for example --corpus.train FILE.
    """
    from ..pretraining.report import perplexity
    from ..pretraining.run import pretrain
    from ..pretraining.settings import parse_overrides, read_settings

    try:
        overrides = parse_overrides(ctx.args)
        if texts is not None:
            overrides["corpus.train"] = str(texts)
        settings = read_settings(config_path, overrides)
        report = pretrain(settings, output, fresh=fresh, progress=not quiet)
    except ValueError as error:
        msg.fail("Cannot pretrain", str(error), exits=1)
    rows = [
        (label, f"{before:.4f}", f"{after:.4f}", f"{perplexity(before):.2f}",
         f"{perplexity(after):.2f}")
        for label, before, after in (
            (label, report["before"].get(name), report["after"].get(name))
            for name, label in (("heldout", "held-out text"), ("general", "general sample"))
        )
        if before is not None
    ]  # fmt: skip
    header = ("", "loss before", "after", "perplexity before", "after")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    for row in report["fill_mask"]:
        msg.text(f"{row['sentence']}  {', '.join(row['before'])}  ->  {', '.join(row['after'])}")
    excluded = report["corpus"]["excluded"]
    if excluded:
        msg.info(f"Left out {excluded} texts that overlap with excluded ones.")
    msg.good(f"Wrote the encoder to {output / 'encoder'}, the report to {output / 'report.md'}")
