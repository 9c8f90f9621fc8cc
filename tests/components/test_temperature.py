"""The temperature comes from dev, is saved with the weights it was fitted for, and only scales."""

import gc
from weakref import WeakKeyDictionary

import pytest
import spacy
from conftest import ENTITIES, make_entity_examples, make_examples
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from thinc.api import Config

CONFIG = """
[nlp]
lang = "en"
pipeline = ["{name}"]

[components]

[components.{name}]
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
max_steps = 41
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


def noisy(nlp, kind):
    """Dev data that are not as the training data are: no model is right about all of it."""
    if kind == "ner":
        examples = [eg.reference for eg in make_entity_examples(nlp)]
        examples[0].set_ents([])
        return examples
    docs = [eg.reference for eg in make_examples(nlp)]
    for doc in docs[::3]:
        doc.cats = {label: 1.0 - value for label, value in doc.cats.items()}
    return docs


@pytest.mark.parametrize(
    ("name", "factory"),
    [
        ("ner", "reprtune_ner"),
        ("textcat", "reprtune_textcat"),
        ("textcat", "reprtune_textcat_multilabel"),
    ],
)
def test_spacy_train_saves_the_temperature_of_each_checkpoint(
    name, factory, tmp_path, token_config, model_config
):
    nlp = spacy.blank("en")
    make = make_entity_examples if name == "ner" else make_examples
    DocBin(docs=[eg.reference for eg in make(nlp)]).to_disk(tmp_path / "train.spacy")
    DocBin(docs=noisy(nlp, name)).to_disk(tmp_path / "dev.spacy")
    config = Config().from_str(CONFIG.format(name=name, factory=factory, path=tmp_path))
    config["components"][name]["model"] = token_config() if name == "ner" else model_config()
    (tmp_path / "out").mkdir()
    trained, _ = train_loop(init_nlp(config), tmp_path / "out")
    for checkpoint in ("model-best", "model-last"):
        loaded = spacy.load(tmp_path / "out" / checkpoint)
        dev = [Example(loaded.make_doc(doc.text), doc) for doc in noisy(loaded, name)]
        pipe = loaded.get_pipe(name)
        saved = pipe.cfg["temperature"]
        assert saved != 1.0
        # Fitted for these very weights: fitting anew gives the same.
        pipe.cfg["temperature"] = 1.0
        # As after an update, though there was none.
        pipe._dev_logits = WeakKeyDictionary()
        loaded.evaluate(dev)
        if checkpoint == "model-best":
            assert pipe.calibrate() == pytest.approx(saved, rel=0.02)
    key = "ents_ece" if name == "ner" else "cats_ece"
    assert 0.0 <= trained.evaluate(dev)[key] <= 1.0


@pytest.mark.parametrize(
    "save", [lambda nlp, path: nlp.to_disk(path), lambda nlp, _: nlp.to_bytes()]
)
def test_evaluation_by_itself_changes_no_prediction_and_saving_does(ner, tmp_path, save):
    texts = [text for text, _ in ENTITIES]
    for _ in range(20):
        ner.update(ner.examples, sgd=ner.optimizer)

    def scores():
        return [score for doc in ner.pipe(texts) for score in doc.spans["ner"].attrs["scores"]]

    def spans():
        return [(e.start, e.end, e.label_) for doc in ner.pipe(texts) for e in doc.ents]

    before, entities = scores(), spans()
    ner.evaluate(ner.examples)
    assert scores() == before
    save(ner, tmp_path)
    assert scores() != before and spans() == entities


def test_only_the_first_evaluation_after_an_update_counts(ner):
    for _ in range(20):
        ner.update(ner.examples, sgd=ner.optimizer)
    pipe = ner.get_pipe("ner")
    ner.evaluate(ner.examples)
    loss = pipe._dev_loss
    # A test set, say: its gold values must not get into the model.
    ner.evaluate(ner.examples[:1])
    assert pipe._dev_loss is loss is not None
    ner.update(ner.examples, sgd=ner.optimizer)
    assert pipe._dev_loss is None and pipe.calibrate() == 1.0


def test_logits_live_no_longer_than_their_docs(ner):
    for _ in range(3):
        ner.update(ner.examples, sgd=ner.optimizer)
    for doc in ner.pipe(["a film"] * 50, batch_size=2):
        assert doc in ner.get_pipe("ner")._dev_logits
    gc.collect()
    assert len(ner.get_pipe("ner")._dev_logits) <= 1


def test_a_pipeline_that_only_predicts_keeps_nothing(ner, tmp_path):
    ner.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    doc = loaded("a film")
    assert loaded.get_pipe("ner")._dev_logits is None and doc.text == "a film"


def test_a_temperature_from_the_config_is_not_fitted(nlp, token_config, tmp_path):
    config = {"model": token_config(), "temperature": 2.0}
    pipe = nlp.add_pipe("reprtune_ner", name="ner", config=config)
    examples = make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(20):
        nlp.update(examples, sgd=optimizer)
    nlp.evaluate(examples)
    nlp.to_disk(tmp_path)
    assert pipe.temperature == spacy.load(tmp_path).get_pipe("ner").temperature == 2.0
    colder = spacy.load(tmp_path, config={"components.ner.temperature": 0.5})
    assert colder.get_pipe("ner").temperature == 0.5


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
        pipe._dev_logits = WeakKeyDictionary()
        ner.evaluate(ner.examples)
        fitted.append(pipe.calibrate())
        pipe.cfg["temperature"] = 1.0
    assert fitted[0] == fitted[1] != 1.0


def test_text_scores_are_divided_by_the_temperature(textcat):
    pipe = textcat.get_pipe("textcat")
    before = textcat("a great film").cats
    pipe.cfg["temperature"] = 0.1
    after = textcat("a great film").cats
    assert max(after.values()) > max(before.values())
    assert max(after, key=after.get) == max(before, key=before.get)


def test_dev_without_annotation_fits_nothing(textcat, tmp_path):
    textcat.update(textcat.examples, sgd=textcat.optimizer)
    unknown = [Example(textcat.make_doc("a film"), textcat.make_doc("a film"))]
    scores = textcat.evaluate(unknown)
    assert scores["cats_ece"] is None
    assert textcat.get_pipe("textcat").calibrate() == 1.0
