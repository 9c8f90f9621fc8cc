"""A pytest plugin that puts the components of this package in the place of spaCy's.

Under it, `nlp.add_pipe("textcat")` in spaCy's own tests adds a `reprtune_textcat` on a tiny
encoder, and so on, by name and from configs. The `model` of a stock component is left out. Which
tests used a stand-in, and how each of them ended, is written to the file that the environment
variable REPRTUNE_CONFORMANCE names.
"""

import functools
import json
import os
import sys
from pathlib import Path

import pytest
from spacy.language import Language

sys.path.insert(0, str(Path(__file__).parents[1]))

STAND_INS = {
    "textcat": ("reprtune_textcat", "TextClassifier"),
    "textcat_multilabel": ("reprtune_textcat_multilabel", "TextClassifier"),
    "ner": ("reprtune_ner", "TokenClassifier"),
}
# Settings that mean the same in both.
SHARED_SETTINGS = {
    "textcat": {"threshold", "scorer"},
    "textcat_multilabel": {"threshold", "scorer"},
}

used = set()
running = [""]
ended = {}


@pytest.fixture(scope="session", autouse=True)
def stand_ins(tmp_path_factory):
    """Replace the factories for all tests."""
    from conftest import save_encoder

    encoder = save_encoder(tmp_path_factory.mktemp("conformance") / "bert")
    stock = Language.create_pipe

    @functools.wraps(stock)
    def create_pipe(self, factory_name, name=None, **settings):
        if factory_name in STAND_INS:
            used.add(running[0])
            ours, head = STAND_INS[factory_name]
            given = settings.get("config") or {}
            kept = {k: v for k, v in given.items() if k in SHARED_SETTINGS.get(factory_name, ())}
            kept["model"] = {
                "@architectures": f"spacy_reprtune.{head}.v1",
                "encoder": {
                    "@architectures": "spacy_reprtune.Encoder.v1",
                    "name": str(encoder),
                    "precision": "fp32",
                },
                # The tests train for 50 steps at the rates of stock components.
                "head_lr": 5.0,
            }
            settings = {**settings, "config": kept, "raw_config": None}
            return stock(self, ours, name or factory_name, **settings)
        return stock(self, factory_name, name, **settings)

    Language.create_pipe = create_pipe
    yield
    Language.create_pipe = stock


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    running[0] = item.nodeid


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome == "failed":
        lines = str(report.longrepr).splitlines() if report.outcome == "failed" else [""]
        errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
        ended[report.nodeid] = [report.outcome, (errors or lines)[-1 if not errors else 0][:200]]


def pytest_sessionfinish():
    rows = {_name(test): ended[test] for test in sorted(used) if test in ended}
    Path(os.environ["REPRTUNE_CONFORMANCE"]).write_text(json.dumps(rows, indent=1), "utf8")


def _name(nodeid):
    return (
        nodeid[nodeid.rindex("spacy/tests/") + len("spacy/tests/") :]
        if ("spacy/tests/" in nodeid)
        else nodeid
    )
