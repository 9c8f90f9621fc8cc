"""`python -m spacy reprtune mlm`: domain-adaptive pretraining."""

import os
from pathlib import Path
from typing import Optional

import typer
from wasabi import msg

from .overrides import USE_GPU, config_overrides


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
    judge: Optional[Path] = typer.Option(
        None,
        "--judge",
        help="Docs with categories or entities, .spacy: a probe on them decides which encoder is "
        "kept, the adapted or the original one",
    ),
    judge_recipe: Optional[Path] = typer.Option(
        None,
        "--judge-recipe",
        help="Training config: trained on halves of the judge's docs at the end, with the original "
        "and with the adapted encoder, it decides instead",
    ),
    fresh: bool = typer.Option(
        False, "--fresh", help="Start over instead of resuming from the last checkpoint"
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print no progress bar"),
    use_gpu: int = USE_GPU,
) -> None:
    """
    Pretrain an encoder further, on your own text.

    Masked-language-model pretraining; with --training.objective tsdae, texts are restored from
    their vectors instead. Writes an encoder directory that every recipe accepts as the name of its
    encoder. After an interruption, the same command resumes from the last checkpoint and ends with
    the same weights. Settings of the config can be overridden as with `spacy train`, for example
    --corpus.train FILE. For several processes, start it with `torchrun -m spacy reprtune mlm`.
    """
    from spacy.cli._util import setup_gpu

    from ..pretraining.judge import verdict
    from ..pretraining.report import perplexity
    from ..pretraining.run import pretrain
    from ..pretraining.settings import read_settings

    overrides = config_overrides(ctx)
    if texts is not None:
        overrides["corpus.train"] = str(texts)
    if judge is not None:
        overrides["judge.corpus"] = str(judge)
    if judge_recipe is not None:
        overrides["judge.recipe"] = str(judge_recipe)
    setup_gpu(use_gpu, silent=quiet)
    try:
        settings = read_settings(config_path, overrides)
        report = pretrain(settings, output, fresh=fresh, progress=not quiet)
    except ValueError as error:
        msg.fail("Cannot pretrain", str(error), exits=1)
    # torchrun and accelerate set it; the other processes have the same report.
    if os.environ.get("RANK", "0") != "0":
        return
    rows = []
    for name, label in (("heldout", "held-out text"), ("general", "general sample")):
        losses = [report[moment].get(name) for moment in ("before", "after")]
        if None not in losses:
            numbers = [f"{loss:.4f}" for loss in losses]
            numbers += [f"{perplexity(loss):.2f}" for loss in losses]
            rows.append((label, *numbers))
    header = ("", "loss before", "after", "perplexity before", "after")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    for row in report["fill_mask"]:
        msg.text(f"{row['sentence']}  {', '.join(row['before'])}  ->  {', '.join(row['after'])}")
    if report.get("judge"):
        msg.info(verdict(report["judge"]))
    excluded = report["corpus"]["excluded"]
    if excluded:
        msg.info(f"Left out {excluded} texts that overlap with excluded ones.")
    msg.good(f"Wrote the encoder to {output / 'encoder'}, the report to {output / 'report.md'}")
