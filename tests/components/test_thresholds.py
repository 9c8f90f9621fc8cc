"""Thresholds are fitted to examples, survive every way to save, and decide what is predicted."""

import pickle

import numpy
import pytest
import spacy
from conftest import make_entity_examples, make_examples
from spacy.tokens import Doc
from spacy.training import Example

from spacy_reprtune.components.thresholds import describe, fit_thresholds, scored_predictions

PARTS = {"reprtune_ner": "TokenClassifier", "reprtune_setfit": "SentenceClassifier"}


def trained(factory, encoder, steps=15):
    """A pipeline after a few updates, and examples often enough to fit thresholds to."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    head = f"spacy_reprtune.{PARTS.get(factory, 'TextClassifier')}.v1"
    nlp.add_pipe(factory, name="x", config={"model": {"@architectures": head, "encoder": encoder}})
    make = make_entity_examples if factory == "reprtune_ner" else make_examples
    examples = make(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return nlp, [eg for _ in range(40) for eg in make(nlp)]


@pytest.fixture(scope="module")
def textcat(encoder_config):
    return trained("reprtune_textcat", encoder_config())


@pytest.fixture(scope="module")
def multilabel(encoder_config):
    return trained("reprtune_textcat_multilabel", encoder_config())


@pytest.fixture(scope="module")
def ner(encoder_config):
    return trained("reprtune_ner", encoder_config(), steps=60)


@pytest.fixture(autouse=True)
def without_thresholds(request):
    """Pipelines are shared: each test starts without thresholds."""
    for name in {"textcat", "multilabel", "ner"} & set(request.fixturenames):
        request.getfixturevalue(name)[0].get_pipe("x").cfg["thresholds"] = None


def sure(doc):
    return doc._.reprtune_labels


def ents(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def test_without_thresholds_nothing_is_written(textcat):
    assert sure(textcat[0]("a great film")) is None


def test_a_text_below_its_threshold_keeps_its_scores_and_gets_no_label(textcat):
    nlp, _ = textcat
    texts = ["a great film", "an awful film"]
    plain = [doc.cats for doc in nlp.pipe(texts)]
    best = [max(cats, key=cats.get) for cats in plain]
    assert set(best) == {"GOOD", "BAD"}
    limits = {best[0]: plain[0][best[0]] + 1e-4, best[1]: plain[1][best[1]] - 1e-4}
    nlp.get_pipe("x").calibration.set_thresholds(0.9, limits)
    docs = list(nlp.pipe(texts))
    assert [doc.cats for doc in docs] == plain
    assert [sure(doc) for doc in docs] == [[], [best[1]]]
    # The label with the lower score is not the answer, however low its threshold.
    nlp.get_pipe("x").calibration.set_thresholds(0.9, {best[0]: None, best[1]: 0.0})
    assert sure(nlp(texts[0])) == []


def test_independent_labels_are_given_from_their_own_thresholds_on(multilabel):
    nlp, _ = multilabel
    cats = nlp("a great film").cats
    limits = {"GOOD": cats["GOOD"] - 1e-4, "BAD": cats["BAD"] - 1e-4}
    nlp.get_pipe("x").calibration.set_thresholds(0.9, limits)
    assert sure(nlp("a great film")) == list(nlp.get_pipe("x").labels)
    nlp.get_pipe("x").calibration.set_thresholds(0.9, {**limits, "BAD": None})
    assert sure(nlp("a great film")) == ["GOOD"]


def test_an_entity_below_its_threshold_is_not_predicted(ner):
    nlp, _ = ner
    text = "lovely warm was in music 3"
    plain = nlp(text)
    assert [ent.label_ for ent in plain.ents] == ["ACTOR", "MUSIC"]
    actor, music = (ent._.reprtune_score for ent in plain.ents)
    pipe = nlp.get_pipe("x")
    pipe.calibration.set_thresholds(0.9, {"ACTOR": actor + 1e-4, "MUSIC": music - 1e-4})
    doc = nlp(text)
    assert ents(doc) == ents(plain)[1:]
    assert [span.label_ for span in doc.spans["ner"]] == ["MUSIC"]
    pipe.calibration.set_thresholds(0.9, {"ACTOR": 0.0, "MUSIC": None})
    assert ents(nlp(text)) == ents(plain)[:1]


def test_fitted_thresholds_keep_what_was_counted(textcat, multilabel, ner):
    for nlp, examples in (textcat, multilabel, ner):
        pipe = nlp.get_pipe("x")
        wrong = examples[::20]
        for example in wrong:
            cats = example.reference.cats
            example.reference.cats = {label: 1.0 - value for label, value in cats.items()}
        found = fit_thresholds(nlp, examples, precision=0.8)
        assert [item.label for item in found] == list(pipe.labels)
        for item in found:
            docs = nlp.pipe(eg.predicted.copy() for eg in examples)
            after = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
            kept = [row for row in scored_predictions(pipe, after) if row[0] == item.label]
            limit = item.fit.threshold
            kept = [] if limit is None else [row for row in kept if row[1] >= limit]
            if limit is not None:
                assert len(kept) == item.fit.n_kept
                assert sum(right for *_, right in kept) == item.fit.n_right
        assert pipe.cfg["thresholds"]["precision"] == 0.8


def test_every_way_to_save_keeps_them(textcat, ner, tmp_path):
    for number, (nlp, examples) in enumerate((textcat, ner)):
        fit_thresholds(nlp, examples, precision=0.8)
        pipe = nlp.get_pipe("x")
        nlp.to_disk(tmp_path / str(number))
        others = [spacy.load(tmp_path / str(number)), pickle.loads(pickle.dumps(nlp))]
        blank = spacy.blank("xx").from_config(nlp.config)
        others.append(blank.from_bytes(nlp.to_bytes()))
        for other in others:
            assert other.get_pipe("x").cfg["thresholds"] == pipe.cfg["thresholds"]
            assert numpy.isfinite(other.get_pipe("x").calibration.limits(pipe.labels)).any()
        texts = [eg.predicted.text for eg in examples[:6]]
        loaded = [(sure(doc), ents(doc)) for doc in others[0].pipe(texts)]
        assert loaded == [(sure(doc), ents(doc)) for doc in nlp.pipe(texts)]


def test_workers_use_them(textcat):
    nlp, examples = textcat
    fit_thresholds(nlp, examples, precision=0.8)
    texts = [eg.predicted.text for eg in examples[:4]]
    found = [sure(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=2)]
    assert found == [sure(doc) for doc in nlp.pipe(texts)] and any(found)


def test_new_weights_and_a_new_temperature_drop_them(encoder_config):
    nlp, examples = trained("reprtune_textcat", encoder_config())
    pipe = nlp.get_pipe("x")
    fit_thresholds(nlp, examples, precision=0.8)
    nlp.evaluate(examples)
    assert pipe.cfg["thresholds"] is not None
    pipe.calibrate(examples)
    assert pipe.cfg["thresholds"] is None
    fit_thresholds(nlp, examples, precision=0.8)
    nlp.update(examples[:4], sgd=nlp.resume_training())
    assert pipe.cfg["thresholds"] is None


def test_a_text_whose_label_the_component_does_not_have_counts_as_wrong(textcat):
    nlp, _ = textcat
    doc = nlp("a great film")
    reference = doc.copy()
    reference.cats = {"GOOD": 0.0, "BAD": 0.0, "FAIR": 1.0}
    [(_, _, right)] = scored_predictions(nlp.get_pipe("x"), [Example(doc, reference)])
    assert not right
    reference.cats = {}
    assert not list(scored_predictions(nlp.get_pipe("x"), [Example(doc, reference)]))


def test_a_label_that_is_never_annotated_is_named_and_never_given(ner):
    nlp, examples = ner
    actors = [eg for eg in examples if all(e.label_ == "ACTOR" for e in eg.reference.ents)]
    found = {item.label: item for item in fit_thresholds(nlp, actors, precision=0.8)}
    assert found["MUSIC"].fit.threshold is None
    assert describe(found["MUSIC"]) == "MUSIC: never annotated in these examples."
    assert found["ACTOR"].fit.threshold is not None


def test_too_few_examples_say_how_many_it_takes_and_change_nothing(textcat):
    nlp, _ = textcat
    nlp.get_pipe("x").calibration.set_thresholds(0.5, {"GOOD": 0.6, "BAD": None})
    before = nlp.get_pipe("x").cfg["thresholds"]
    message = "No label reaches a precision of 0.95.*predictions are right. It takes at least 59"
    with pytest.raises(ValueError, match=message):
        fit_thresholds(nlp, make_examples(nlp), precision=0.95)
    assert nlp.get_pipe("x").cfg["thresholds"] == before


def test_input_that_no_threshold_can_be_fitted_to_is_refused(textcat):
    nlp, examples = textcat
    with pytest.raises(ValueError, match="precision = 1.0"):
        fit_thresholds(nlp, examples, precision=1.0)
    blank = [Example(nlp.make_doc("a film"), Doc(nlp.vocab, words=["a", "film"]))]
    with pytest.raises(ValueError, match=r"None of the 1 examples has a label of 'x' \(BAD, GOOD"):
        fit_thresholds(nlp, blank, precision=0.9)
    with pytest.raises(ValueError, match="None of the 5 examples has a label"):
        fit_thresholds(nlp, make_entity_examples(nlp), precision=0.9)
    other = spacy.blank("xx")
    other.add_pipe("sentencizer")
    with pytest.raises(ValueError, match="reprtune_ner. The pipeline has sentencizer"):
        fit_thresholds(other, examples, precision=0.9)


@pytest.mark.parametrize(
    "damaged", [[], {"labels": 3, "precision": 0.9}, {"precision": 0.9, "labels": {"GOOD": 7.0}}]
)
def test_damaged_thresholds_are_named_at_load(damaged, textcat):
    nlp, _ = textcat
    nlp.get_pipe("x").cfg["thresholds"] = damaged
    data = nlp.get_pipe("x").to_bytes()
    nlp.get_pipe("x").cfg["thresholds"] = None
    with pytest.raises(ValueError, match="saved thresholds of 'x'"):
        nlp.get_pipe("x").from_bytes(data)
    nlp.get_pipe("x").cfg["thresholds"] = None
