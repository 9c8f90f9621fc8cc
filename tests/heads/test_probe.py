import logging
import warnings

import numpy
import pytest
import spacy
from conftest import make_examples
from sklearn.linear_model import LogisticRegression
from spacy.training import Example

from spacy_reprtune.components import probe_start
from spacy_reprtune.components.probe_start import sample_examples, sample_texts
from spacy_reprtune.heads import held_out
from spacy_reprtune.heads.losses import sigmoid, softmax
from spacy_reprtune.heads.probe import STRENGTHS, fit_classes, fit_independent


def data(n=240, width=6, n_labels=3, noise=1.0):
    """Vectors far from the origin, and classes that depend on them linearly."""
    random = numpy.random.default_rng(0)
    vectors = random.normal(size=(n, width)).astype("f") * 3 + 5
    scores = (vectors - 5) @ random.normal(size=(width, n_labels))
    classes = (scores + noise * random.gumbel(size=scores.shape)).argmax(1)
    return vectors, classes


def test_the_strength_is_chosen_with_every_label_however_rare(monkeypatch):
    monkeypatch.setattr(held_out, "CHOSEN_ROWS", 20)
    vectors, _ = data(n=400)
    classes = numpy.zeros(400, dtype=numpy.int64)
    classes[[3, 7, 11]] = 1
    found = held_out.held_out_probabilities(vectors, classes, 2)
    assert found.shape == (400, 2) and numpy.allclose(found.sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_it_is_the_logistic_regression(n_labels):
    vectors, classes = data(n_labels=n_labels)
    probe = fit_classes(vectors, classes, n_labels)
    found = softmax(vectors @ probe.weight.T + probe.bias)
    centered = vectors - vectors.mean(0)
    scale = numpy.sqrt((centered**2).mean())
    reference = LogisticRegression(C=probe.strength, max_iter=2000).fit(centered / scale, classes)
    expected = reference.predict_proba(centered / scale)
    numpy.testing.assert_allclose(found, expected, atol=0.01)
    assert probe.strength in STRENGTHS
    assert abs(probe.score - (found.argmax(1) == classes).mean()) < 0.1


def test_noise_asks_for_less_freedom_than_signal():
    clear = fit_classes(*data(noise=0.01), 3).strength
    vectors, classes = data()
    assert (
        fit_classes(vectors, numpy.random.default_rng(1).permutation(classes), 3).strength < clear
    )


def test_independent_labels_with_gaps():
    vectors, classes = data(n=400)
    gold = numpy.eye(3)[classes][:, [0, 1, 2, 2]]
    gold[:, 3] = 0.0
    known = numpy.ones_like(gold)
    known[::2, 1] = 0.0
    # What is not annotated must not matter.
    gold[::2, 1] = 1.0
    probe = fit_independent(vectors, gold, known)
    found = sigmoid(vectors @ probe.weight.T + probe.bias)
    for label in range(3):
        assert (((found[:, label] > 0.5) == (classes == label)).mean()) > 0.8
    # A label that nothing speaks for: as rare as one in all of these and two more.
    numpy.testing.assert_allclose(found[:, 3], 1 / 402, rtol=1e-3)


def test_weights_move_the_decision():
    vectors, classes = data(n_labels=2, noise=4.0)
    plain = fit_classes(vectors, classes, 2)
    heavy = fit_classes(vectors, classes, 2, weights=[1.0, 10.0])
    rates = [((vectors @ p.weight.T + p.bias).argmax(1) == 1).mean() for p in (plain, heavy)]
    assert rates[1] > rates[0] + 0.1


def test_a_class_with_one_example_and_one_with_none():
    vectors, classes = data()
    classes[classes == 2] = 0
    classes[5] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = fit_classes(vectors, classes, 4)
    logits = vectors @ probe.weight.T + probe.bias
    assert numpy.isfinite(logits).all() and numpy.isfinite(probe.score)
    assert (logits.argmax(1) != 3).all()


def test_too_few_examples_to_hold_any_out():
    vectors, _ = data(n=2)
    probe = fit_classes(vectors, numpy.array([0, 1]), 2)
    assert numpy.isnan(probe.score) and numpy.isfinite(probe.weight).all()
    with pytest.raises(ValueError, match="two labels"):
        fit_classes(vectors, numpy.array([1, 1]), 2)


@pytest.mark.parametrize("factory", ["reprtune_textcat", "reprtune_textcat_multilabel"])
@pytest.mark.parametrize("unfreeze", ["none", 1, "all"])
def test_a_classifier_starts_where_the_probe_is(factory, unfreeze, model_config, caplog):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    settings = {"model": model_config(encoder={"unfreeze": unfreeze}), "head_init": "probe"}
    nlp.add_pipe(factory, name="textcat", config=settings)
    examples = [eg for _ in range(3) for eg in make_examples(nlp)]
    with caplog.at_level(logging.INFO, "spacy"):
        nlp.initialize(lambda: examples)
    assert "linear probe" in caplog.text
    scores = nlp.evaluate(examples)
    assert scores["cats_macro_f"] == 1.0


def test_unannotated_examples_are_left_out_of_the_probe(model_config):
    nlp = spacy.blank("xx")
    nlp.add_pipe(
        "reprtune_textcat",
        name="textcat",
        config={"model": model_config(), "head_init": "probe"},
    )
    blank = [Example.from_dict(nlp.make_doc("nothing is known of this"), {}) for _ in range(5)]
    examples = make_examples(nlp) * 3
    nlp.initialize(lambda: blank + examples)
    assert nlp.evaluate(examples)["cats_macro_f"] == 1.0


def test_a_hidden_layer_cannot_be_solved(model_config):
    nlp = spacy.blank("xx")
    settings = {"model": model_config(hidden_width=4), "head_init": "probe"}
    nlp.add_pipe("reprtune_textcat", name="textcat", config=settings)
    with pytest.raises(ValueError, match="hidden_width"):
        nlp.initialize(lambda: make_examples(nlp))
    with pytest.raises(ValueError, match="head_init = 'zero'"):
        nlp.add_pipe("reprtune_textcat", name="other", config={"head_init": "zero"})


def test_texts_are_sampled_with_enough_of_each_label(monkeypatch):
    gold = numpy.zeros((1000, 3), dtype="f")
    gold[:, 0] = 1.0
    gold[500:504] = [0.0, 1.0, 1.0]
    monkeypatch.setattr(probe_start, "PROBE_TEXTS", 100)
    monkeypatch.setattr(probe_start, "TEXTS_PER_LABEL", 6)
    rows = sample_texts(gold)
    assert 100 <= len(rows) <= 104 and {500, 501, 502, 503} <= set(rows.tolist())
    assert (numpy.diff(rows) > 0).all()
    assert sample_texts(gold[:90]).tolist() == list(range(90))


def test_docs_are_sampled_by_their_tokens(monkeypatch):
    nlp = spacy.blank("xx")
    examples = [Example(doc, doc) for doc in map(nlp.make_doc, ["a b c d"] * 30)]
    assert sample_examples(examples) == examples
    monkeypatch.setattr(probe_start, "READ_TOKENS", 40)
    sample = sample_examples(examples)
    assert len(sample) == 10
    assert [examples.index(eg) for eg in sample] == sorted(examples.index(eg) for eg in sample)
    assert sample != examples[:10]


@pytest.mark.parametrize(("unfreeze", "sampled"), [("all", True), (1, False), ("none", False)])
def test_texts_are_sampled_only_where_nothing_is_frozen(
    unfreeze, sampled, model_config, monkeypatch
):
    monkeypatch.setattr(probe_start, "PROBE_TEXTS", 4)
    monkeypatch.setattr(probe_start, "TEXTS_PER_LABEL", 4)
    nlp = spacy.blank("xx")
    settings = {"model": model_config(encoder={"unfreeze": unfreeze}), "head_init": "probe"}
    pipe = nlp.add_pipe("reprtune_textcat", name="textcat", config=settings)
    sizes = []
    fit = pipe.kind.fit_head

    def noted(vectors, *args, **settings):
        sizes.append(len(vectors))
        return fit(vectors, *args, **settings)

    monkeypatch.setattr(pipe.kind, "fit_head", noted)
    nlp.initialize(lambda: make_examples(nlp) * 3)
    assert (8 <= sizes[0] <= 12) if sampled else sizes == [24]
