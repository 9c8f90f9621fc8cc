"""Corpora with spans only get a recipe, and its config trains as the command printed it."""

import random
import shlex

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import Span
from span_corpora import NLP, corpus, essay, nested, save, with_spans
from thinc.api import Config
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.advise import advise
from spacy_reprtune.data.timing import Speed


def advised(docs, folder, tiny_encoder, **settings):
    speed = Speed(rate=10_000.0, depth=6, width=16, weights=5000, device="cpu")
    settings = {"encoder": str(tiny_encoder), "speed": speed, **settings}
    advice = advise(save(docs, folder / "c"), **settings)
    return advice, Config().from_str(advice.config, interpolate=False)


def test_sentences_are_classified_and_the_key_is_filled_in(tmp_path, tiny_encoder):
    advice, config = advised(corpus(essay), tmp_path, tiny_encoder)
    assert advice.recipe == "sentences"
    assert "100% have exactly the borders of a sentence as spaCy's sentencizer" in advice.why
    block = config["components"]["span_classifier"]
    assert (block["spans_key"], block["exclusive"]) == ("claims", True)
    weights = config["training"]["score_weights"]
    assert weights["spans_claims_f"] == 1.0 and weights["spans_sc_f"] is None
    assert "spans_sentences_f" not in weights


def test_spans_that_are_not_sentences_are_found(tmp_path, tiny_encoder):
    advice, config = advised(corpus(nested, key="parts"), tmp_path, tiny_encoder)
    assert advice.recipe == "overlapping" and "0% have exactly the borders" in advice.why
    block = config["components"]["ner"]
    assert (block["spans_key"], block["overlapping"]) == ("parts", True)


@pytest.mark.parametrize(("share", "recipe"), [(0.92, "sentences"), (0.88, "overlapping")])
def test_nine_of_ten_spans_decide(share, recipe, tmp_path, tiny_encoder):
    docs = corpus(essay)
    spans = [(doc, k) for own in docs.values() for doc in own for k in range(2)]
    for doc, k in spans[round(share * len(spans)) :]:
        own = list(doc.spans["claims"])
        own[k] = Span(doc, own[k].start, own[k].end - 1, label=own[k].label)
        doc.spans["claims"] = own
    assert advised(docs, tmp_path, tiny_encoder)[0].recipe == recipe


def test_a_key_that_is_the_default_one_keeps_its_score(tmp_path, tiny_encoder):
    _, config = advised(corpus(essay, key="sc"), tmp_path, tiny_encoder)
    assert config["training"]["score_weights"]["spans_sc_f"] == 1.0


def test_the_group_with_most_spans_is_trained_and_the_others_are_named(tmp_path, tiny_encoder):
    docs = corpus(essay)
    for doc in docs["train"]:
        doc.spans["words"] = [Span(doc, 0, 1, label="FIRST")]
    advice, config = advised(docs, tmp_path, tiny_encoder)
    assert config["components"]["span_classifier"]["spans_key"] == "claims"
    assert "The spans in doc.spans['words'] are fewer and are left out." in advice.why


def test_one_label_is_nothing_to_classify(tmp_path, tiny_encoder):
    docs = corpus(essay)
    for own in docs.values():
        for doc in own:
            doc.spans["claims"] = [s for s in doc.spans["claims"] if s.label_ == "CLAIM"]
    advice, _ = advised(docs, tmp_path, tiny_encoder)
    assert advice.recipe == "overlapping" and "nothing to classify" in advice.why


def test_spans_beside_labels_are_left_out_unless_they_are_asked_for(tmp_path, tiny_encoder):
    docs = corpus(essay)
    for own in docs.values():
        for k, doc in enumerate(own):
            doc.cats = {"good": float(k % 2), "bad": float(1 - k % 2)}
    advice, _ = advised(docs, tmp_path, tiny_encoder)
    assert advice.recipe == "setfit"
    assert "doc.spans['claims'] are left out; --task spans trains on them." in advice.why
    (tmp_path / "again").mkdir()
    assert advised(docs, tmp_path / "again", tiny_encoder, task="spans")[0].recipe == "sentences"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "labels"}, "--task is labels, which needs labels, but .* only have spans"),
        ({"task": "both"}, "which needs labels and entities, but .* only have spans"),
        ({"recipe": "joint"}, "no recipe 'joint' for spans; there are sentences, overlapping"),
    ],
)
def test_what_spans_can_not_be_used_for_is_explained(settings, message, tmp_path, tiny_encoder):
    with pytest.raises(ValueError, match=message):
        advised(corpus(essay), tmp_path, tiny_encoder, **settings)


def test_spans_that_train_lacks_are_nothing_to_train_on(tmp_path, tiny_encoder):
    docs = corpus(essay)
    docs["train"] = [with_spans(doc.text, "claims", []) for doc in docs["train"]]
    with pytest.raises(ValueError, match="No text has a label, an entity or a span to train on"):
        advised(docs, tmp_path, tiny_encoder)


def several_labels(rng):
    doc = essay(rng, key="kinds")
    first = doc.spans["kinds"][0]
    doc.spans["kinds"].append(Span(doc, first.start, first.end, label="FIRST"))
    return doc


@pytest.mark.parametrize(
    ("make", "recipe"),
    [(several_labels, "sentences"), (nested, "overlapping"), (essay, "overlapping")],
)
def test_the_config_trains_as_printed(make, recipe, tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr("spacy_reprtune.data.timing._TIMED", 0.0)
    monkeypatch.chdir(tmp_path)
    save(corpus(make), tmp_path / "c")
    arguments = f"reprtune init-config 'my own.cfg' --data c --device cpu -r {recipe}"
    done = CliRunner().invoke(app, [*shlex.split(arguments), "-e", str(tiny_encoder)])
    assert done.exit_code == 0, done.output
    assert "spacy train 'my own.cfg' " in (tmp_path / "my own.cfg").read_text("utf8")
    printed = shlex.split(done.output.split("Now: python -m spacy ")[1])
    steps = "--training.max_steps 2 --training.eval_frequency 1"
    done = CliRunner().invoke(app, [*printed, *steps.split()])
    assert done.exit_code == 0, done.output
    doc = make(random.Random(7))
    [key] = doc.spans
    nlp = spacy.load(tmp_path / "training" / recipe / "model-best")
    assert key in nlp(NLP.make_doc(doc.text)).spans
