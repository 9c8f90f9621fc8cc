"""An entity recognizer on the token vectors of our encoder or of a stock `transformer`."""

from pathlib import Path

import numpy
import pytest
import spacy
import torch
from conftest import ENTITIES, make_entity_examples, save_encoder
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_reprtune.packaging.smoke import smoke_test
from spacy_reprtune.packaging.wheels import package_pipeline

LISTENERS = {
    "stock": {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
    },
    "shared": {"@architectures": "spacy.Tok2VecListener.v1", "width": 16},
}
TEXTS = [text for text, _ in ENTITIES]


@pytest.fixture(scope="module")
def encoder_without_dropout(tmp_path_factory):
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return save_encoder(tmp_path_factory.mktemp("without_dropout") / "bert", **rates)


@pytest.fixture
def make(encoder_without_dropout, encoder_config):
    """Makes a pipeline of an encoder, "stock" or "shared", and a recognizer."""
    name = str(encoder_without_dropout)
    models = {
        "stock": {
            "@architectures": "spacy-transformers.TransformerModel.v3",
            "name": name,
            "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1"},
        },
        "shared": encoder_config(name=name),
    }
    factories = {"stock": "transformer", "shared": "reprtune_encoder"}

    def pipeline(encoder, *, learned_transitions=False, examples=None, **settings):
        if encoder == "stock":
            pytest.importorskip("spacy_transformers", reason="the extra [spacy-transformers]")
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        nlp.add_pipe(factories[encoder], name="encoder", config={"model": models[encoder]})
        head = {
            "@architectures": "spacy_reprtune.TokenClassifier.v1",
            "encoder": LISTENERS[encoder],
            "learned_transitions": learned_transitions,
        }
        nlp.add_pipe("reprtune_ner", name="ner", config={"model": head, **settings})
        nlp.initialize(lambda: examples or make_entity_examples(nlp))
        return nlp

    return pipeline


def train(nlp, examples, steps, rate=0.01):
    """Steps in the order of `spacy train`."""
    optimizer = Adam(rate, use_averages=False)
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=False, losses=losses)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    return losses["ner"]


def found(nlp, texts, **settings):
    return [
        [(e.start, e.end, e.label_, pytest.approx(e._.score, abs=1e-5)) for e in doc.ents]
        for doc in nlp.pipe(texts, **settings)
    ]


def weights(nlp):
    model = nlp.get_pipe("encoder").model
    module = model.transformer if hasattr(model, "transformer") else model.shims[0].module
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


@pytest.mark.parametrize("encoder", ["stock", "shared"])
@pytest.mark.parametrize("settings", [{}, {"scheme": "bio", "learned_transitions": True}])
def test_it_learns_and_survives_every_way_to_save(encoder, settings, make, tmp_path):
    nlp = make(encoder, **settings)
    examples = make_entity_examples(nlp)
    before = weights(nlp)
    assert train(nlp, examples, 60) < 0.1
    assert not torch.equal(before, weights(nlp))
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == 1.0 and 0.0 <= scores["ents_ece"] < 0.5
    transitions = nlp.get_pipe("ner").head.transitions
    assert (transitions is not None) == settings.get("learned_transitions", False)
    assert transitions is None or transitions.detach().any()
    with pytest.raises(ValueError, match="nlp=nlp"):
        nlp.get_pipe("ner").calibrate(examples)
    assert nlp.get_pipe("ner").calibrate(examples, nlp=nlp) != 1.0
    nlp.to_disk(tmp_path / "model")
    expected = found(nlp, [*TEXTS, ""])
    assert sum(map(len, expected)) == 5
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    for other in (spacy.load(tmp_path / "model"), fresh.from_bytes(nlp.to_bytes())):
        assert found(other, [*TEXTS, ""]) == expected
        assert [found(other, [text])[0] for text in TEXTS] == expected[:-1]


@pytest.mark.parametrize("encoder", ["stock", "shared"])
def test_several_processes_agree_with_one(encoder, make):
    nlp = make(encoder)
    train(nlp, make_entity_examples(nlp), 60)
    texts = [*TEXTS, ""] * 3
    expected = found(nlp, texts)
    assert any(expected)
    assert found(nlp, texts, n_process=2, batch_size=4) == expected


def test_a_package_with_a_stock_transformer_and_a_shared_encoder_works_in_a_fresh_environment(
    make, encoder_config, tmp_path
):
    nlp = make("stock")
    nlp.add_pipe("reprtune_encoder", name="shared", config={"model": encoder_config()})
    head = {
        "@architectures": "spacy_reprtune.TextClassifier.v1",
        "encoder": LISTENERS["shared"],
    }
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": head})
    examples = make_entity_examples(nlp)
    for i, example in enumerate(examples):
        example.reference.cats = {"A": float(i % 2), "B": 1.0 - i % 2}
    nlp.initialize(lambda: examples)
    train(nlp, examples, 10)
    nlp.to_disk(tmp_path / "model")
    settings = {"name": "two_encoders", "version": "1.0.0"}
    source = Path(__file__).parents[2]
    wheels = package_pipeline(
        tmp_path / "model", tmp_path / "packages", **settings, source_dir=source
    )
    assert smoke_test(wheels, tmp_path / "model", [*TEXTS, ""])["largest_difference"] < 1e-6


@pytest.mark.parametrize("encoder", ["stock", "shared"])
def test_a_batch_without_annotation_changes_nothing(encoder, make):
    nlp = make(encoder)
    optimizer = Adam(0.01, use_averages=False)
    before, head = weights(nlp), nlp.get_pipe("ner").to_bytes()
    blank = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in ("a film", "", " ")]
    losses = nlp.update(blank, sgd=optimizer, losses={})
    assert losses["ner"] == 0.0
    assert torch.equal(before, weights(nlp)) and nlp.get_pipe("ner").to_bytes() == head


@pytest.mark.parametrize("encoder", ["stock", "shared"])
@pytest.mark.parametrize("learned", [False, True])
def test_docs_without_annotation_are_left_out_of_the_loss(encoder, learned, make):
    nlp = make(encoder, learned_transitions=learned)
    examples = make_entity_examples(nlp)
    blank = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in ("dull film", "")]
    annotated = nlp.update(examples, sgd=False, losses={})
    mixed = nlp.update([*blank, *examples], sgd=False, losses={})
    assert mixed["ner"] == pytest.approx(annotated["ner"], rel=1e-4)


@pytest.mark.parametrize("encoder", ["stock", "shared"])
def test_tokens_without_a_piece_are_no_part_of_the_sequence(encoder, make):
    def example(nlp, words, entity):
        doc = Doc(nlp.vocab, words=words)
        doc.set_ents([Span(doc, *entity, label="X")])
        return Example(Doc(nlp.vocab, words=words), doc)

    nlp = spacy.blank("xx")
    words = ["a", "\x07", "lovely", "\x07", "film", "is", "\x07"]
    examples = [example(nlp, words, (1, 5)), example(nlp, ["dull", "\x07"], (1, 2))]
    with pytest.warns(UserWarning, match="1 of 2 entities.* no piece"):
        nlp = make(encoder, examples=examples)
    train(nlp, examples[:1], 60)
    doc = Doc(nlp.vocab, words=words)
    for _, pipe in nlp.pipeline:
        doc = pipe(doc)
    assert [(e.start, e.end) for e in doc.ents] == [(2, 5)]


def test_a_document_of_twenty_thousand_tokens(make):
    nlp = make("shared")
    train(nlp, make_entity_examples(nlp), 30)
    doc = Doc(nlp.vocab, words=["lovely", "bright", "is", "a", "film"] * 4_000)
    for _, pipe in nlp.pipeline:
        doc = pipe(doc)
    assert len(doc.ents) > 0 and doc[-1].ent_iob != 0
    assert numpy.isfinite(doc.spans["ner"].attrs["scores"]).all()


def test_first_pieces_need_an_encoder_of_its_own(nlp):
    model = {
        "@architectures": "spacy_reprtune.TokenClassifier.v1",
        "encoder": LISTENERS["shared"],
        "piece_pooling": "first",
    }
    with pytest.raises(ValueError, match=r"needs vectors of pieces.*Use 'mean'"):
        nlp.add_pipe("reprtune_ner", config={"model": model})
