"""What few-shot training can't use is said before it starts, or has a defined result."""

import warnings

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_reprtune.bridge.sentence_classifier import PooledScores

AB = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}] * 2


def initialize(nlp, model, golds, texts=None, **settings):
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": model, **settings})
    texts = texts or [f"film {i}" for i in range(len(golds))]
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": cats})
        for text, cats in zip(texts, golds, strict=True)
    ]
    return examples, nlp.initialize(lambda: examples)


def weights(nlp):
    module = nlp.get_pipe("textcat").head
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_one_label(nlp, sentence_config):
    with pytest.raises(ValueError, match="only the label 'A'"):
        initialize(nlp, sentence_config(), [{"A": 1.0}] * 4)


def test_one_independent_label_that_all_texts_have(nlp, sentence_config):
    with pytest.raises(ValueError, match="nothing to tell apart"):
        initialize(nlp, sentence_config(), [{"A": 1.0}] * 4, exclusive=False)


def test_independent_labels_of_which_none_is_said_to_be_wrong(nlp, sentence_config):
    golds = [{"A": 1.0}, {"A": 1.0}, {"B": 1.0}, {"B": 1.0}]
    with pytest.raises(ValueError, match=r"known to have no label in common.*to 0\.0"):
        initialize(nlp, sentence_config(), golds, exclusive=False)


def test_one_independent_label_that_some_texts_have(nlp, sentence_config):
    golds = [{"A": 1.0}, {"A": 1.0}, {"A": 0.0}, {"A": 0.0}]
    examples, optimizer = initialize(nlp, sentence_config(), golds, exclusive=False)
    assert nlp.update(examples, sgd=optimizer, losses={})["textcat"] > 0.0
    assert set(nlp("a film").cats) == {"A"}


def test_one_example_a_label_warns_and_learns_from_what_differs(nlp, sentence_config):
    with pytest.warns(UserWarning, match="only one text of 'A', 'B': no label has two"):
        examples, optimizer = initialize(nlp, sentence_config(), AB[:2])
    before = weights(nlp)
    assert nlp.update(examples, sgd=optimizer, losses={})["textcat"] > 0.0
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(nlp), strict=True))
    assert sum(nlp("a film").cats.values()) == pytest.approx(1.0)


def test_a_single_text_of_one_label_among_others(nlp, sentence_config):
    with pytest.warns(UserWarning, match="only one text of 'B': not every label"):
        initialize(nlp, sentence_config(), [AB[0], AB[0], AB[1]])


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_label_without_an_example(nlp, sentence_config, exclusive):
    nlp.config["initialize"]["components"]["textcat"] = {"labels": ["A", "B", "C"]}
    with pytest.raises(ValueError, match=r"no example of 'C'.*LabelTemplates"):
        initialize(nlp, sentence_config(), AB, exclusive=exclusive)


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_same_text_with_different_labels(nlp, sentence_config, exclusive):
    texts = ["a film", "a film", "a plot", "a scene"]
    with pytest.raises(ValueError, match=r"'a film' .* different labels: \['A'\] and \['B'\]"):
        initialize(nlp, sentence_config(), AB, texts, exclusive=exclusive)


def test_the_same_text_with_different_labels_in_a_batch(nlp, sentence_config):
    examples, optimizer = initialize(nlp, sentence_config(), AB)
    twice = Example.from_dict(nlp.make_doc("film 0"), {"cats": AB[1]})
    with pytest.raises(ValueError, match="different labels"):
        nlp.update([*examples, twice], sgd=optimizer, losses={})


def test_the_same_text_twice_with_the_same_label_counts_once(nlp, sentence_config):
    texts = ["a film", "a plot", "a film", "a scene"]
    initialize(nlp, sentence_config(), AB, texts)
    assert len(nlp.get_pipe("textcat").few_shot.support.examples) == 3


def test_texts_with_no_label_are_left_out(nlp, sentence_config):
    golds = [*AB, {}, {"A": 0.0, "B": 0.0}]
    examples, optimizer = initialize(nlp, sentence_config(), golds)
    assert len(nlp.get_pipe("textcat").few_shot.support.examples) == 4
    before = weights(nlp)
    assert nlp.update(examples[4:], sgd=optimizer, losses={}) == {"textcat": 0.0}
    assert all(torch.equal(a, b) for a, b in zip(before, weights(nlp), strict=True))


def test_no_text_with_a_label(nlp, sentence_config):
    with pytest.raises(ValueError, match="has no labels"):
        initialize(nlp, sentence_config(), [{}, {}])


def test_rows_with_nothing_set_are_no_positive_pairs(nlp, sentence_config):
    golds = [{"A": 1.0, "B": 0.0}, {"A": 1.0, "B": 1.0}, {"A": 0.0, "B": 0.0}, {"A": 0.0, "B": 0.0}]
    examples, _ = initialize(nlp, sentence_config(), golds, exclusive=False)
    pipe = nlp.get_pipe("textcat")
    # Both empty rows at one point, far from the others: no term may depend on their closeness.
    rows = torch.nn.functional.normalize(torch.randn(4, 16), dim=1).numpy()
    scores = PooledScores(rows[2:], numpy.zeros((2, 2), dtype="f"))
    loss, gradient = pipe.get_loss(examples[2:], scores)
    assert loss == 0.0 and not gradient.vectors.any() and not gradient.logits.any()
    # Alone they get partners that have labels, and pairs with those only.
    assert {eg.reference.text for eg in pipe.training_batch(examples[2:])} >= {"film 2", "film 3"}


def test_very_many_texts_work_and_joint_training_is_recommended(nlp, sentence_config):
    golds = [AB[i % 2] for i in range(2 * 201)]
    with pytest.warns(UserWarning, match=r"at least 201 texts per label.*textcat_joint.cfg"):
        examples, optimizer = initialize(nlp, sentence_config(), golds)
    assert nlp.update(examples[:32], sgd=optimizer, losses={})["textcat"] > 0.0
    assert set(nlp("a film").cats) == {"A", "B"}


def test_few_texts_do_not_warn(nlp, sentence_config):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        initialize(nlp, sentence_config(), AB)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("accumulate_gradient", 2, "pairs would be lost"), ("max_epochs", -1, "first 100 texts")],
)
@pytest.mark.parametrize("exclusive", [True, False])
def test_training_settings_that_break_pairs_are_refused(
    nlp, sentence_config, setting, value, message, exclusive
):
    nlp.config["training"][setting] = value
    with pytest.raises(ValueError, match=message):
        initialize(nlp, sentence_config(), AB, exclusive=exclusive)


def test_parts_of_a_batch_are_refused_in_update_too(nlp, sentence_config):
    examples, optimizer = initialize(nlp, sentence_config(), AB)
    nlp.update(examples, sgd=False, losses={})
    with pytest.raises(ValueError, match="accumulate_gradient = 1"):
        nlp.update(examples, sgd=False, losses={})
    nlp.get_pipe("textcat").finish_update(optimizer)
    nlp.update(examples, sgd=optimizer, losses={})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrastive": "triplet"}, "cosine, supcon"),
        ({"supcon_temperature": 0.0}, "above 0"),
        ({"cross_entropy": 1.0}, "reprtune_textcat"),
    ],
)
def test_settings_out_of_range(nlp, sentence_config, settings, message):
    with pytest.raises(ValueError, match=message):
        initialize(nlp, sentence_config(), AB, **settings)


def test_a_model_without_vectors(nlp, model_config):
    with pytest.raises(ValueError, match=r"SentenceClassifier.v1"):
        initialize(nlp, model_config(), AB)


def test_an_unknown_pooling(nlp, sentence_config):
    with pytest.raises(ValueError, match="attention"):
        initialize(nlp, sentence_config(pooling="sum"), AB)


def test_predicting_before_initialize(sentence_config):
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_setfit", config={"model": sentence_config()})
    with pytest.raises(ValueError, match="nlp.initialize"):
        nlp("a film")
