"""`reprtune_setfit` on a shared encoder: its head is fitted through the component it listens to."""

import pickle
import warnings

import numpy
import pytest
import spacy
import torch
from conftest import BAD, GOOD, save_encoder
from spacy.training import Example
from thinc.api import Adam

from spacy_reprtune.exchange.setfit import export_setfit

LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
SENTENCES = {"@architectures": "spacy_reprtune.SentenceClassifier.v1", "encoder": LISTENER}
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": False,
    "tok2vec": LISTENER,
}
TEXTS = [*GOOD, *BAD]
NOUNS = "film", "movie", "plot"


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory):
    """An encoder without dropout, so that gradients of two passes can be compared."""
    path = tmp_path_factory.mktemp("without_dropout") / "bert"
    return save_encoder(path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def make(encoder_path):
    """Makes an initialized pipeline with a shared encoder, `reprtune_setfit` and spaCy's `ner`."""

    def make(*, setfit=True, ner=True, model=SENTENCES, **settings):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        encoder = {"name": str(encoder_path), "precision": "fp32"}
        nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder})
        if setfit:
            nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": model, **settings})
        if ner:
            nlp.add_pipe("ner", config={"model": NER})
        examples = annotate(nlp)
        nlp.initialize(lambda: examples)
        return nlp

    return make


def annotate(nlp, *, cats=True, ents=True):
    examples = []
    for text in TEXTS:
        doc, gold = nlp.make_doc(text), {}
        if cats:
            gold["cats"] = {"GOOD": float(text in GOOD), "BAD": float(text in BAD)}
        if ents:
            gold["entities"] = [(t.idx, t.idx + len(t), "NOUN") for t in doc if t.text in NOUNS]
        examples.append(Example.from_dict(doc, gold))
    return examples


def train(nlp, examples, steps, rate=0.01):
    """Steps in the order of `spacy train`."""
    optimizer = Adam(rate, use_averages=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The learning rate")
        for _ in range(steps):
            losses = {}
            nlp.update(examples, sgd=False, losses=losses)
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)
    return losses


def weights(nlp):
    state = nlp.get_pipe("encoder").head.state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def moved(before, after):
    return any(not torch.equal(before[name], after[name]) for name in before)


def gradient(nlp):
    encoder = nlp.get_pipe("encoder")
    encoder._finish_pass()
    parameters = list(encoder.head.parameters())
    parts = [p.grad.to_dense().flatten() for p in parameters if p.grad is not None]
    for parameter in parameters:
        parameter.grad = None
    nlp.get_pipe("textcat").shim.n_backward = 0
    return torch.cat(parts)


def answers(nlp):
    docs = nlp.pipe(TEXTS)
    return [([doc.cats["GOOD"], *[len(e) for e in doc.ents]]) for doc in docs]


def check(nlp, expected):
    for found, row in zip(answers(nlp), expected, strict=True):
        assert found == pytest.approx(row, abs=1e-5)


@pytest.fixture(scope="module")
def trained(make):
    nlp = make(cross_entropy=0.3)
    losses = train(nlp, annotate(nlp), 40)
    assert set(losses) == {"encoder", "textcat", "ner"}
    return nlp


def test_it_overfits_beside_a_stock_component(trained):
    scores = trained.evaluate(annotate(trained))
    assert scores["cats_score"] == 1.0 and scores["ents_f"] == 1.0


def test_every_way_to_save_and_copy_keeps_the_predictions(trained, tmp_path):
    expected = answers(trained)
    for text, row in zip(TEXTS, expected, strict=True):
        assert trained(text).cats["GOOD"] == pytest.approx(row[0], abs=1e-5)
    trained.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    check(loaded, expected)
    fresh = spacy.util.load_model_from_config(trained.config, auto_fill=True)
    check(fresh.from_bytes(trained.to_bytes()), expected)
    check(pickle.loads(pickle.dumps(trained)), expected)
    other = spacy.blank("xx")
    for name in trained.pipe_names:
        other.add_pipe(name, source=loaded)
    check(other, expected)
    # It can be trained further: the texts that it is given from now on are its support set.
    before = weights(other)
    train(other, annotate(other), 1)
    assert moved(before, weights(other))
    other("a film")
    assert not other.get_pipe("textcat").few_shot._stale


def test_replaced_listeners_keep_the_predictions_and_train_by_themselves(trained, tmp_path):
    expected = answers(trained)
    trained.to_disk(tmp_path / "model")
    source = {"source": str(tmp_path / "model"), "replace_listeners": ["model.encoder"]}
    config = {"nlp": {"lang": "xx", "pipeline": ["textcat"]}, "components": {"textcat": source}}
    labels = [row[:1] for row in expected]
    check(spacy.util.load_model_from_config(config, auto_fill=True), labels)

    nlp = spacy.load(tmp_path / "model")
    nlp.replace_listeners("encoder", "textcat", ["model.encoder"])
    check(nlp, expected)
    with pytest.raises(ValueError, match="reads vectors of tokens.*Encoder.v1 of its own"):
        export_setfit(nlp.get_pipe("textcat"), tmp_path / "setfit")
    nlp.to_disk(tmp_path / "replaced")
    loaded = spacy.load(tmp_path / "replaced")
    check(loaded, expected)
    before, own = weights(loaded), loaded.get_pipe("textcat").model.to_bytes()
    train(loaded, annotate(loaded, ents=False), 2)
    loaded("a film")
    assert loaded.get_pipe("textcat").model.to_bytes() != own
    assert not moved(before, weights(loaded))
    assert loaded.get_pipe("textcat").few_shot.upstream is None


def test_the_head_is_fitted_to_the_vectors_that_predictions_get(make):
    nlp = make()
    train(nlp, annotate(nlp), 3)
    answers(nlp)
    pipe = nlp.get_pipe("textcat")
    weight = pipe.head.output.weight.detach().clone()
    seen = []
    pool = pipe.head.pool
    pipe.head.pool = lambda rows: seen.append(pool(rows)) or seen[-1]
    pipe.few_shot.fit_head(pipe, pipe.few_shot.support.examples)
    torch.testing.assert_close(pipe.head.output.weight, weight)
    answers(nlp)
    torch.testing.assert_close(seen[1], seen[0])


def test_the_head_is_fitted_again_when_another_head_has_moved_the_encoder(make):
    nlp = make(cross_entropy=0.5)
    pipe = nlp.get_pipe("textcat")
    train(nlp, annotate(nlp), 1)
    answers(nlp)
    fitted = pipe.head.output.weight.detach().clone()
    trained_head = [part.copy() for part in pipe.few_shot._trained_head]
    train(nlp, annotate(nlp, cats=False), 1)
    answers(nlp)
    assert not torch.equal(pipe.head.output.weight, fitted)
    # What cross-entropy goes on with is not the fitted head.
    for part, before in zip(pipe.few_shot._trained_head, trained_head, strict=True):
        numpy.testing.assert_array_equal(part, before)


@pytest.mark.parametrize("settings", [{}, {"contrastive": "cosine"}, {"cross_entropy": 0.5}])
def test_its_loss_moves_the_shared_encoder_down_its_gradient(settings, make):
    nlp = make(ner=False, **settings)
    examples = annotate(nlp)
    nlp.update(examples, sgd=False, losses=(first := {}))
    direction = gradient(nlp)
    assert direction.norm() > 0
    step, offset = 0.001 * direction / direction.norm(), 0
    with torch.no_grad():
        for parameter in nlp.get_pipe("encoder").head.parameters():
            # The pooler of a BERT is not used.
            if parameter.requires_grad and offset < len(step):
                part = step[offset : offset + parameter.numel()]
                parameter -= part.reshape(parameter.shape)
                offset += parameter.numel()
    nlp.get_pipe("encoder").encoder.weights_changed()
    nlp.update(examples, sgd=False, losses=(second := {}))
    expected = 0.001 * float(direction.norm())
    assert first["textcat"] - second["textcat"] == pytest.approx(expected, rel=0.1)


def test_texts_that_repeat_or_are_not_annotated_count_as_if_they_were_not_there(make):
    nlp = make(ner=False)
    nlp.update(annotate(nlp), sgd=False, losses=(plain := {}))
    expected = gradient(nlp)
    mixed = [*annotate(nlp), *annotate(nlp, cats=False), *annotate(nlp)[:3]]
    nlp.update(mixed, sgd=False, losses=(found := {}))
    assert found["textcat"] == pytest.approx(plain["textcat"], rel=1e-4)
    torch.testing.assert_close(gradient(nlp), expected, atol=1e-6, rtol=1e-3)


def test_a_batch_without_pairs_of_both_kinds_names_the_batcher(make):
    nlp = make(ner=False)
    with pytest.warns(UserWarning, match=r"without a label in common.*batch_by_class"):
        nlp.update(annotate(nlp)[:4], sgd=False)


def test_a_batch_for_others_leaves_its_pairs_alone(make):
    nlp = make()
    losses = train(nlp, annotate(nlp, cats=False), 1)
    assert losses["textcat"] == 0.0 and losses["ner"] > 0.0
    assert nlp.get_pipe("textcat").shim.n_backward == 0


def test_accumulated_gradients_are_refused(make):
    nlp = make()
    examples = annotate(nlp)
    nlp.update(examples[::2], sgd=False)
    with pytest.raises(ValueError, match="accumulate_gradient = 1"):
        nlp.update(examples[1::2], sgd=False)


def test_updates_with_an_optimizer_and_an_annotating_head_lose_no_gradient(make):
    """`nlp.update` steps each component before the next one learns."""
    results = []
    for annotates in ([], ["encoder", "textcat"]):
        nlp = make()
        # The parser cuts its batches at random.
        spacy.util.fix_random_seed(0)
        optimizer = Adam(0.001, use_averages=False)
        nlp.update(annotate(nlp), sgd=optimizer, annotates=annotates)
        answers(nlp)
        results.append(weights(nlp))
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, atol=1e-6, rtol=1e-4)


def test_calibration_fits_the_temperature_through_the_pipeline(make):
    nlp = make()
    train(nlp, annotate(nlp), 5)
    before = answers(nlp)
    pipe = nlp.get_pipe("textcat")
    assert pipe.calibrate(annotate(nlp), nlp=nlp) != 1.0
    assert [row[0] for row in answers(nlp)] != [row[0] for row in before]


def test_a_frozen_encoder_that_does_not_annotate(make):
    nlp = make(ner=False)
    with pytest.raises(ValueError, match="annotating_components"):
        nlp.update(annotate(nlp), exclude=["encoder"])
    before = weights(nlp)
    sgd = Adam(0.001, use_averages=False)
    nlp.update(annotate(nlp), sgd=sgd, exclude=["encoder"], annotates=["encoder"])
    assert not moved(before, weights(nlp))


def test_blank_empty_and_long_docs(make):
    nlp = make()
    for text in ("", "  ", " ".join(["a great film"] * 60)):
        assert sum(nlp(text).cats.values()) == pytest.approx(1.0, abs=1e-5)
    blank = Example.from_dict(nlp.make_doc(""), {"cats": {"GOOD": 1.0, "BAD": 0.0}})
    losses = train(nlp, [*annotate(nlp), blank], 1)
    assert numpy.isfinite(losses["textcat"])
    assert len(list(nlp.pipe(["a film", ""]))) == 2


@pytest.mark.parametrize("upstream", [None, "tok2vec"])
def test_without_a_shared_encoder_before_it(upstream, nlp):
    if upstream:
        width = nlp.add_pipe(upstream).model.get_dim("nO")
    listener = {**LISTENER, "width": width if upstream else 16}
    nlp.add_pipe("reprtune_setfit", config={"model": {**SENTENCES, "encoder": listener}})
    with pytest.raises(ValueError, match="Add a reprtune_encoder before it"):
        nlp.initialize(lambda: annotate(nlp))


def test_the_setfit_library_can_t_train_a_shared_encoder(make):
    trainer = {"@misc": "spacy_reprtune.SetFitTrainer.v1"}
    pytest.importorskip("setfit", reason="the extra [setfit]")
    with pytest.raises(ValueError, match="trains the component's own encoder"):
        make(trainer=trainer)


def test_a_pooling_of_special_pieces(make):
    with pytest.raises(ValueError, match="'cls' reads a special piece"):
        make(model={**SENTENCES, "pooling": "cls"})


def test_a_tok2vec_of_its_own_is_trained_and_saved(tmp_path):
    """Vectors may come from spaCy's layers as well, without another component."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    tok2vec = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 8,
        "depth": 1,
        "embed_size": 200,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
    }
    pipe = nlp.add_pipe("reprtune_setfit", config={"model": {**SENTENCES, "encoder": tok2vec}})
    examples = annotate(nlp, ents=False)
    nlp.initialize(lambda: examples)
    before = pipe.model.layers[0].to_bytes()
    train(nlp, examples, 20)
    assert pipe.model.layers[0].to_bytes() != before
    assert nlp.evaluate(examples)["cats_macro_f"] == 1.0
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(TEXTS[0]).cats == nlp(TEXTS[0]).cats
