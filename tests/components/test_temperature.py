"""The temperature is fitted on dev by `spacy train`, or by `calibrate`, and by nothing else."""

import copy
import gc
import pickle

import pytest
import spacy
from conftest import ENTITIES, GOOD, make_entity_examples, make_examples
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from thinc.api import Config

CONFIG = """
[nlp]
lang = "xx"
pipeline = ["x"]

[components]

[components.x]
factory = "{factory}"

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = "{path}/train.spacy"

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = "{path}/dev.spacy"

[training]
seed = 0
gpu_allocator = null
max_steps = 21
eval_frequency = 10
patience = 0

[training.batcher]
@batchers = "spacy_reprtune.batch_by_length.v1"
size = 4

[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.01
use_averages = false
"""
FACTORIES = ["reprtune_textcat", "reprtune_textcat_multilabel", "reprtune_setfit", "reprtune_ner"]
HEADS = {"reprtune_setfit": "SentenceClassifier", "reprtune_ner": "TokenClassifier"}
TEXTS = [*GOOD, *(text for text, _ in ENTITIES), ""]


def make_model(factory, encoder):
    return {
        "@architectures": f"spacy_reprtune.{HEADS.get(factory, 'TextClassifier')}.v1",
        "encoder": {
            "@architectures": "spacy_reprtune.Encoder.v1",
            "name": str(encoder),
            "precision": "fp32",
        },
    }


def train_examples(nlp, factory):
    return make_entity_examples(nlp) if factory == "reprtune_ner" else make_examples(nlp)


def dev_examples(nlp, factory):
    """Dev data that contradict the training data: no model is right about all of it."""
    examples = train_examples(nlp, factory)
    if factory == "reprtune_ner":
        examples[0].reference.set_ents([])
    for example in examples[::3]:
        cats = example.reference.cats
        example.reference.cats = {label: 1.0 - value for label, value in cats.items()}
    return examples


def scores(nlp):
    """Everything that a pipeline predicts. The last bit of an entity's score can depend on where
    its factors begin in memory."""
    return [
        (doc.cats, [(e.start, e.end, e.label_, f"{e._.reprtune_score:.12f}") for e in doc.ents])
        for doc in nlp.pipe(TEXTS)
    ]


@pytest.fixture(params=FACTORIES, scope="module")
def loop(request, tiny_encoder):
    """A pipeline after some updates in a loop, with dev examples."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    model = make_model(request.param, tiny_encoder)
    nlp.add_pipe(request.param, name="x", config={"model": model})
    examples = train_examples(nlp, request.param)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(20):
        nlp.update(examples, sgd=optimizer)
    nlp.dev = dev_examples(nlp, request.param)
    return nlp


@pytest.mark.parametrize("factory", FACTORIES)
def test_spacy_train_fits_it_in_the_evaluation_that_decides_about_model_best(
    factory, tiny_encoder, tmp_path
):
    nlp = spacy.blank("xx")
    for name, make in (("train", train_examples), ("dev", dev_examples)):
        docs = [eg.reference for eg in make(nlp, factory)]
        DocBin(docs=docs).to_disk(tmp_path / f"{name}.spacy")
    config = Config().from_str(CONFIG.format(factory=factory, path=tmp_path))
    config["components"]["x"]["model"] = make_model(factory, tiny_encoder)
    (tmp_path / "out").mkdir()
    live, _ = train_loop(init_nlp(config), tmp_path / "out")
    best = spacy.load(tmp_path / "out" / "model-best").get_pipe("x")
    saved = best.temperature
    assert saved != 1.0
    # It was fitted to these very weights.
    assert best.calibrate(dev_examples(nlp, factory)) == pytest.approx(saved, rel=0.02)
    assert scores(spacy.load(tmp_path / "out" / "model-last")) == scores(live)
    key = "ents_ece" if factory == "reprtune_ner" else "cats_ece"
    assert 0.0 <= live.evaluate(dev_examples(nlp, factory))[key] <= 1.0


def test_evaluating_and_saving_change_no_prediction(loop, tmp_path):
    before = scores(loop)
    loop.evaluate(loop.dev)
    loop.to_disk(tmp_path)
    data = loop.to_bytes()
    pickle.dumps(loop.get_pipe("x"))
    assert scores(loop) == before and loop.get_pipe("x").temperature == 1.0
    assert loop.to_bytes() == data


def test_a_function_of_the_users_that_is_called_evaluate_is_not_the_training_loop(loop):
    def evaluate():
        return loop.evaluate(loop.dev)

    evaluate()
    assert loop.get_pipe("x").temperature == 1.0


@pytest.mark.parametrize("calibrated", [False, True])
def test_copied_pickled_and_saved_pipelines_predict_the_same(loop, calibrated, tmp_path):
    pipe = loop.get_pipe("x")
    plain = scores(loop)
    if calibrated:
        assert pipe.calibrate(loop.dev) == pipe.temperature != 1.0
        assert scores(loop) != plain
    expected = scores(loop)
    loop.to_disk(tmp_path)
    fresh = spacy.util.load_model_from_config(loop.config, auto_fill=True)
    others = [spacy.load(tmp_path), fresh.from_bytes(loop.to_bytes()), copy.deepcopy(loop)]
    for other in others:
        assert scores(other) == expected
        assert other.get_pipe("x").temperature == pipe.temperature
    again = copy.deepcopy(loop)
    again._components = [("x", pickle.loads(pickle.dumps(pipe)))]
    assert scores(again) == expected
    # The temperature of a copy is its own.
    others[-1].get_pipe("x").cfg["temperature"] = 7.0
    assert scores(loop) == expected
    pipe.cfg["temperature"] = 1.0


def test_calibrate_leaves_its_examples_as_they_are(loop):
    pipe = loop.get_pipe("x")
    pipe.calibrate(loop.dev)
    assert not any(eg.predicted.cats or eg.predicted.ents for eg in loop.dev)
    pipe.cfg["temperature"] = 1.0
    with pytest.raises(TypeError):
        pipe.calibrate(["a film"])


def test_only_calibrating_keeps_logits_and_only_while_their_docs_live(loop):
    pipe = loop.get_pipe("x")
    pipe.calibration.weights_changed()
    docs = list(loop.pipe(TEXTS))
    assert not pipe.calibration._noted
    with pipe.calibration.noting_all():
        docs = list(loop.pipe(TEXTS))
        assert len(pipe.calibration._noted) == len(docs)
        del docs
        gc.collect()
        assert len(pipe.calibration._noted) == 0


def test_after_a_calibration_that_fails_an_evaluation_fits_nothing(loop, monkeypatch):
    pipe = loop.get_pipe("x")

    def interrupted(*args):
        raise KeyboardInterrupt

    before = pipe.temperature
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipe, "calibration_loss", interrupted)
        pipe.calibrate(loop.dev)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipe.model, "predict", interrupted)
        pipe.calibrate(loop.dev)
    assert not pipe.calibration.noting
    loop.evaluate(loop.dev)
    assert pipe.temperature == before


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_batch_without_annotation_keeps_the_thresholds(factory, nlp, tiny_encoder):
    pipe = nlp.add_pipe(factory, name="x", config={"model": make_model(factory, tiny_encoder)})
    examples = train_examples(nlp, factory)
    optimizer = nlp.initialize(lambda: examples)
    pipe.calibration.set_thresholds(0.9, dict.fromkeys(pipe.labels, 0.5))
    plain = nlp.make_doc("a film")
    nlp.update([Example(plain, plain.copy())], sgd=optimizer)
    assert pipe.cfg["thresholds"]["precision"] == 0.9
    nlp.update(examples, sgd=optimizer)
    assert pipe.cfg["thresholds"] is None


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_temperature_from_the_config_is_not_fitted(factory, nlp, tiny_encoder, tmp_path):
    config = {"model": make_model(factory, tiny_encoder), "temperature": 2.0}
    pipe = nlp.add_pipe(factory, name="x", config=config)
    examples = train_examples(nlp, factory)
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    assert pipe.calibrate(examples) == pipe.temperature == 2.0
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("x").temperature == 2.0
    colder = spacy.load(tmp_path, config={"components.x.temperature": 0.5})
    assert colder.get_pipe("x").temperature == 0.5
    with pytest.raises(ValueError, match="temperature = 0.0"):
        nlp.add_pipe(factory, name="y", config={**config, "temperature": 0.0})


@pytest.mark.parametrize("value", ["0.0", "-1.0", "1e999"])
def test_a_damaged_temperature_is_refused_when_it_is_loaded(value, textcat, tmp_path):
    textcat.get_pipe("textcat").cfg["temperature"] = 2.5
    textcat.to_disk(tmp_path)
    file = tmp_path / "textcat" / "cfg"
    assert file.read_text().count("2.5") == 1
    file.write_text(file.read_text().replace("2.5", value))
    with pytest.raises(ValueError, match="cfg of the component 'textcat' "):
        spacy.load(tmp_path)
    # As the message says, for whoever has changed a file on purpose.
    (tmp_path / "textcat" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="The saved temperature of 'textcat' is"):
        spacy.load(tmp_path)


def test_min_score_is_compared_with_the_calibrated_score(ner):
    """The same entities, and the same limit, keep or lose some with another temperature."""
    for _ in range(30):
        ner.update(ner.examples, sgd=ner.optimizer)
    pipe = ner.get_pipe("ner")
    texts = [text for text, _ in ENTITIES]

    def scores():
        return sorted(e._.score for doc in ner.pipe(texts) for e in doc.ents)

    pipe.cfg["temperature"] = 3.0
    unsure = scores()
    pipe.cfg["temperature"] = 0.3
    sure = scores()
    assert len(sure) == len(unsure) and sure[0] > unsure[-1]
    pipe.min_score = (sure[0] + unsure[-1]) / 2
    assert scores() == sure
    pipe.cfg["temperature"] = 3.0
    assert scores() == []


def test_min_score_hides_no_entity_from_the_fit_of_the_temperature(ner):
    for _ in range(30):
        ner.update(ner.examples, sgd=ner.optimizer)
    pipe = ner.get_pipe("ner")
    fitted = []
    for limit in (0.0, 1.0):
        pipe.min_score = limit
        fitted.append(pipe.calibrate(ner.examples))
    assert fitted[0] == fitted[1] != 1.0


def test_text_scores_are_divided_by_the_temperature(textcat):
    pipe = textcat.get_pipe("textcat")
    before = textcat("a great film").cats
    pipe.cfg["temperature"] = 0.1
    after = textcat("a great film").cats
    assert max(after.values()) > max(before.values())
    assert max(after, key=after.get) == max(before, key=before.get)


def test_dev_without_annotation_fits_nothing(textcat):
    textcat.update(textcat.examples, sgd=textcat.optimizer)
    unknown = [Example(textcat.make_doc("a film"), textcat.make_doc("a film"))]
    assert textcat.evaluate(unknown)["cats_ece"] is None
    assert textcat.get_pipe("textcat").calibrate(unknown) == 1.0
    assert textcat.get_pipe("textcat").calibrate([]) == 1.0


def test_a_new_training_begins_without_the_temperature_of_the_last(textcat):
    pipe = textcat.get_pipe("textcat")
    assert pipe.calibrate(textcat.examples) != 1.0
    textcat.initialize(lambda: textcat.examples)
    assert pipe.temperature == 1.0
