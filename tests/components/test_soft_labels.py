"""Components that learn from the probabilities that another one gave."""

import itertools

import numpy
import pytest
import spacy
from conftest import make_entity_examples, make_examples
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_reprtune.components.soft_tags import TAGS, tag_posteriors
from spacy_reprtune.heads.lattice import Lattice
from spacy_reprtune.heads.losses import cross_entropy
from spacy_reprtune.heads.tags import TagScheme


def learn(nlp, examples, steps=40):
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
    return losses


@pytest.mark.parametrize(
    ("factory", "good"), [("reprtune_textcat", 0.7), ("reprtune_textcat_multilabel", 0.2)]
)
def test_a_classifier_learns_the_probabilities_that_it_is_given(factory, good, nlp, model_config):
    nlp.add_pipe(factory, name="textcat", config={"model": model_config(), "soft_labels": True})
    examples = make_examples(nlp)
    for example in examples:
        example.reference.cats = {"GOOD": good, "BAD": 1.0 - good}
    learn(nlp, examples)
    for example in examples:
        assert nlp(example.text).cats["GOOD"] == pytest.approx(good, abs=0.1)
    scores = nlp.evaluate(examples)
    assert scores["cats_micro_f"] == 1.0 and 0.0 < scores["cats_ece"] < 0.5


@pytest.mark.parametrize(
    ("soft", "cats", "message"),
    [
        (False, {"GOOD": 0.7, "BAD": 0.3}, "0 or 1 .* set soft_labels to true"),
        (True, {"GOOD": 1.7, "BAD": 0.0}, "from 0 to 1"),
        (True, {"GOOD": 0.7, "BAD": 0.7}, r"add up to 1.400"),
    ],
)
def test_gold_values_that_fit_no_setting_are_named(soft, cats, message, nlp, model_config):
    nlp.add_pipe("reprtune_textcat", config={"model": model_config(), "soft_labels": soft})
    examples = make_examples(nlp)
    examples[3].reference.cats = cats
    with pytest.raises(ValueError, match=message):
        nlp.initialize(lambda: examples)


@pytest.mark.parametrize("weights", [None, numpy.array([2.0, 1.0, 0.5], dtype="f")])
def test_probabilities_of_0_and_1_give_the_loss_of_labels(weights):
    logits = numpy.random.default_rng(0).normal(size=(4, 3)).astype("f")
    labels = numpy.array([0, 2, 1, 1])
    hard = cross_entropy(logits, labels, weights=weights, smoothing=0.1)
    soft = cross_entropy(logits, numpy.eye(3, dtype="f")[labels], weights=weights, smoothing=0.1)
    assert soft[0] == pytest.approx(hard[0])
    assert numpy.array_equal(soft[1], hard[1])


def test_posteriors_are_shares_of_all_legal_sequences(nlp):
    scheme = TagScheme(["A", "B"], "bilou")
    doc = nlp.make_doc("a film plot")
    logits = numpy.random.default_rng(0).normal(size=(3, len(scheme))).astype("f")
    expected = numpy.zeros((3, len(scheme)))
    for tags in itertools.product(range(len(scheme)), repeat=3):
        around = numpy.array([0, *tags, 0])
        if scheme.may_follow(around[:-1], around[1:]).all():
            expected[range(3), tags] += numpy.exp(logits[range(3), tags].sum() / 2.0)
    expected /= expected.sum(1, keepdims=True)
    still = numpy.zeros((len(scheme), len(scheme)), dtype="f")
    [found] = tag_posteriors([doc], logits, Lattice(scheme, still, temperature=2.0))
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.fixture
def taught(ner, token_config, tmp_path):
    """Docs with the tags of a teacher, after a way through a file, and a student's pipeline."""
    for _ in range(15):
        ner.update(ner.examples, sgd=ner.optimizer)
    ner.get_pipe("ner").writes_tags = True
    docs = [ner(example.text) for example in ner.examples]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "pool.spacy")
    student = spacy.blank("xx")
    config = {"model": token_config(), "soft_labels": True}
    student.add_pipe("reprtune_ner", name="ner", config=config)
    kept = list(DocBin().from_disk(tmp_path / "pool.spacy").get_docs(student.vocab))
    return student, [Example(student.make_doc(doc.text), doc) for doc in kept]


def test_a_recognizer_learns_the_posteriors_of_another(taught):
    student, examples = taught
    learn(student, examples, steps=80)
    pipe = student.get_pipe("ner")
    pipe.writes_tags = True
    for example in examples:
        doc = student(example.text)
        assert doc.user_data[TAGS]["names"] == list(example.reference.user_data[TAGS]["names"])
        theirs = example.reference.user_data[TAGS]["probabilities"].astype("f")
        assert abs(doc.user_data[TAGS]["probabilities"] - theirs).mean() < 0.03


def test_entities_are_learned_where_there_are_no_probabilities(taught):
    student, soft = taught
    hard = make_entity_examples(student)
    learn(student, [*soft[:1], *hard], steps=60)
    assert student.evaluate(hard)["ents_f"] == 1.0


def test_probabilities_of_another_scheme_are_refused(taught, token_config):
    student, examples = taught
    student.remove_pipe("ner")
    config = {"model": token_config(), "soft_labels": True, "scheme": "bio"}
    student.add_pipe("reprtune_ner", name="ner", config=config)
    with pytest.raises(ValueError, match="scheme 'bio'.* positions B, I, L, U"):
        learn(student, examples, steps=1)
