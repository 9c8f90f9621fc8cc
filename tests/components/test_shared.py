"""One encoder, many heads: gradients arrive from whichever head learns, and everything that a user
does to a stock `tok2vec` and its listeners works."""

import pickle

import numpy
import pytest
import spacy
import torch
from conftest import BAD, GOOD, save_encoder
from spacy.training import Example
from thinc.api import Adam

from spacy_reprtune.components import shared_encoder
from spacy_reprtune.components.balance import gradient_norm
from spacy_reprtune.exchange.hf_export import export_huggingface

LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
HEADS = {
    "textcat": {
        "factory": "reprtune_textcat",
        "model": {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": LISTENER},
    },
    "tagger": {
        "factory": "tagger",
        "model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER},
    },
    "ner": {
        "factory": "ner",
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
            "use_upper": False,
            "tok2vec": LISTENER,
        },
    },
    "reprtune_ner": {
        "factory": "reprtune_ner",
        "model": {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": LISTENER},
    },
    "spancat": {
        "factory": "spancat",
        "spans_key": "sc",
        "suggester": {"@misc": "spacy.ngram_suggester.v1", "sizes": [1]},
        "model": {
            "@architectures": "spacy.SpanCategorizer.v1",
            "tok2vec": LISTENER,
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 16},
            "scorer": {"@layers": "spacy.LinearLogistic.v1"},
        },
    },
    "stock_textcat": {
        "factory": "textcat",
        "model": {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": True,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": False,
            "use_reduce_mean": True,
            "tok2vec": LISTENER,
        },
    },
}
TAGS = "A", "B"


def annotate(nlp, texts_and_good, kinds):
    examples = []
    for text, good in texts_and_good:
        doc = nlp.make_doc(text)
        gold = {}
        nouns = [t for t in doc if t.text in ("film", "movie", "plot", "cold", "warm")]
        if "textcat" in kinds:
            gold["cats"] = {"GOOD": good, "BAD": 1.0 - good}
        if "tagger" in kinds:
            gold["tags"] = [TAGS[len(t) > 3] for t in doc]
        if "ner" in kinds or "reprtune_ner" in kinds:
            gold["entities"] = [(t.idx, t.idx + len(t), "NOUN") for t in nouns]
        if "spancat" in kinds:
            gold["spans"] = {"sc": [(t.idx, t.idx + len(t), "NOUN") for t in nouns]}
        examples.append(Example.from_dict(doc, gold))
    return examples


ALL = "textcat", "tagger", "reprtune_ner", "spancat"
REVIEWS = [(text, 1.0) for text in GOOD] + [(text, 0.0) for text in BAD]


@pytest.fixture(scope="module")
def encoder_without_dropout(tmp_path_factory):
    """Gradients of two passes can be compared."""
    path = tmp_path_factory.mktemp("without_dropout") / "bert"
    return save_encoder(path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def shared(encoder_without_dropout):
    """Makes a pipeline of a shared encoder and heads, initialized with docs that have all
    annotations."""

    def make(*names, head_weights={}, **encoder):  # noqa: B006
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        model = {
            "@architectures": "spacy_reprtune.Encoder.v1",
            "name": str(encoder_without_dropout),
            "precision": "fp32",
            **encoder,
        }
        config = {"model": model, "head_weights": head_weights}
        nlp.add_pipe("reprtune_encoder", name="encoder", config=config)
        for name in names:
            settings = dict(HEADS[name])
            nlp.add_pipe(settings.pop("factory"), name=name, config=settings)
        kinds = [name.removeprefix("stock_") for name in names]
        examples = annotate(nlp, REVIEWS, kinds)
        nlp.initialize(lambda: examples)
        for name in names:
            if name == "tagger":
                # Its head starts at zero, which gives the encoder no gradient at first.
                softmax = nlp.get_pipe("tagger").model.get_ref("softmax")
                rng = numpy.random.default_rng(0)
                softmax.set_param("W", rng.normal(size=softmax.get_param("W").shape).astype("f"))
        return nlp

    return make


def adam(rate=0.01):
    return Adam(rate, use_averages=False)


def weights(nlp):
    state = nlp.get_pipe("encoder").model.shims[0].module.state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def gradient(nlp):
    """The gradient of the encoder, as it is after an update without optimizer."""
    transformer = nlp.get_pipe("encoder")
    transformer._finish_pass()
    module = transformer.model.shims[0].module
    parts = [p.grad.to_dense() for p in module.parameters() if p.grad is not None]
    for parameter in module.parameters():
        parameter.grad = None
    return torch.cat([part.flatten() for part in parts]) if parts else torch.zeros(1)


def moved(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


def train_step(nlp, examples, optimizer, **settings):
    """One step in the order of `spacy train`."""
    nlp.update(examples, sgd=False, **settings)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)


def annotations(nlp, texts):
    return [
        (
            doc.cats,
            [t.tag_ for t in doc],
            [(e.text, e.label_) for e in doc.ents],
            [(s.text, s.label_) for s in doc.spans.get("sc", [])],
        )
        for doc in nlp.pipe(texts)
    ]


def same(found, expected):
    for (cats, *rest), (expected_cats, *expected_rest) in zip(found, expected, strict=True):
        assert cats == pytest.approx(expected_cats, abs=1e-4)
        assert rest == expected_rest
    return True


def test_a_component_without_labels_says_so(shared):
    encoder = shared("textcat").get_pipe("encoder")
    with pytest.raises(ValueError, match="'encoder' does not predict labels"):
        encoder.add_label("good")
    with pytest.raises(ValueError, match="'encoder' predicts no probabilities"):
        encoder.calibrate([])


def test_heads_overfit_together_and_survive_every_way_to_save(shared, tmp_path):
    nlp = shared(*ALL)
    examples = annotate(nlp, REVIEWS, ALL)
    optimizer = adam()
    for _ in range(40):
        losses = {}
        train_step(nlp, examples, optimizer, losses=losses)
    assert losses["textcat"] < 0.1
    assert set(losses) == {"encoder", *ALL}
    scores = nlp.evaluate(examples)
    for key in ("cats_score", "tag_acc", "ents_f", "spans_sc_f"):
        assert scores[key] == 1.0, key
    texts = [text for text, _ in REVIEWS]
    # Saving calibrates.
    nlp.to_disk(tmp_path / "model")
    expected = annotations(nlp, texts)
    for text, single in zip(texts, expected, strict=True):
        assert same(annotations(nlp, [text]), [single])
    loaded = spacy.load(tmp_path / "model")
    assert same(annotations(loaded, texts), expected)
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    assert same(annotations(fresh.from_bytes(nlp.to_bytes()), texts), expected)
    # The encoder is a directory that can be named as one again.
    saved = tmp_path / "model" / "encoder" / "model" / "encoder"
    assert (saved / "model.safetensors").exists() and (saved / "config.json").exists()
    # Training goes on from there.
    train_step(loaded, examples, adam())
    assert moved(weights(nlp), weights(loaded))


@pytest.fixture(scope="module")
def gradients_alone(shared):
    """The gradient of the encoder from each head, in a pipeline that has no other."""
    found = {}
    for kind in ("textcat", "reprtune_ner", "tagger"):
        nlp = shared(kind)
        nlp.update(annotate(nlp, REVIEWS, [kind]), sgd=False)
        found[kind] = nlp.get_pipe(kind).model.to_bytes(), gradient(nlp)
    return found


@pytest.mark.parametrize("last", ["textcat", "reprtune_ner", "tagger"])
def test_a_batch_for_one_head_teaches_the_encoder_as_if_it_were_the_only_one(
    last, shared, gradients_alone
):
    order = [kind for kind in gradients_alone if kind != last] + [last]
    together = shared(*order)
    for kind in order:
        head, expected = gradients_alone[kind]
        together.get_pipe(kind).model.from_bytes(head)
        together.get_pipe("encoder")._balance = None
        together.update(annotate(together, REVIEWS, [kind]), sgd=False)
        assert expected.norm() > 0
        torch.testing.assert_close(gradient(together), expected)


def test_every_head_has_the_same_say(shared, monkeypatch):
    kinds = ["textcat", "tagger", "ner"]
    nlp, norms = shared(*kinds), []

    def noted(vectors, gradients):
        norms.append(gradient_norm(vectors, gradients))
        return norms[-1]

    monkeypatch.setattr(shared_encoder, "gradient_norm", noted)
    parts = []
    for kind in kinds:
        # The only head that has been heard keeps its gradient.
        nlp.get_pipe("encoder")._balance = None
        nlp.update(annotate(nlp, REVIEWS, [kind]), sgd=False)
        parts.append(gradient(nlp))
    nlp.get_pipe("encoder")._balance = None
    nlp.update(annotate(nlp, REVIEWS, kinds), sgd=False)
    total = gradient(nlp)
    assert norms[3:] == pytest.approx(norms[:3], rel=1e-3) and max(norms) > 2 * min(norms)
    expected = sum(max(norms) / n * part for n, part in zip(norms[3:], parts, strict=True))
    assert float((total - expected).norm()) < 1e-3 * float(expected.norm())


def test_examples_of_different_kinds_in_one_batch(shared):
    nlp = shared("textcat", "ner")
    mixed = annotate(nlp, REVIEWS[::2], ["textcat"]) + annotate(nlp, REVIEWS[1::2], ["ner"])
    optimizer = adam()
    for _ in range(40):
        losses = {}
        train_step(nlp, mixed, optimizer, losses=losses)
    assert losses["textcat"] < 0.1 and losses["ner"] < 0.1


@pytest.mark.parametrize("kind", ["textcat", "tagger", "reprtune_ner", "stock_textcat"])
def test_every_head_counts_with_the_mean_of_its_loss(kind, shared):
    nlp = shared(kind)
    annotation = kind.removeprefix("stock_")
    nlp.update(annotate(nlp, REVIEWS, [annotation]), sgd=False)
    once = gradient(nlp)
    nlp.update(annotate(nlp, REVIEWS * 2, [annotation]), sgd=False)
    torch.testing.assert_close(gradient(nlp), once, atol=1e-6, rtol=1e-3)


def test_a_weight_scales_the_gradient_of_a_head(shared):
    nlp = shared("tagger", head_weights={"tagger": 0.25})
    examples = annotate(nlp, REVIEWS, ["tagger"])
    nlp.update(examples, sgd=False)
    quarter = gradient(nlp)
    nlp.get_pipe("encoder").head_weights.clear()
    nlp.update(examples, sgd=False)
    torch.testing.assert_close(quarter, gradient(nlp) / 4)


def test_a_frozen_encoder_weighs_nothing(shared):
    balances = []
    for unfreeze in ("none", "all"):
        nlp = shared("textcat", "tagger", unfreeze=unfreeze)
        train_step(nlp, annotate(nlp, REVIEWS, ["textcat", "tagger"]), adam())
        balances.append(nlp.get_pipe("encoder")._balance)
    assert balances[0] is None and balances[1] is not None


def test_weights_are_relative_to_the_other_heads(shared):
    nlp = shared("textcat", "tagger")
    encoder = nlp.get_pipe("encoder")

    def share(kind, weight):
        """A head's part in what moves the encoder, beside another head that is not annotated."""
        encoder._balance = None
        encoder.head_weights[kind] = weight
        nlp.update(annotate(nlp, REVIEWS, ["textcat", "tagger"]), sgd=False)
        gradient(nlp)
        nlp.update(annotate(nlp, REVIEWS, [kind]), sgd=False)
        return gradient(nlp)

    full = share("tagger", 1.0)
    torch.testing.assert_close(share("tagger", 0.25), full / 4, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(share("tagger", -2.0), -2 * full, atol=1e-6, rtol=1e-4)


def test_a_batch_that_teaches_nobody_changes_nothing(shared):
    nlp = shared("textcat", "tagger", "ner")
    optimizer = adam()
    # Momentum that would go on.
    train_step(nlp, annotate(nlp, REVIEWS, ["textcat", "tagger", "ner"]), optimizer)
    before = weights(nlp)
    losses = {}
    train_step(nlp, annotate(nlp, REVIEWS, []), optimizer, losses=losses)
    nlp.update(annotate(nlp, REVIEWS, []), sgd=optimizer)
    assert not moved(before, weights(nlp))
    assert losses["encoder"] == 0.0 and losses["textcat"] == 0.0


@pytest.mark.parametrize("kinds", [["textcat", "ner"], ["textcat"], ["ner"]])
def test_both_orders_of_updating_give_the_same_weights(kinds, shared):
    """`nlp.update` with an optimizer steps each component before the next one learns."""
    results = []
    for step in (train_step, lambda nlp, egs, sgd: nlp.update(egs, sgd=sgd)):
        nlp = shared("textcat", "ner")
        optimizer = adam()
        for _ in range(3):
            # A new seed, because the parser cuts its batches at random.
            spacy.util.fix_random_seed(0)
            step(nlp, annotate(nlp, REVIEWS, kinds), optimizer)
        # Looking makes an update that still waits.
        nlp("a film")
        results.append(weights(nlp))
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, atol=1e-5, rtol=1e-4)


def test_an_update_that_waits_is_made_before_anyone_sees_the_weights(shared, tmp_path):
    nlp = shared("textcat", "ner")
    looks = [
        lambda: nlp("a film"),
        lambda: nlp.to_disk(tmp_path / "model"),
        nlp.to_bytes,
        lambda: pickle.dumps(nlp),
        lambda: nlp.update(annotate(nlp, REVIEWS, []), sgd=False),
    ]
    for look in looks:
        before = weights(nlp)
        nlp.update(annotate(nlp, REVIEWS, ["textcat"]), sgd=adam())
        look()
        assert moved(before, weights(nlp))


def test_accumulated_gradients_are_applied_even_if_the_last_part_teaches_nobody(shared):
    nlp = shared("textcat", "ner")
    before = weights(nlp)
    nlp.update(annotate(nlp, REVIEWS, ["textcat"]), sgd=False)
    nlp.update(annotate(nlp, REVIEWS, []), sgd=False)
    nlp.get_pipe("encoder").finish_update(adam())
    assert moved(before, weights(nlp))


@pytest.mark.parametrize(("unfreeze", "moving"), [("none", set()), (1, {"1"})])
def test_frozen_blocks_are_bit_identical_and_cached(unfreeze, moving, shared, tmp_path):
    losses = {}
    for cache_mb in (0, 50):
        nlp = shared("textcat", "tagger", unfreeze=unfreeze, cache_mb=cache_mb)
        examples = annotate(nlp, REVIEWS, ["textcat", "tagger"])
        before, optimizer = weights(nlp), adam()
        for _ in range(4):
            step = {}
            train_step(nlp, examples, optimizer, losses=step)
            losses.setdefault(cache_mb, []).append((step["textcat"], step["tagger"]))
        nlp.to_disk(tmp_path / str(cache_mb))
        after = weights(spacy.load(tmp_path / str(cache_mb)))
        changed = {name.split("layer.")[1][0] for name in moved(before, after)}
        assert changed == moving
    cache = nlp.get_pipe("encoder").model.shims[0].module.encoder.cache
    assert cache.stats.hits > 0
    numpy.testing.assert_allclose(losses[0], losses[50], rtol=1e-2)


def test_a_component_frozen_by_spacy_s_own_setting(shared):
    """[training] frozen_components and annotating_components, as the stock component needs them."""
    nlp = shared("textcat", "tagger")
    examples = annotate(nlp, REVIEWS, ["textcat", "tagger"])
    before, optimizer = weights(nlp), adam()
    losses = []
    for _ in range(10):
        step = {}
        nlp.update(
            examples,
            sgd=optimizer,
            losses=step,
            exclude=["encoder"],
            annotates=["encoder"],
        )
        losses.append(step["textcat"])
    assert losses[-1] < losses[0]
    assert not moved(before, weights(nlp))


def test_a_transformer_that_annotates_while_it_learns(shared):
    nlp = shared("textcat")
    before = weights(nlp)
    examples = annotate(nlp, REVIEWS, ["textcat"])
    nlp.update(examples, sgd=adam(), annotates=["encoder"])
    assert moved(before, weights(nlp))


def test_a_frozen_head_beside_one_that_learns(shared):
    nlp = shared("textcat", "tagger")
    before = weights(nlp)
    softmax = nlp.get_pipe("tagger").model.get_ref("softmax")
    head = softmax.get_param("W").copy()
    nlp.update(annotate(nlp, REVIEWS, ["textcat", "tagger"]), sgd=adam(), exclude=["tagger"])
    nlp("a film")
    assert moved(before, weights(nlp))
    numpy.testing.assert_array_equal(softmax.get_param("W"), head)


@pytest.mark.parametrize(
    "names", [("textcat", "reprtune_ner", "spancat", "tagger"), ("stock_textcat", "ner")]
)
def test_replaced_listeners_predict_the_same_and_train_by_themselves(names, shared, tmp_path):
    nlp = shared(*names)
    kinds = [name.removeprefix("stock_") for name in names]
    examples = annotate(nlp, REVIEWS, kinds)
    optimizer = adam()
    for _ in range(3):
        train_step(nlp, examples, optimizer)
    texts = [text for text, _ in REVIEWS]
    expected = annotations(nlp, texts)
    for name in names:
        part = "encoder" if "reprtune" in HEADS[name]["factory"] else "tok2vec"
        nlp.replace_listeners("encoder", name, [f"model.{part}"])
        assert name not in nlp.get_pipe("encoder").listening_components
        if "reprtune" in HEADS[name]["factory"]:
            assert nlp.get_pipe(name).calibrate(examples) > 0.0
            nlp.get_pipe(name).calibration.reset()
            with pytest.raises(ValueError, match="reads vectors of tokens.*Encoder.v1 of its own"):
                export_huggingface(nlp.get_pipe(name), tmp_path / "checkpoint")
        assert same(annotations(nlp, texts), expected)
        block = nlp.config["components"][name]["model"][part]
        assert block["@architectures"] == "spacy_reprtune.Encoder.v1"
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    assert same(annotations(loaded, texts), expected)
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    assert same(annotations(fresh.from_bytes(nlp.to_bytes()), texts), expected)

    before = weights(loaded)
    heads = {name: loaded.get_pipe(name).model.to_bytes() for name in names}
    loaded.update(annotate(loaded, REVIEWS, kinds), sgd=adam())
    for name, head in heads.items():
        assert loaded.get_pipe(name).model.to_bytes() != head
    assert not moved(before, weights(loaded))


def test_sourced_components(shared, tmp_path):
    nlp = shared("textcat", "tagger")
    train_step(nlp, annotate(nlp, REVIEWS, ["textcat", "tagger"]), adam())
    texts = [text for text, _ in REVIEWS]
    expected = annotations(nlp, texts)
    other = spacy.blank("xx")
    for name in nlp.pipe_names:
        other.add_pipe(name, source=nlp)
    assert other.get_pipe("encoder").listening_components == ["textcat", "tagger"]
    assert same(annotations(other, texts), expected)

    nlp.to_disk(tmp_path / "model")
    source = {"source": str(tmp_path / "model")}
    config = {
        "nlp": {"lang": "xx", "pipeline": ["textcat", "tagger"]},
        "components": {
            "textcat": {**source, "replace_listeners": ["model.encoder"]},
            "tagger": {**source, "replace_listeners": ["model.tok2vec"]},
        },
    }
    assembled = spacy.util.load_model_from_config(config, auto_fill=True)
    assert same(annotations(assembled, texts), expected)


def test_empty_blank_and_long_docs(shared):
    nlp = shared("textcat", "tagger", "ner", window=16, overlap=4)
    texts = ["", "  ", "a great film", "\n", " ".join(["a great film"] * 60)]
    docs = list(nlp.pipe(texts))
    assert all(set(doc.cats) == {"GOOD", "BAD"} for doc in docs)
    assert [len(doc) for doc in nlp.pipe(["", ""])] == [0, 0]
    assert len(nlp("")) == 0
    for text, doc in zip(texts, docs, strict=True):
        assert nlp(text).cats == pytest.approx(doc.cats, abs=1e-5)
    examples = annotate(nlp, [(text, 1.0) for text in texts], ["textcat", "ner", "tagger"])
    before, losses = weights(nlp), {}
    train_step(nlp, examples, adam(), losses=losses)
    assert moved(before, weights(nlp)) and numpy.isfinite(losses["textcat"])
    train_step(nlp, annotate(nlp, [("", 1.0)], ["textcat"]), adam(), losses=losses)


def test_several_processes(shared):
    nlp = shared("textcat", "tagger")
    texts = [text for text, _ in REVIEWS] * 2
    expected = annotations(nlp, texts)
    docs = list(nlp.pipe(texts, n_process=2, batch_size=4))
    assert [[t.tag_ for t in doc] for doc in docs] == [tags for _, tags, _, _ in expected]


def test_an_error_goes_to_the_error_handler(shared, monkeypatch):
    nlp = shared("textcat")
    transformer = nlp.get_pipe("encoder")
    predict = type(transformer).predict

    def fail(self, docs):
        if any("awful" in doc.text for doc in docs):
            raise RuntimeError("on purpose")
        return predict(self, docs)

    monkeypatch.setattr(type(transformer), "predict", fail)
    seen = []
    nlp.set_error_handler(lambda name, pipe, docs, error: seen.append((name, len(docs))))
    docs = list(nlp.pipe(["a film", "an awful film", "a movie"], batch_size=1))
    assert [doc.text for doc in docs] == ["a film", "a movie"]
    assert seen == [("encoder", 1)]


def test_packages_require_what_they_are_made_of(shared):
    from spacy.cli.package import get_third_party_dependencies

    requirements = get_third_party_dependencies(shared("textcat", "tagger").config)
    assert [r.partition(">=")[0] for r in requirements] == ["spacy-reprtune"]


def test_a_copy_by_pickle_predicts_the_same(shared):
    """What a worker of `nlp.pipe` that is not forked gets, here with a batch on its way."""
    nlp = shared("textcat", "ner")
    nlp.update(annotate(nlp, REVIEWS, ["textcat"]), sgd=adam())
    copy = pickle.loads(pickle.dumps(nlp))
    texts = [text for text, _ in REVIEWS]
    assert same(annotations(copy, texts), annotations(nlp, texts))
    before = weights(copy)
    train_step(copy, annotate(copy, REVIEWS, ["textcat", "ner"]), adam())
    assert moved(before, weights(copy))


def test_renamed_components_go_on_learning(shared):
    nlp = shared("textcat", "tagger")
    nlp.rename_pipe("encoder", "bert")
    nlp.rename_pipe("textcat", "topics")
    nlp.rename_pipe("bert", "encoder")
    assert nlp.get_pipe("encoder").listening_components == ["topics", "tagger"]
    before = weights(nlp)
    losses = nlp.update(annotate(nlp, REVIEWS, ["textcat", "tagger"]), sgd=adam())
    nlp("a film")
    assert moved(before, weights(nlp)) and losses["topics"] > 0.0


def two_encoders(encoder_config, order):
    nlp = spacy.blank("xx")
    for name in order:
        if name.startswith("tagger"):
            listener = {**LISTENER, "upstream": name.replace("tagger", "encoder")}
            model = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
            nlp.add_pipe("tagger", name=name, config={"model": model})
        else:
            nlp.add_pipe("reprtune_encoder", name=name, config={"model": encoder_config()})
    examples = annotate(nlp, REVIEWS, ["tagger"])
    nlp.initialize(lambda: examples)
    return nlp, examples


def test_each_head_learns_from_the_encoder_that_it_names(encoder_config):
    order = ["encoder1", "tagger1", "encoder2", "tagger2"]
    nlp, examples = two_encoders(encoder_config, order)
    assert [nlp.get_pipe(n).listening_components for n in order[::2]] == [["tagger1"], ["tagger2"]]
    train_step(nlp, examples, adam())
    train_step(nlp, examples, adam())
    vectors = {name: nlp.get_pipe(name).predict([nlp.make_doc("a film")]) for name in order[::2]}
    assert not numpy.allclose(vectors["encoder1"], vectors["encoder2"])


def test_an_encoder_between_another_and_its_head(encoder_config):
    with pytest.raises(ValueError, match=r"'tagger1' listens to 'encoder1'.*'encoder2'"):
        two_encoders(encoder_config, ["encoder1", "encoder2", "tagger1", "tagger2"])


def test_a_listener_of_another_width(encoder_config):
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder_config()})
    listener = {**LISTENER, "width": 96}
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
    nlp.add_pipe("tagger", config={"model": model})
    with pytest.raises(ValueError, match="'tagger' has width = 96.* set width = 16"):
        nlp.initialize(lambda: annotate(nlp, REVIEWS, ["tagger"]))


def test_a_weight_of_a_head_that_does_not_listen(shared):
    with pytest.raises(ValueError, match=r"has parser, but .* are textcat\."):
        shared("textcat", head_weights={"parser": 2.0})


def test_averages_of_the_encoder_are_not_kept_and_a_warning_says_so(shared):
    nlp = shared("textcat", "ner")
    optimizer = Adam(0.01, use_averages=True)
    with pytest.warns(UserWarning, match="use_averages is true"):
        train_step(nlp, annotate(nlp, REVIEWS, ["textcat", "ner"]), optimizer)
    weights = {k: v.clone() for k, v in nlp.get_pipe("encoder").head.state_dict().items()}
    with nlp.use_params(optimizer.averages):
        now = nlp.get_pipe("encoder").head.state_dict()
        assert all(torch.equal(now[key], weights[key]) for key in weights)


def test_at_most_512_docs_are_read_before_the_first_is_given(shared):
    nlp, n_read = shared("textcat"), 0

    def stream():
        nonlocal n_read
        for _ in range(2000):
            n_read += 1
            yield "a film"

    next(nlp.pipe(stream(), batch_size=128))
    assert 0 < n_read <= 512 + 128


def test_a_model_of_another_kind(nlp):
    model = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1, "embed_size": 10}
    model.update(pretrained_vectors=None, window_size=1, maxout_pieces=2, subword_features=True)
    with pytest.raises(ValueError, match=r"spacy_reprtune\.Encoder\.v1"):
        nlp.add_pipe("reprtune_encoder", config={"model": model})
