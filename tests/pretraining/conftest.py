"""A small corpus and the settings of short runs on a tiny encoder."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from conftest import WORDS

from spacy_reprtune.pretraining.settings import Settings, settings_from


def sentences(n: int, seed: int = 0) -> List[str]:
    """Sentences of known words in an order that is worth learning: words follow each other."""
    import random

    rng = random.Random(seed)
    plain = [word for word in WORDS if word.isalpha()]
    found = []
    for _ in range(n):
        start, size = rng.randrange(len(plain)), rng.randint(2, 14)
        found.append(" ".join(plain[(start + i) % len(plain)] for i in range(size)))
    return list(dict.fromkeys(found))


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """Some three hundred sentences, one a line."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(sentences(400)) + "\n", encoding="utf8")
    return path


@pytest.fixture
def run_config(tiny_encoder, text_file) -> Callable[..., Dict[str, Dict[str, Any]]]:
    """Makes the sections of a run; keyword arguments are sections to change."""

    def config(**sections: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
        base: Dict[str, Dict[str, Any]] = {
            "encoder": {"name": str(tiny_encoder), "precision": "fp32", "device": "cpu"},
            "corpus": {"train": str(text_file), "heldout": 0.1},
            "training": {
                "max_epochs": 0,
                "max_steps": 12,
                "step_pieces": 256,
                "batch_pieces": 128,
                "learn_rate": 5e-3,
                "head_steps": 4,
                "head_learn_rate": 1e-2,
                "eval_every": 4,
            },
            "report": {"log_every": 1},
        }
        for name, values in sections.items():
            base[name] = {**base.get(name, {}), **values}
        return base

    return config


@pytest.fixture
def settings(run_config) -> Callable[..., Settings]:
    """Makes the settings of a run; keyword arguments are sections to change."""
    return lambda **sections: settings_from(run_config(**sections))
