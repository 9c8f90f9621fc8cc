"""A pytest plugin that runs spaCy's own tests with the components of this package.

Whenever a test creates `textcat`, `textcat_multilabel`, `ner` or `tok2vec`, it gets the component
of this package that stands for it, on a tiny random encoder. Everything else stays spaCy's. The
outcomes of the tests in which that happened are written to the file `CONFORMANCE_RESULTS`.
"""

import inspect
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Dict, Iterator, Optional, Set

import pytest
import torch
from conftest import save_encoder
from spacy.language import Language
from spacy.util import SimpleFrozenDict, fix_random_seed

HEADS = {
    "textcat": ("reprtune_textcat", "TextClassifier"),
    "textcat_multilabel": ("reprtune_textcat_multilabel", "TextClassifier"),
    "ner": ("reprtune_ner", "TokenClassifier"),
}
ENCODERS = {"tok2vec": "reprtune_encoder"}
LISTENER = "spacy.Tok2VecListener.v1"
# Settings of the stock components that ours have as well.
SHARED_SETTINGS = ("threshold", "scorer", "incorrect_spans_key")
# `spacy init config` writes configs in which every component reads the width of the stock tok2vec.
LEFT_OUT = "test_init_config"

create_pipe = Language.create_pipe
replaced_in: Set[str] = set()
running: Dict[str, str] = {}
outcomes: Dict[str, Dict[str, str]] = {}


@lru_cache
def encoder(width: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The config block of a tiny encoder of a width."""
    heads = 2 if width % 2 == 0 else 1
    path = Path(mkdtemp(dir=os.environ["CONFORMANCE_FOLDER"])) / "encoder"
    with torch.random.fork_rng(devices=[]):
        save_encoder(path, hidden_size=width, num_attention_heads=heads, num_hidden_layers=1)
    return {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": str(path),
        "precision": "fp32",
    }


def blocks_of(config: Any) -> Iterator[Dict[str, Any]]:
    """YIELDS (Dict[str, Any]): The block and all blocks inside of it."""
    if isinstance(config, dict):
        yield config
        for value in config.values():
            yield from blocks_of(value)


def width_of(model: Dict[str, Any]) -> int:
    """RETURNS (int): The width of the vectors that a stock `tok2vec` would give."""
    encode = model.get("encode", model)
    return int(encode.get("width", 96))


def stand_in(factory: str, config: Dict[str, Any]) -> tuple:
    """RETURNS (Tuple[str, Dict[str, Any]]): Name and config of the component that stands for a
    stock one."""
    model = config.get("model", {})
    if factory in ENCODERS:
        return ENCODERS[factory], {"model": encoder(width_of(model))}
    name, head = HEADS[factory]
    listeners = [b for b in blocks_of(model) if b.get("@architectures") == LISTENER]
    if listeners:
        block: Dict[str, Any] = dict(listeners[0])
    else:
        block = encoder(16)
    # The tests train for some fifty steps with a rate that is made for small networks.
    model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": block, "head_lr": 10.0}
    ours: Dict[str, Any] = {"model": model}
    ours.update({key: config[key] for key in SHARED_SETTINGS if key in config})
    return name, ours


def create_stand_in(
    self: Language,
    factory_name: str,
    name: Optional[str] = None,
    *,
    config: Dict[str, Any] = SimpleFrozenDict(),
    raw_config: Any = None,
    validate: bool = True,
) -> Any:
    """`Language.create_pipe`, with stand-ins."""
    if factory_name in HEADS or factory_name in ENCODERS:
        name = factory_name if name is None else name
        replaced_in.add(running.get("test", ""))
        factory_name, config = stand_in(factory_name, config)
        raw_config = None
    return create_pipe(
        self, factory_name, name, config=config, raw_config=raw_config, validate=validate
    )


def short_id(nodeid: str) -> str:
    """RETURNS (str): The name of a test, from the folder of spaCy's tests on."""
    path, colons, name = nodeid.partition("::")
    return path.rpartition("tests/")[2] + colons + name


def pytest_configure(config: pytest.Config) -> None:
    Language.create_pipe = create_stand_in


def pytest_collection_modifyitems(items: list) -> None:
    chosen = os.environ.get("CONFORMANCE_TESTS")
    if chosen:
        wanted = set(json.loads(Path(chosen).read_text(encoding="utf8")))
        items[:] = [item for item in items if short_id(item.nodeid) in wanted]
    else:
        items[:] = [item for item in items if may_create_one(item)]


def may_create_one(item: Any) -> bool:
    """RETURNS (bool): Whether a test, its parameters or what it uses of its module names one of the
    stock components. Trying the others would take minutes."""
    if item.name.startswith(LEFT_OUT):
        return False
    used = [getattr(item.module, name, None) for name in item.function.__code__.co_names]
    texts = [item.nodeid, inspect.getsource(item.function)]
    for value in used:
        if inspect.isfunction(value):
            texts.append(inspect.getsource(value))
        elif isinstance(value, (str, dict, list)):
            texts.append(str(value))
    return re.search(r"textcat|tok2vec|[\"']ner[\"']|\[ner", " ".join(texts)) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    running["test"] = item.nodeid
    # Heads start at random, so whether an untrained one predicts something must not be chance.
    fix_random_seed(0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or not report.passed:
        message = ""
        if report.failed:
            message = str(getattr(report.longrepr, "reprcrash", report.longrepr))
        outcomes[report.nodeid] = {"outcome": report.outcome, "message": message}


def pytest_runtest_logfinish(nodeid: str) -> None:
    # After each test, so that a run that is stopped tells how far it came.
    found = {short_id(nodeid): outcomes[nodeid] for nodeid in outcomes if nodeid in replaced_in}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    Path(os.environ["CONFORMANCE_RESULTS"]).write_text(text, encoding="utf8")
