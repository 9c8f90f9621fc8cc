"""What is wrong is said before any training, or has a defined result; nothing is lost."""

import numpy
import pytest
import spacy
import torch
from conftest import make_examples
from spacy.training import Example


def initialize(nlp, config, golds, factory="reprtune_textcat", texts=None, **settings):
    nlp.add_pipe(factory, name="textcat", config={"model": config, **settings})
    texts = texts or ["a film"] * len(golds)
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": cats})
        for text, cats in zip(texts, golds, strict=True)
    ]
    nlp.initialize(lambda: examples)
    return examples


def test_no_labels(nlp, model_config):
    with pytest.raises(ValueError, match="has no labels"):
        initialize(nlp, model_config(), [{}, {}])


def test_one_exclusive_label(nlp, model_config):
    with pytest.raises(ValueError, match="only the label 'A'"):
        initialize(nlp, model_config(), [{"A": 1.0}])


def test_one_independent_label_is_fine(nlp, model_config):
    initialize(nlp, model_config(), [{"A": 1.0}], factory="reprtune_textcat_multilabel")
    assert set(nlp("a film").cats) == {"A"}


def test_two_positives_for_exclusive_labels(nlp, model_config):
    with pytest.raises(ValueError, match="several: A, B"):
        initialize(nlp, model_config(), [{"A": 1.0, "B": 1.0}])


@pytest.mark.parametrize("factory", ["reprtune_textcat", "reprtune_textcat_multilabel"])
@pytest.mark.parametrize("value", [1.5, -1.0, 0.5, float("nan")])
def test_gold_values_other_than_0_and_1(nlp, model_config, factory, value):
    with pytest.raises(ValueError, match="have to be 0 or 1"):
        initialize(nlp, model_config(), [{"A": value, "B": 0.0}], factory=factory)


def test_all_docs_empty(nlp, model_config):
    golds = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}]
    with pytest.raises(ValueError, match="none of the training docs has any text"):
        initialize(nlp, model_config(), golds, texts=["", " \n"])


def test_unknown_encoder_offline(nlp, model_config, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = model_config(encoder={"name": "nobody/no-such-encoder"})
    with pytest.raises(OSError, match="no-such-encoder"):
        initialize(nlp, config, [{"A": 1.0, "B": 0.0}])


def test_unfreeze_too_large_is_refused_when_the_weights_are_read(nlp, model_config):
    with pytest.raises(ValueError, match="has only 2 blocks"):
        initialize(nlp, model_config(encoder={"unfreeze": 9}), [{"A": 1.0, "B": 0.0}])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": "even"}, "'balanced'"),
        ({"class_weights": {"A": 0.0}}, "above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"threshold": 2.0}, "threshold"),
    ],
)
def test_settings_out_of_range(nlp, model_config, settings, message):
    with pytest.raises(ValueError, match=message):
        initialize(nlp, model_config(), [{"A": 1.0, "B": 0.0}], **settings)


def test_weights_for_labels_that_do_not_exist(nlp, model_config):
    with pytest.raises(ValueError, match="does not have: C"):
        initialize(nlp, model_config(), [{"A": 1.0, "B": 0.0}], class_weights={"C": 2.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "sum"}, "attention"),
        ({"hidden_width": 0}, "1 or more"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_head_settings_out_of_range(nlp, model_config, settings, message):
    with pytest.raises(ValueError, match=message):
        nlp.add_pipe("reprtune_textcat", config={"model": model_config(**settings)})


def test_unknown_positive_label(nlp, model_config):
    nlp.config["initialize"]["components"]["textcat"] = {"positive_label": "C"}
    with pytest.raises(ValueError, match="'C' is not a label of"):
        initialize(nlp, model_config(), [{"A": 1.0, "B": 0.0}])


def test_predicting_before_initialize(nlp, model_config):
    nlp.add_pipe("reprtune_textcat", config={"model": model_config()})
    with pytest.raises(ValueError, match="nlp.initialize"):
        nlp("a film")


def test_labels_in_dev_that_train_lacks_are_named_and_score_as_errors(textcat):
    dev = [Example.from_dict(textcat.make_doc("a plot"), {"cats": {"NEW": 1.0}})]
    with pytest.warns(UserWarning, match="NEW"):
        scores = textcat.evaluate([*dev, *textcat.examples])
    assert scores["cats_micro_p"] < 1.0


def test_a_loss_that_is_not_finite_stops_and_shows_the_batch(textcat, monkeypatch):
    pipe = textcat.get_pipe("textcat")
    before = pipe.to_bytes()
    bad = lambda self, examples, scores: (float("nan"), numpy.zeros_like(scores))  # noqa: E731
    monkeypatch.setattr(type(pipe), "get_loss", bad)
    with pytest.raises(ValueError, match="a great film"):
        textcat.update(textcat.examples, sgd=textcat.optimizer, losses={})
    assert pipe.to_bytes() == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_saving_that_fails_leaves_the_earlier_model(textcat, tmp_path, monkeypatch, error):
    from spacy_reprtune.bridge import shim

    textcat.to_disk(tmp_path / "model")
    expected = textcat("a great film").cats
    for _ in range(5):
        textcat.update(textcat.examples, sgd=textcat.optimizer, losses={})

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(shim, "save_file", fail)
    with pytest.raises(type(error)):
        textcat.to_disk(tmp_path / "model")
    assert spacy.load(tmp_path / "model")("a great film").cats == pytest.approx(expected)
    left = [path.name for path in (tmp_path / "model").iterdir() if path.name.startswith(".")]
    assert left == []


def test_a_saved_head_of_another_shape_is_refused(textcat, tmp_path):
    textcat.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text()
    (tmp_path / "config.cfg").write_text(config.replace("hidden_width = null", "hidden_width = 5"))
    with pytest.raises(ValueError, match="does not fit"):
        spacy.load(tmp_path)


def test_examples_are_required(textcat):
    with pytest.raises(TypeError):
        textcat.get_pipe("textcat").update(["a film"])
    with pytest.raises(TypeError):
        textcat.get_pipe("textcat").initialize(lambda: [])


def test_a_probe_that_sees_one_label_alone_leaves_the_head_random(nlp, model_config, caplog):
    """The first texts of a stream that is sorted by label, with labels from `init labels`."""
    config = {"model": model_config(), "head_init": "probe"}
    pipe = nlp.add_pipe("reprtune_textcat", name="textcat", config=config)
    examples = [eg for eg in make_examples(nlp) if eg.reference.cats["GOOD"]]
    pipe.initialize(lambda: examples, nlp=nlp, labels=["BAD", "GOOD"])
    assert "its head starts at random" in caplog.text
    assert set(nlp("a film").cats) == {"BAD", "GOOD"}


def test_weights_that_are_not_numbers_are_named_in_an_evaluation(textcat):
    examples = make_examples(textcat)
    with torch.no_grad():
        textcat.get_pipe("textcat").head.output.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not numbers any more.*Lower"):
        textcat.evaluate(examples)
