import logging
import pickle
import random

import numpy
import pytest
import spacy
import torch
from conftest import BAD, GOOD, make_examples
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train
from thinc.api import Config

from spacy_reprtune.bridge.sentence_classifier import PooledScores
from spacy_reprtune.components.few_shot import HEAD_STRENGTH

MULTI = [
    ("a great film", {"GOOD": 1.0, "SOUND": 0.0}),
    ("lovely and warm", {"GOOD": 1.0, "SOUND": 0.0}),
    ("great music", {"GOOD": 1.0, "SOUND": 1.0}),
    ("the music is warm", {"GOOD": 1.0, "SOUND": 1.0}),
    ("awful music", {"GOOD": 0.0, "SOUND": 1.0}),
    ("the music is dull", {"GOOD": 0.0, "SOUND": 1.0}),
    ("dull and cold", {"GOOD": 0.0, "SOUND": 0.0}),
    ("this movie is bad", {"GOOD": 0.0, "SOUND": 0.0}),
]


def multi_examples(nlp):
    return [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in MULTI]


def make_nlp(model, *, examples=None, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": model, **settings})
    if examples is None:
        examples = make_examples if settings.get("exclusive", True) else multi_examples
    examples = examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return nlp, examples, optimizer


def train(nlp, examples, optimizer, steps=30):
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses["textcat"]


def pipe_of(nlp):
    return nlp.get_pipe("textcat")


def module_of(nlp):
    return pipe_of(nlp).head


def right(nlp, examples):
    docs = nlp.pipe([eg.reference.text for eg in examples])
    return [
        {k: round(v) for k, v in doc.cats.items()} == eg.reference.cats
        for doc, eg in zip(docs, examples, strict=True)
    ]


@pytest.mark.parametrize(
    ("exclusive", "settings"),
    [
        (True, {}),
        (False, {}),
        (True, {"contrastive": "cosine"}),
        (False, {"contrastive": "supcon", "supcon_temperature": 0.2}),
        (True, {"cross_entropy": 0.5, "class_weights": "balanced"}),
        (False, {"model": {"normalize": False, "pooling": "attention"}}),
        (True, {"model": {"encoder": {"window": 8, "overlap": 2, "batch_pieces": 16}}}),
        (False, {"model": {"encoder": {"unfreeze": 1, "lr_decay": 0.9}}}),
    ],
)
def test_overfitting_and_every_way_to_save(exclusive, settings, sentence_config, tmp_path):
    settings = dict(settings)
    model = sentence_config(**settings.pop("model", {}))
    nlp, examples, optimizer = make_nlp(model, exclusive=exclusive, **settings)
    before = pipe_of(nlp).get_loss(examples, _training_scores(nlp, examples))[0]
    assert train(nlp, examples, optimizer, steps=100) < before
    assert all(right(nlp, examples))
    assert nlp.evaluate(examples)["cats_score"] == 1.0
    texts = [eg.reference.text for eg in examples]
    nlp.to_disk(tmp_path / "model")
    expected = [doc.cats for doc in nlp.pipe(texts)]

    # The cache keeps the outputs of frozen blocks in half precision; a loaded pipeline has none.
    tolerance = 1e-3 if "unfreeze" in model["encoder"] else 1e-6

    def check(other):
        for cats, doc in zip(expected, other.pipe(texts), strict=True):
            assert doc.cats == pytest.approx(cats, abs=tolerance)

    check(spacy.load(tmp_path / "model"))
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    check(fresh.from_bytes(nlp.to_bytes()))
    for text, cats in zip(texts, expected, strict=True):
        assert nlp(text).cats == pytest.approx(cats, abs=1e-5)
    names = {path.suffix for path in (tmp_path / "model" / "textcat").rglob("*")}
    assert names <= {"", ".json", ".safetensors", ".txt"}


def _training_scores(nlp, examples):
    scores, _ = pipe_of(nlp).model.begin_update([eg.predicted for eg in examples])
    return scores


@pytest.mark.parametrize(
    "settings",
    [{}, {"contrastive": "cosine"}, {"contrastive": "supcon"}, {"cross_entropy": 0.3}],
)
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_gradient_is_that_of_the_loss(settings, exclusive, sentence_config):
    nlp, examples, _ = make_nlp(sentence_config(), exclusive=exclusive, **settings)
    pipe = pipe_of(nlp)
    rows = numpy.random.default_rng(0).normal(size=(8, 16 + 2)).astype("f")
    loss, gradient = pipe.get_loss(examples, PooledScores(rows[:, :16], rows[:, 16:]))
    gradient = numpy.hstack([gradient.vectors, gradient.logits])
    for cell in [(0, 0), (3, 15), (5, 16)]:
        moved = rows.copy()
        moved[cell] += 1e-2
        higher, _ = pipe.get_loss(examples, PooledScores(moved[:, :16], moved[:, 16:]))
        assert (higher - loss) / 1e-2 == pytest.approx(gradient[cell], abs=5e-3)
    assert gradient[:, 16:].any() == bool(settings.get("cross_entropy"))


def test_texts_are_encoded_once_each(sentence_config, monkeypatch):
    nlp, examples, optimizer = make_nlp(sentence_config())
    module = module_of(nlp)
    seen = []
    tokenize = module.encoder.tokenize
    monkeypatch.setattr(
        module.encoder, "tokenize", lambda texts, **kw: seen.extend(texts) or tokenize(texts, **kw)
    )
    nlp.update([*examples, *examples], sgd=optimizer, losses={})
    assert sorted(seen) == sorted(eg.reference.text for eg in examples)


def test_the_head_is_fitted_again_only_when_the_encoder_has_moved(sentence_config, monkeypatch):
    nlp, examples, optimizer = make_nlp(sentence_config())
    pipe = pipe_of(nlp)
    fitted = []
    fit = pipe.few_shot.fit_head
    monkeypatch.setattr(pipe.few_shot, "fit_head", lambda *args: fitted.append(1) or fit(*args))
    nlp("a film")
    assert not fitted
    train(nlp, examples, optimizer, steps=3)
    assert not fitted
    nlp("a film")
    list(nlp.pipe(["a film", "a plot"]))
    nlp.to_bytes()
    assert len(fitted) == 1
    train(nlp, examples, optimizer, steps=1)
    nlp.to_bytes()
    assert len(fitted) == 2


def test_the_head_is_that_of_the_current_encoder(sentence_config):
    nlp, examples, optimizer = make_nlp(sentence_config())
    train(nlp, examples, optimizer, steps=5)
    first = nlp("a film").cats
    weight = module_of(nlp).output.weight.detach().clone()
    pipe_of(nlp).few_shot.fit_head(pipe_of(nlp), examples)
    assert torch.equal(weight, module_of(nlp).output.weight)
    train(nlp, examples, optimizer, steps=1)
    assert nlp("a film").cats != first


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_head_is_the_regression_of_a_fixed_strength(sentence_config, exclusive):
    from sklearn.linear_model import LogisticRegression

    nlp, examples, optimizer = make_nlp(sentence_config(), exclusive=exclusive)
    train(nlp, examples, optimizer, steps=2)
    pipe = pipe_of(nlp)
    pipe.few_shot.refit(pipe)
    vectors = module_of(nlp).vectors([eg.reference.text for eg in examples])
    scale = (vectors - vectors.mean(0)).std()
    gold = pipe.read_gold(examples)[0][:, 1]
    found = numpy.array(
        [list(doc.cats.values())[1] for doc in nlp.pipe([eg.text for eg in examples])]
    )
    one = LogisticRegression(C=HEAD_STRENGTH, max_iter=1000).fit(vectors / scale, gold)
    numpy.testing.assert_allclose(found, one.predict_proba(vectors / scale)[:, 1], atol=2e-3)


def test_training_moves_the_encoder_and_not_the_head(sentence_config):
    nlp, examples, optimizer = make_nlp(sentence_config())
    before = {k: v.clone() for k, v in module_of(nlp).named_parameters()}
    nlp.update(examples, sgd=optimizer, losses={})
    still = {k for k, v in module_of(nlp).named_parameters() if torch.equal(v, before[k])}
    assert still == {"output.weight", "output.bias"}


def test_frozen_blocks_are_bit_identical_and_nothing_moves_without_trainable_ones(
    sentence_config, tmp_path
):
    for unfreeze, moving in ((1, {"1"}), ("none", set())):
        model = sentence_config(encoder={"unfreeze": unfreeze})
        nlp, examples, optimizer = make_nlp(model)
        before = {k: v.clone() for k, v in module_of(nlp).encoder.named_parameters()}
        scores = nlp("a film").cats
        train(nlp, examples, optimizer, steps=3)
        changed = {
            k for k, v in module_of(nlp).encoder.named_parameters() if not torch.equal(v, before[k])
        }
        assert {name.split(".")[3] for name in changed} == moving
        if unfreeze == "none":
            assert nlp("a film").cats == scores


def test_gradual_unfreezing_gets_on_from_a_start_where_nothing_trains(sentence_config):
    model = sentence_config(encoder={"unfreeze_every": 2})
    nlp, examples, optimizer = make_nlp(model)
    before = {k: v.clone() for k, v in module_of(nlp).encoder.named_parameters()}
    train(nlp, examples, optimizer, steps=8)
    assert all(not torch.equal(v, before[k]) for k, v in module_of(nlp).encoder.named_parameters())


def test_cached_and_uncached_training_are_close(sentence_config):
    def losses(cache_mb):
        encoder = {"unfreeze": 1, "cache_mb": cache_mb}
        nlp, examples, optimizer = make_nlp(sentence_config(encoder=encoder))
        return [train(nlp, examples, optimizer, steps=1) for _ in range(5)]

    assert losses(100) == pytest.approx(losses(0), abs=5e-3)


def test_the_same_seed_gives_the_same_bytes(sentence_config):
    def run():
        nlp, examples, optimizer = make_nlp(sentence_config())
        for i in range(4):
            # One label a batch: partners are drawn from the support set.
            nlp.update(examples[4 * (i % 2) :][:3], sgd=optimizer, losses={})
        return nlp.to_bytes()

    assert run() == run()


@pytest.mark.parametrize("cross_entropy", [0.0, 0.5])
def test_predictions_in_between_do_not_change_the_training(sentence_config, cross_entropy):
    def run(*, predicting=()):
        nlp, examples, optimizer = make_nlp(sentence_config(), cross_entropy=cross_entropy)
        for _ in range(4):
            nlp.update(examples, sgd=False, losses={})
            if "annotating" in predicting:
                nlp("a film")
            pipe_of(nlp).finish_update(optimizer)
            if "evaluating" in predicting:
                nlp("a film")
        return nlp.to_bytes()

    plain = run()
    assert run(predicting=["evaluating"]) == plain
    assert run(predicting=["annotating", "evaluating"]) == plain


@pytest.mark.parametrize("part", [slice(0, 3), slice(0, 1)])
def test_a_batch_without_pairs_is_filled_up_from_the_support_set(sentence_config, part):
    nlp, examples, optimizer = make_nlp(sentence_config())
    pipe = pipe_of(nlp)
    batch = pipe.training_batch(examples[part])
    labels = [eg.reference.cats["GOOD"] for eg in batch]
    assert labels.count(1.0) >= 2 and labels.count(0.0) >= 1
    assert len({eg.reference.text for eg in batch}) == len(batch)
    losses = nlp.update(examples[part], sgd=optimizer, losses={})
    assert losses["textcat"] > 0.0


def test_a_batch_with_pairs_stays_as_it_is(sentence_config):
    nlp, examples, _ = make_nlp(sentence_config())
    assert pipe_of(nlp).training_batch(examples[2:6]) == examples[2:6]


def test_the_probe_before_training_is_logged(sentence_config, caplog):
    logger = logging.getLogger("spacy")
    logger.propagate = True
    with caplog.at_level(logging.INFO, logger="spacy"):
        make_nlp(sentence_config())
    assert any(
        "before any training: a linear probe on 8 texts" in r.message for r in caplog.records
    )


def test_a_loaded_pipeline_trains_on_and_keeps_its_head_until_it_has_seen_all_labels(
    sentence_config, tmp_path
):
    nlp, examples, optimizer = make_nlp(sentence_config())
    train(nlp, examples, optimizer)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    optimizer = again.resume_training()
    optimizer.learn_rate = 0.01
    head = module_of(again).output.weight.detach().clone()
    again.update(examples[:4], sgd=optimizer, losses={})
    again("a film")
    assert torch.equal(module_of(again).output.weight, head)
    again.update(examples, sgd=optimizer, losses={})
    again("a film")
    assert not torch.equal(module_of(again).output.weight, head)
    assert all(right(again, examples))


def test_texts_given_to_update_join_the_support_set(sentence_config):
    nlp, examples, optimizer = make_nlp(sentence_config())
    new = [Example.from_dict(nlp.make_doc("a fine score"), {"cats": {"GOOD": 1.0, "BAD": 0.0}})]
    nlp.update([*examples, *new], sgd=optimizer, losses={})
    assert len(pipe_of(nlp).few_shot.support.examples) == 9


def test_sourced_components_and_two_processes_agree(sentence_config, tmp_path):
    nlp, examples, optimizer = make_nlp(sentence_config())
    train(nlp, examples, optimizer, steps=5)
    nlp.to_disk(tmp_path)
    other = spacy.blank("xx")
    other.add_pipe("textcat", source=spacy.load(tmp_path))
    texts = [*GOOD, *BAD, "", " "]
    expected = [doc.cats for doc in nlp.pipe(texts)]
    for stream in (other.pipe(texts), nlp.pipe(texts, n_process=2, batch_size=5)):
        for doc, cats in zip(stream, expected, strict=True):
            assert doc.cats == pytest.approx(cats, abs=1e-5)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_worker_gets_a_fitted_head_and_none_of_the_training_texts(exclusive, sentence_config):
    nlp, examples, optimizer = make_nlp(sentence_config(), exclusive=exclusive)
    train(nlp, examples, optimizer, steps=5)
    # How one gets it that is not forked.
    sent = pickle.dumps(pipe_of(nlp))
    assert not any(eg.reference.text.encode() in sent for eg in examples)
    worker = pickle.loads(sent)
    assert worker.few_shot.support.examples == []
    docs = [nlp.make_doc(eg.reference.text) for eg in examples]
    assert worker.predict(docs) == pytest.approx(pipe_of(nlp).predict(docs), abs=1e-6)
    assert len(pipe_of(nlp).few_shot.support.examples) == len(examples)


def test_the_default_loss_scorer_and_threshold_follow_the_labels(nlp):
    for exclusive, threshold, loss in ((True, 0.0, "supcon"), (False, 0.5, "cosine")):
        pipe = nlp.add_pipe("reprtune_setfit", name=str(exclusive), config={"exclusive": exclusive})
        assert pipe.cfg["threshold"] == threshold and pipe.few_shot.contrastive == loss
        assert ("multilabel" in pipe.scorer.__name__) is not exclusive


def test_spacy_train_selects_the_best_step_and_the_same_seed_gives_the_same_weights(
    sentence_config, tmp_path
):
    config = training_config(sentence_config(), tmp_path)

    def run(name):
        random.seed(99)
        nlp = init_nlp(config)
        (tmp_path / name).mkdir()
        spacy_train(nlp, tmp_path / name, stdout=_Sink(), stderr=_Sink())
        return spacy.load(tmp_path / name / "model-best")

    first, second = run("first"), run("second")
    assert first.meta["performance"]["cats_score"] > 0.5
    # Not the bytes of all: transformers' configuration remembers the directory it was loaded from.
    weights = module_of(first).state_dict(), module_of(second).state_dict()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert pipe_of(first).cfg == pipe_of(second).cfg


def test_the_probe_is_scored_beside_it_and_kept_where_training_hurts(
    sentence_config, tmp_path, caplog
):
    config = training_config(sentence_config(), tmp_path)
    # At this rate the loss destroys the weights, and all texts get nearly the same vector.
    config["components"]["textcat"]["contrastive"] = "cosine"
    config["training"]["optimizer"]["learn_rate"]["initial_rate"] = 0.3
    nlp = init_nlp(config)
    untouched = {k: v.clone() for k, v in module_of(nlp).encoder.state_dict().items()}
    with caplog.at_level("INFO", logger="spacy"):
        spacy_train(nlp, tmp_path, stdout=_Sink(), stderr=_Sink())
    messages = [m for m in caplog.messages if "probe" in m and "on dev" in m]
    assert "a linear probe on the untouched encoder has" in messages[0]
    assert any("below the linear probe" in m and "model-best keeps" in m for m in messages[1:])
    best = module_of(spacy.load(tmp_path / "model-best")).encoder.state_dict()
    last = module_of(spacy.load(tmp_path / "model-last")).encoder.state_dict()
    assert all(torch.equal(best[key], untouched[key]) for key in untouched)
    assert not all(torch.equal(last[key], untouched[key]) for key in untouched)


class _Sink:
    def write(self, text):
        """Nowhere."""

    flush = isatty = lambda self: None


def training_config(model, folder) -> Config:
    """What the shipped config says, on a tiny encoder and the examples of the tests."""
    from pathlib import Path

    from spacy.util import load_config

    nlp = spacy.blank("xx")
    docs = []
    for example in make_examples(nlp):
        doc = nlp.make_doc(example.reference.text)
        doc.cats = example.reference.cats
        docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "corpus.spacy")
    path = str(folder / "corpus.spacy")
    overrides = {
        "paths.train": path,
        "paths.dev": path,
        "corpora.train.per_class": 3,
        "training.max_steps": 4,
        "training.eval_frequency": 2,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        "paths.encoder": model["encoder"]["name"],
        "components.textcat.model.encoder.precision": "fp32",
    }
    shipped = Path(__file__).parents[2] / "configs" / "textcat_setfit.cfg"
    return load_config(shipped, overrides=overrides, interpolate=False)


@pytest.mark.filterwarnings("error:.*keeps the head")
def test_rows_with_one_decision_each_are_one_text(sentence_config):
    """As Prodigy writes them: a batch with the rows of one label keeps what is known of others."""

    def rows(nlp):
        return [
            Example.from_dict(nlp.make_doc(text), {"cats": {label: value}})
            for text, cats in MULTI
            for label, value in cats.items()
        ]

    model = sentence_config()
    nlp, examples, optimizer = make_nlp(model, examples=rows, exclusive=False)
    pipe = pipe_of(nlp)
    nlp.update([eg for eg in examples if "GOOD" in eg.reference.cats], sgd=optimizer)
    gold, known = pipe.read_gold(pipe.few_shot.support.examples)
    assert known.all() and gold.sum(0).tolist() == [4.0, 4.0]
    assert set(nlp("a great film").cats) == {"GOOD", "SOUND"}
    assert all(len(eg.reference.cats) == 1 for eg in examples)
