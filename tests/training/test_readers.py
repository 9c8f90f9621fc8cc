"""A corpus in parts, and the shipped config that trains on one."""

from pathlib import Path

import pytest
import spacy
from conftest import BAD, GOOD
from spacy.cli.train import train
from spacy.tokens import DocBin, Span
from spacy.util import registry

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def parts(tmp_path, nlp):
    """Two files: docs with only categories, and docs with only entities."""
    cats, ents = DocBin(), DocBin()
    for texts, label in ((GOOD, "GOOD"), (BAD, "BAD")):
        for text in texts:
            doc = nlp.make_doc(text)
            doc.cats = {name: float(name == label) for name in ("GOOD", "BAD")}
            cats.add(doc)
            doc = nlp.make_doc(text)
            doc.set_ents([Span(doc, 0, 1, label="FIRST")])
            ents.add(doc)
    for name, docs in (("cats", cats), ("ents", ents)):
        docs.to_disk(tmp_path / f"{name}.spacy")
    return {name: str(tmp_path / f"{name}.spacy") for name in ("cats", "ents")}


def reader(**settings):
    return registry.readers.get("spacy_reprtune.MixedCorpus.v1")(**settings)


def test_all_parts_are_read(parts, nlp):
    examples = list(reader(paths=parts)(nlp))
    assert len(examples) == 16
    assert [bool(eg.reference.cats) for eg in examples] == [True] * 8 + [False] * 8
    assert not examples[0].reference.has_annotation("ENT_IOB")
    assert len(list(reader(paths=parts, limit=3)(nlp))) == 6


@pytest.mark.parametrize("path", [None, "nowhere.spacy"])
def test_a_part_that_is_not_there(path, parts, nlp):
    with pytest.raises(ValueError, match="'more' of the mixed corpus"):
        list(reader(paths={**parts, "more": path})(nlp))
    with pytest.raises(ValueError, match="no paths"):
        list(reader(paths={})(nlp))


def test_the_shipped_config_trains_both_heads(parts, tiny_encoder, tmp_path):
    train(
        CONFIGS / "shared_multitask.cfg",
        tmp_path / "output",
        overrides={
            "paths.train_cats": parts["cats"],
            "paths.dev_cats": parts["cats"],
            "paths.train_ents": parts["ents"],
            "paths.dev_ents": parts["ents"],
            "paths.encoder": str(tiny_encoder),
            "vars.width": 16,
            "components.encoder.model.precision": "fp32",
            "training.max_steps": 60,
            "training.eval_frequency": 30,
            "training.optimizer.learn_rate.initial_rate": 0.01,
            "training.optimizer.learn_rate.warmup_steps": 5,
        },
    )
    nlp = spacy.load(tmp_path / "output" / "model-best")
    examples = list(reader(paths=parts)(nlp))
    scores = nlp.evaluate(examples)
    assert scores["cats_score"] > 0.9 and scores["ents_f"] > 0.9
    # Nothing heavy stays with a doc.
    assert nlp("a great film").tensor is None
