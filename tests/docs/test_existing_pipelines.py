"""The configs of docs/existing-pipelines.md train beside the components of a trained pipeline."""

import re
from pathlib import Path

import pytest
import spacy
from conftest import make_entity_examples, make_examples, save_encoder
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import Adam

PAGE = Path(__file__).parents[2] / "docs" / "existing-pipelines.md"
CONFIGS = re.findall(r"```ini\n(.*?)```", PAGE.read_text("utf8"), re.DOTALL)
TEXTS = ["a great film", "an awful plot", "this movie is quite cold"]
STEPS = {"training.max_steps": 20, "training.eval_frequency": 10}


def trained_pipeline(path, factory, model, listener):
    """A tagger on a shared encoder, trained for some steps and saved."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": model})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", **listener}})
    examples = []
    for text in TEXTS:
        doc = nlp.make_doc(text)
        examples.append(Example.from_dict(doc, {"tags": ["AB"[len(t) > 3] for t in doc]}))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.01, use_averages=False)
    for _ in range(10):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(path)
    return nlp


def added(config, examples, overrides):
    """Train with the config of the page in the current folder."""
    for name in ("train.spacy", "dev.spacy"):
        DocBin(docs=[eg.reference for eg in examples]).to_disk(name)
    Path("added.cfg").write_text(config, encoding="utf8")
    rate = {"training.optimizer.learn_rate": 0.01}
    train(Path("added.cfg"), Path("training"), overrides={**STEPS, **rate, **overrides})
    return spacy.load("training/model-last")


def check_tags_and_vectors(before, after):
    for text in TEXTS:
        expected, found = before(text), after(text)
        assert [t.tag_ for t in found] == [t.tag_ for t in expected]
    assert after.get_pipe("tagger").model.to_bytes() == before.get_pipe("tagger").model.to_bytes()


def test_a_classifier_beside_a_trained_tok2vec(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1, "embed_size": 50}
    model.update(window_size=1, maxout_pieces=2, subword_features=True, pretrained_vectors=None)
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    before = trained_pipeline(tmp_path / "my_pipeline", "tok2vec", model, {"tok2vec": listener})
    examples = make_examples(before)
    encoder = {"components.textcat.model.encoder.name": str(tiny_encoder)}
    after = added(CONFIGS[0], examples, encoder)
    assert after.pipe_names == ["tok2vec", "tagger", "textcat"]
    check_tags_and_vectors(before, after)
    assert after.evaluate(examples)["cats_macro_f"] == 1.0


def test_a_recognizer_on_the_transformer_of_a_trf_pipeline(tmp_path, monkeypatch):
    pytest.importorskip("spacy_transformers", reason="the extra [spacy-transformers]")
    monkeypatch.chdir(tmp_path)
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        # Wide enough for a linear head on random vectors to tell all tokens apart.
        "name": str(save_encoder(tmp_path / "bert", hidden_size=64)),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1"},
    }
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    path = tmp_path / "my_trf_pipeline"
    before = trained_pipeline(path, "transformer", model, {"tok2vec": listener})
    examples = make_entity_examples(before)
    more = {"training.max_steps": 150, "training.eval_frequency": 150}
    after = added(CONFIGS[1], examples, {**more, "training.optimizer.learn_rate": 0.002})
    assert after.pipe_names == ["transformer", "tagger", "ner"]
    check_tags_and_vectors(before, after)
    assert after.evaluate(examples)["ents_f"] > 0.9
