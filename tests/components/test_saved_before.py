"""Pipelines that version 0.1.0 saved load, and predict what they predicted there.

`saved/0.1.0` holds pipelines around an encoder of 32 kB, and what that version predicted after
loading them, from its own checkout.
"""

import json
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.util import load_config

from spacy_reprtune.components.shared_upgrade import upgrade

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


def test_a_setfit_of_the_version_before_keeps_the_loss_that_was_the_default_there():
    pipe = spacy.load(SAVED / "multilabel_setfit").get_pipe("setfit")
    assert pipe.few_shot.contrastive == "cosine"


def test_a_digest_in_a_setting_of_its_own_is_checked_as_one_in_the_name(tiny_encoder):
    def textcat(**encoder):
        nlp = spacy.blank("xx")
        encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": name, **encoder}
        config = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
        return nlp.add_pipe("reprtune_textcat", config={"model": config})

    name = str(tiny_encoder)
    assert textcat(sha256=None).model.shims[0].settings.name == name
    old = textcat(sha256="0" * 64).model.shims[0].settings
    assert old == textcat(name=f"{name}@sha256:{'0' * 64}").model.shims[0].settings


def test_a_shared_encoder_of_the_version_before_is_converted_and_predicts_the_same(tmp_path):
    pytest.importorskip("spacy_transformers", reason="the extra [spacy-transformers]")
    with pytest.raises(ValueError, match=r"shared_upgrade OLD_PIPELINE NEW_PIPELINE"):
        spacy.load(SAVED / "shared")
    upgrade(SAVED / "shared", tmp_path / "shared")
    nlp = spacy.load(tmp_path / "shared")
    assert "spacy-transformers" not in (tmp_path / "shared" / "config.cfg").read_text("utf8")
    for before in EXPECTED["shared"]:
        doc = nlp(before["text"])
        assert doc.cats == pytest.approx(before["cats"], abs=1e-5)
        assert [token.tag_ for token in doc] == before["tags"]


def test_the_lines_to_change_that_the_message_names_make_a_config_of_this_version():
    """The edit by hand, which a config for training needs."""
    config = load_config(SAVED / "shared" / "config.cfg")
    block = config["components"]["transformer"]
    block["factory"] = "reprtune_encoder"
    block["model"] = block["model"]["encoder"]
    del block["max_batch_items"], block["set_extra_annotations"]
    for listener in (
        config["components"]["textcat"]["model"]["encoder"],
        config["components"]["tagger"]["model"]["tok2vec"],
    ):
        listener["@architectures"] = "spacy.Tok2VecListener.v1"
        listener["width"] = 16
        del listener["grad_factor"], listener["pooling"]
    nlp = spacy.util.load_model_from_config(config)
    assert nlp.get_pipe("transformer").listening_components == ["textcat", "tagger"]


def test_there_is_nothing_to_convert(tmp_path):
    srsly.write_json(tmp_path / "meta.json", {})
    (tmp_path / "config.cfg").write_text("[components]\n", encoding="utf8")
    with pytest.raises(ValueError, match="no component with"):
        upgrade(tmp_path, tmp_path / "new")
