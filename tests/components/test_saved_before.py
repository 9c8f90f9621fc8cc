"""Pipelines that version 0.1.0 saved load, and predict what they predicted there.

`saved/0.1.0` holds pipelines around an encoder of 32 kB, and what that version predicted after
loading them, from its own checkout.
"""

import json
from pathlib import Path

import pytest
import spacy

SAVED = Path(__file__).parents[1] / "saved" / "0.1.0"
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf8"))


def scores_of(doc):
    groups = [group.attrs.get("scores", ()) for group in doc.spans.values()]
    return [float(score) for scores in groups for score in scores]


@pytest.mark.parametrize("name", ["textcat_ner", "multilabel_setfit"])
def test_a_pipeline_of_the_version_before_predicts_the_same(name):
    nlp = spacy.load(SAVED / name)
    for before in EXPECTED[name]:
        doc = nlp(before["text"])
        assert doc.cats == pytest.approx(before["cats"], abs=1e-5)
        assert [[e.start_char, e.end_char, e.label_] for e in doc.ents] == before["ents"]
        assert scores_of(doc) == pytest.approx(before["scores"], abs=1e-5)
