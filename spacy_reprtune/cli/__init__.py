"""`python -m spacy reprtune …`: one thin function per command over a plain one.

spaCy imports this with every `python -m spacy`, so commands import what they need when they run.
"""

import typer
from spacy.cli._util import app

from .annotate import annotate_cli
from .card import card_cli
from .cascade import cascade_cli
from .check import check_cli
from .convert import convert_cli
from .distill import distill_cli
from .evaluate import evaluate_cli
from .exchange import export_hf_cli, export_setfit_cli, import_hf_cli, import_setfit_cli
from .experiments import learning_curve_cli, sweep_cli
from .explain import explain_cli
from .init_config import init_config_cli
from .mlm import mlm_cli
from .next import next_cli
from .overrides import TAKES_OVERRIDES
from .package import package_cli
from .push import push_cli
from .report import report_cli
from .smoke import smoke_cli
from .threshold import threshold_cli
from .train import train_cli
from .tune import tune_cli

reprtune_cli = typer.Typer(
    name="reprtune",
    help="From your files to a packaged pipeline. In this order: convert, check, init-config, "
    "then `spacy train`, evaluate, report and package. Each command has a --help.",
    no_args_is_help=True,
)
reprtune_cli.command("annotate")(annotate_cli)
reprtune_cli.command("card")(card_cli)
reprtune_cli.command("cascade")(cascade_cli)
reprtune_cli.command("check")(check_cli)
reprtune_cli.command("convert")(convert_cli)
reprtune_cli.command("distill", context_settings=TAKES_OVERRIDES)(distill_cli)
reprtune_cli.command("evaluate")(evaluate_cli)
reprtune_cli.command("explain")(explain_cli)
reprtune_cli.command("init-config")(init_config_cli)
reprtune_cli.command("mlm", context_settings=TAKES_OVERRIDES)(mlm_cli)
reprtune_cli.command("next")(next_cli)
reprtune_cli.command("package")(package_cli)
reprtune_cli.command("push")(push_cli)
reprtune_cli.command("report")(report_cli)
reprtune_cli.command("smoke")(smoke_cli)
reprtune_cli.command("threshold")(threshold_cli)
reprtune_cli.command("train", context_settings=TAKES_OVERRIDES)(train_cli)
reprtune_cli.command("tune", context_settings=TAKES_OVERRIDES)(tune_cli)
reprtune_cli.command("import-hf")(import_hf_cli)
reprtune_cli.command("export-hf")(export_hf_cli)
reprtune_cli.command("import-setfit")(import_setfit_cli)
reprtune_cli.command("export-setfit")(export_setfit_cli)
reprtune_cli.command("sweep", context_settings=TAKES_OVERRIDES)(sweep_cli)
reprtune_cli.command("learning-curve", context_settings=TAKES_OVERRIDES)(learning_curve_cli)

app.add_typer(reprtune_cli, name="reprtune")
