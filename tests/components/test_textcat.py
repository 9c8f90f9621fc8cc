import numpy
import pytest
import spacy
import torch
from conftest import make_examples
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam

FACTORIES = ["reprtune_textcat", "reprtune_textcat_multilabel"]


def make_nlp(factory, model, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe(factory, name="textcat", config={"model": model, **settings})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return nlp, examples, optimizer


def train(nlp, examples, optimizer, steps=30):
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses["textcat"]


def module_of(nlp, name="textcat"):
    return nlp.get_pipe(name).head


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        (FACTORIES[0], {}),
        (FACTORIES[1], {}),
        (FACTORIES[0], {"pooling": "cls", "hidden_width": 8}),
        (FACTORIES[1], {"pooling": "max", "dropout": 0.0}),
        (FACTORIES[0], {"pooling": "attention", "encoder": {"precision": "bf16"}}),
        (FACTORIES[1], {"encoder": {"window": 8, "overlap": 2, "batch_pieces": 16}}),
    ],
)
def test_overfitting_and_every_way_to_save(factory, settings, model_config, tmp_path):
    nlp, examples, optimizer = make_nlp(factory, model_config(**settings))
    assert train(nlp, examples, optimizer, steps=50) < 0.3
    texts = [eg.reference.text for eg in examples]
    docs = list(nlp.pipe(texts))
    for doc, example in zip(docs, examples, strict=True):
        assert max(doc.cats, key=doc.cats.get) == max(
            example.reference.cats, key=example.reference.cats.get
        )
        assert set(doc.cats) == {"GOOD", "BAD"}
    scores = nlp.evaluate(examples)
    assert scores["cats_macro_f"] == 1.0 and scores["cats_score"] == 1.0

    nlp.to_disk(tmp_path / "model")
    tolerance = 0.05 if settings.get("encoder", {}).get("precision") == "bf16" else 1e-5
    expected = [doc.cats for doc in nlp.pipe(texts)]

    def check(other):
        for cats, doc in zip(expected, other.pipe(texts), strict=True):
            assert doc.cats == pytest.approx(cats, abs=1e-6)

    check(nlp)
    for text, cats in zip(texts, expected, strict=True):
        assert nlp(text).cats == pytest.approx(cats, abs=tolerance)
    check(spacy.load(tmp_path / "model"))
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    check(fresh.from_bytes(nlp.to_bytes()))
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_between_updates_are_those_of_the_current_weights(
    precision, model_config, tmp_path
):
    nlp, examples, optimizer = make_nlp(
        "reprtune_textcat", model_config(encoder={"precision": precision})
    )
    for step in range(3):
        nlp.update(examples, sgd=False, losses={})
        before = nlp("a great film").cats
        nlp.get_pipe("textcat").finish_update(optimizer)
        after = nlp("a great film").cats
        nlp.to_disk(tmp_path / str(step))
        assert after != before
        assert after == spacy.load(tmp_path / str(step))("a great film").cats


def test_exclusive_probabilities_add_up_to_one_and_independent_ones_need_not(model_config):
    exclusive, *_ = make_nlp("reprtune_textcat", model_config())
    independent, *_ = make_nlp("reprtune_textcat_multilabel", model_config())
    assert sum(exclusive("a film").cats.values()) == pytest.approx(1.0, abs=1e-6)
    assert sum(independent("a film").cats.values()) != pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_loss_gradient_and_head_agree(factory, drop, model_config):
    """The gradient that get_loss gives is the one that torch finds for the same loss."""
    nlp, examples, _ = make_nlp(factory, model_config())
    pipe = nlp.get_pipe("textcat")
    logits, _ = pipe.model.begin_update([eg.predicted for eg in examples])
    loss, gradient = pipe.get_loss(examples, logits)
    step = 1e-2
    for cell in [(0, 0), (3, 1)]:
        moved = logits.copy()
        moved[cell] += step
        higher, _ = pipe.get_loss(examples, moved)
        assert (higher - loss) / step == pytest.approx(gradient[cell], abs=2e-3)


@pytest.mark.parametrize(("unfreeze", "moving"), [("none", set()), (1, {"1"}), (2, {"0", "1"})])
def test_frozen_blocks_are_bit_identical_after_training_saving_and_loading(
    unfreeze, moving, model_config, tmp_path
):
    nlp, examples, optimizer = make_nlp(
        "reprtune_textcat", model_config(encoder={"unfreeze": unfreeze})
    )
    before = {k: v.clone() for k, v in module_of(nlp).state_dict().items()}

    def changed(nlp):
        after = module_of(nlp).state_dict()
        return {name for name, value in before.items() if not torch.equal(value, after[name])}

    def blocks(names):
        return {n.split(".")[4] for n in names if n.startswith("encoder.model.encoder.layer")}

    train(nlp, examples, optimizer, steps=3)
    assert blocks(changed(nlp)) == moving
    assert not {n for n in changed(nlp) if "embeddings" in n}
    assert "output.weight" in changed(nlp)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    train(again, examples, again.resume_training(), steps=3)
    assert blocks(changed(again)) == moving
    assert not {n for n in changed(again) if "embeddings" in n}


def test_every_parameter_trains_with_unfreeze_all(textcat):
    before = {k: v.clone() for k, v in module_of(textcat).named_parameters()}
    train(textcat, textcat.examples, textcat.optimizer, steps=2)
    still = {k for k, v in module_of(textcat).named_parameters() if torch.equal(v, before[k])}
    assert not still


def test_the_encoder_of_a_saved_pipeline_can_be_named_as_an_encoder(
    textcat, tmp_path, model_config
):
    textcat.to_disk(tmp_path)
    folder = str(tmp_path / "textcat" / "model" / "encoder")
    again, *_ = make_nlp(
        "reprtune_textcat",
        {
            **model_config(),
            "encoder": {
                "@architectures": "spacy_reprtune.Encoder.v1",
                "name": folder,
                "precision": "fp32",
            },
        },
    )
    ours = module_of(textcat).encoder.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in module_of(again).encoder.state_dict().items())


def test_saved_pipelines_hold_no_pickle(textcat, tmp_path):
    textcat.to_disk(tmp_path)
    names = {path.suffix for path in (tmp_path / "textcat").rglob("*") if path.is_file()}
    assert names <= {"", ".json", ".safetensors", ".txt"}


def test_a_trained_pipeline_never_looks_for_its_first_encoder_again(textcat, tmp_path):
    textcat.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text()
    name = textcat.config["components"]["textcat"]["model"]["encoder"]["name"]
    assert name in config
    (tmp_path / "config.cfg").write_text(config.replace(name, "/gone/with/the/wind"))
    assert spacy.load(tmp_path)("a film").cats == textcat("a film").cats


@pytest.mark.parametrize("factory", FACTORIES)
def test_odd_docs_get_complete_cats_and_pipe_agrees_with_call(factory, model_config):
    nlp, *_ = make_nlp(factory, model_config(encoder={"batch_pieces": 128}))
    texts = [
        "",
        " ",
        "\n\t \u00a0",
        "😀👍🏽",
        "\x00\x01\x07",
        "\u200b\u200d\ufeff",
        "שלום עולם مرحبا",
        "a" * 100_000,
        "dull film " * 300,
        "a film",
        "a film",
    ]
    docs = list(nlp.pipe(texts, batch_size=4))
    assert [doc.text for doc in docs] == texts
    for doc in docs:
        assert set(doc.cats) == {"GOOD", "BAD"}
        assert all(0.0 <= score <= 1.0 for score in doc.cats.values())
        assert doc.cats == pytest.approx(nlp(doc.text).cats, abs=1e-5)


def test_a_stream_keeps_its_order_over_many_batches(textcat):
    texts = [f"film {'very ' * (i * 7 % 23)}{i}" for i in range(300)]
    for batch_size in (1, 3, 128):
        assert [d.text for d in textcat.pipe(iter(texts), batch_size=batch_size)] == texts
    assert list(textcat.pipe([])) == []


def test_a_batch_size_of_one_annotates_each_doc_as_it_comes(textcat):
    taken = []

    def texts():
        for i in range(5):
            taken.append(i)
            yield f"film {i}"

    stream = textcat.pipe(texts(), batch_size=1)
    next(stream)
    assert len(taken) <= 2


def test_docs_that_fail_go_to_the_error_handler_and_the_others_come_out(textcat, monkeypatch):
    pipe = textcat.get_pipe("textcat")
    predict = pipe.predict

    def fail(docs):
        if any("bad" in doc.text for doc in docs):
            raise RuntimeError("planted")
        return predict(docs)

    monkeypatch.setattr(type(pipe), "predict", lambda self, docs: fail(docs))
    failed = []
    textcat.set_error_handler(lambda name, proc, docs, error: failed.extend(docs))
    out = list(textcat.pipe(["good", "bad", "fine"], batch_size=1))
    assert [doc.text for doc in out] == ["good", "fine"]
    assert [doc.text for doc in failed] == ["bad"]
    failed.clear()
    # The batch that a doc was asked for in fails with it.
    out = list(textcat.pipe(["good", "fine", "bad", "warm", "great", "dull"], batch_size=2))
    assert [doc.text for doc in out] == ["good", "fine", "great", "dull"]
    assert [doc.text for doc in failed] == ["bad", "warm"]
    textcat.set_error_handler(spacy.util.raise_error)
    with pytest.raises(RuntimeError, match="planted"):
        list(textcat.pipe(["bad"]))


def test_two_processes_agree_with_one(textcat):
    texts = ["a great film", "an awful film", "", "quite a plot"] * 5
    single = [doc.cats for doc in textcat.pipe(texts)]
    both = [doc.cats for doc in textcat.pipe(texts, n_process=2, batch_size=5)]
    for one, two in zip(single, both, strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_two_components_in_one_pipeline_train_and_annotate_apart(nlp, model_config):
    for name in ("first", "second"):
        nlp.add_pipe("reprtune_textcat_multilabel", name=name, config={"model": model_config()})
    nlp.get_pipe("first").add_label("A")
    nlp.get_pipe("second").add_label("B")
    examples = [
        Example.from_dict(nlp.make_doc(t), {"cats": {"A": a, "B": 1.0 - a}})
        for t, a in (("a great film", 1.0), ("dull and cold", 0.0))
    ]
    config = {"labels": ["A"]}, {"labels": ["B"]}
    nlp.config["initialize"]["components"] = dict(zip(("first", "second"), config, strict=True))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        losses = nlp.update(examples, sgd=optimizer, losses={})
    assert set(losses) == {"first", "second"}
    assert nlp.get_pipe("first").labels == ("A",) and nlp.get_pipe("second").labels == ("B",)
    cats = nlp("a great film").cats
    assert cats["A"] > 0.5 > cats["B"]
    with nlp.select_pipes(disable="second"):
        assert set(nlp("a great film").cats) == {"A"}


def test_sourced_components_bring_their_weights(textcat, tmp_path):
    train(textcat, textcat.examples, textcat.optimizer, steps=5)
    textcat.to_disk(tmp_path)
    other = spacy.blank("xx")
    other.add_pipe("sentencizer")
    other.add_pipe("textcat", source=spacy.load(tmp_path))
    assert other("a film").cats == pytest.approx(textcat("a film").cats, abs=1e-6)


def test_accumulated_batches_equal_one_batch(model_config):
    def weights(accumulate):
        nlp, examples, _ = make_nlp("reprtune_textcat", model_config(dropout=0.0))
        for module in module_of(nlp).modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for block in module_of(nlp).encoder.model.encoder.layer:
            block.attention.self.dropout_prob = 0.0
        optimizer = Adam(0.01, use_averages=False)
        size = len(examples) // accumulate
        for start in range(0, len(examples), size):
            nlp.update(examples[start : start + size], sgd=False, losses={}, drop=0.0)
        nlp.get_pipe("textcat").finish_update(optimizer)
        return module_of(nlp).state_dict()

    whole, halves = weights(1), weights(2)
    # After one step Adam moves by the sign of the gradient, so a near-zero one may flip.
    close = [torch.isclose(whole[k], halves[k], atol=1e-4).float().mean() for k in whole]
    assert min(close) > 0.97


def test_the_same_seed_gives_the_same_weights(model_config):
    def run():
        nlp, examples, optimizer = make_nlp("reprtune_textcat", model_config())
        train(nlp, examples, optimizer, steps=3)
        return nlp.get_pipe("textcat").to_bytes()

    assert run() == run()


def test_dropout_follows_training_unless_fixed(model_config):
    nlp, examples, _ = make_nlp("reprtune_textcat", model_config())
    nlp.update(examples, drop=0.4, sgd=False, losses={})
    assert module_of(nlp).dropout_rate == 0.4
    nlp, examples, _ = make_nlp("reprtune_textcat", model_config(dropout=0.2))
    nlp.update(examples, drop=0.4, sgd=False, losses={})
    assert module_of(nlp).dropout_rate == 0.2
    assert not module_of(nlp).training


def test_class_weights_and_smoothing_reach_the_loss(model_config):
    def loss_of(**settings):
        nlp, examples, _ = make_nlp("reprtune_textcat", model_config(), **settings)
        # Three of the good examples and one of the bad ones; columns are BAD, GOOD.
        logits = numpy.array([[2.0, -1.0]] * 4, dtype="f")
        return nlp.get_pipe("textcat").get_loss([*examples[:3], examples[4]], logits)[0]

    plain = loss_of()
    assert loss_of(class_weights={"GOOD": 3.0}) > plain > loss_of(class_weights={"BAD": 3.0})
    assert loss_of(class_weights="balanced") == pytest.approx(plain)
    assert loss_of(label_smoothing=0.2) != pytest.approx(plain)


@pytest.mark.parametrize("factory", FACTORIES)
def test_balanced_weights_are_the_inverse_of_frequency(factory, nlp, model_config):
    pipe = nlp.add_pipe(
        factory, name="textcat", config={"model": model_config(), "class_weights": "balanced"}
    )
    golds = [{"A": 1.0, "B": 0.0}] * 6 + [{"A": 0.0, "B": 1.0}] * 2 + [{}]
    examples = [Example.from_dict(nlp.make_doc("a film"), {"cats": cats}) for cats in golds]
    nlp.initialize(lambda: examples)
    assert pipe.cfg["label_weights"] == pytest.approx([8 / 12, 8 / 4])


def test_balanced_weights_of_independent_labels_are_those_of_each_question(nlp, model_config):
    pipe = nlp.add_pipe(
        "reprtune_textcat_multilabel",
        name="textcat",
        config={"model": model_config(), "class_weights": "balanced"},
    )
    golds = [{"A": 1.0, "B": 0.0, "C": 0.0}] * 2 + [{"A": 0.0, "B": 1.0}] * 4 + [{"A": 0.0}] * 4
    examples = [Example.from_dict(nlp.make_doc("a film"), {"cats": cats}) for cats in golds]
    nlp.initialize(lambda: examples)
    # A: 2 of 10, B: 4 of 6, C: none of 2.
    assert pipe.cfg["label_weights"] == pytest.approx([10 / 4, 6 / 8, 1.0])


def test_texts_without_a_right_answer_do_not_count_in_the_scores(textcat):
    unknown = Example.from_dict(textcat.make_doc("a film"), {"cats": {"GOOD": 0.0, "BAD": 0.0}})
    scores = textcat.evaluate(textcat.examples)
    again = textcat.evaluate([*textcat.examples, unknown])
    assert again["cats_f_per_type"] == scores["cats_f_per_type"]


@pytest.mark.parametrize("factory", FACTORIES)
def test_examples_without_cats_change_nothing_but_the_loss_is_set(factory, model_config):
    nlp, _, optimizer = make_nlp(factory, model_config())
    before = nlp.get_pipe("textcat").to_bytes()
    empty = [Example.from_dict(nlp.make_doc("a film"), {})]
    losses = nlp.update(empty, sgd=optimizer, losses={})
    assert losses == {"textcat": 0.0}
    assert nlp.get_pipe("textcat").to_bytes() == before


def test_missing_labels_are_masked(nlp, model_config):
    pipe = nlp.add_pipe("reprtune_textcat_multilabel", config={"model": model_config()})
    examples = [
        Example.from_dict(nlp.make_doc("a film"), {"cats": {"A": 1.0}}),
        Example.from_dict(nlp.make_doc("a plot"), {"cats": {"A": 0.0, "B": 1.0}}),
    ]
    nlp.initialize(lambda: examples)
    _, gradient = pipe.get_loss(examples, numpy.zeros((2, 2), dtype="f"))
    assert gradient[0, 1] == 0.0 and (gradient[[0, 1, 1], [0, 0, 1]] != 0.0).all()


def test_labels_are_sorted_so_their_order_is_not_the_corpus_s(nlp, model_config):
    pipe = nlp.add_pipe("reprtune_textcat", config={"model": model_config()})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    assert pipe.labels == ("BAD", "GOOD") and pipe.label_data == ["BAD", "GOOD"]
    assert "GOOD" in nlp.vocab.strings


def test_labels_can_be_added_before_initialize(nlp, model_config):
    pipe = nlp.add_pipe("reprtune_textcat", config={"model": model_config()})
    assert (pipe.add_label("OTHER"), pipe.add_label("OTHER")) == (1, 0)
    nlp.initialize(lambda: make_examples(nlp))
    assert set(pipe.labels) == {"OTHER", "GOOD", "BAD"}
    with pytest.raises(ValueError, match="string"):
        pipe.add_label(7)


def test_positive_label_sets_the_score(nlp, model_config):
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.config["initialize"]["components"]["textcat"] = {"positive_label": "GOOD"}
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    scores = nlp.evaluate(examples)
    assert scores["cats_score"] == scores["cats_f_per_type"]["GOOD"]["f"]


def test_docs_survive_the_binary_format_with_their_cats(textcat):
    doc = textcat("a film")
    restored = next(DocBin(store_user_data=True, docs=[doc]).get_docs(textcat.vocab))
    assert isinstance(restored, Doc) and restored.cats == pytest.approx(doc.cats)


def test_averages_are_refused_aloud_and_once(textcat):
    sgd = Adam(1e-5, use_averages=True)
    with pytest.warns(UserWarning, match="use_averages") as caught:
        for _ in range(2):
            textcat.update(textcat.examples, sgd=sgd, losses={})
    assert len(caught) == 1


def test_averages_of_a_stock_component_beside_ours_are_kept(nlp, model_config):
    nlp.add_pipe("reprtune_textcat", name="ours", config={"model": model_config()})
    nlp.add_pipe("tagger")
    examples = make_examples(nlp)
    for example in examples:
        for token in example.reference:
            token.tag_ = "NN" if token.i % 2 else "JJ"
    nlp.initialize(lambda: examples)
    sgd = Adam(1e-5, use_averages=True)
    with pytest.warns(UserWarning, match="unless another component needs it"):
        nlp.update(examples, sgd=sgd)
    assert sgd.averages
    weights = {k: v.clone() for k, v in module_of(nlp, "ours").state_dict().items()}
    with nlp.use_params(sgd.averages):
        now = module_of(nlp, "ours").state_dict()
        assert all(torch.equal(now[key], weights[key]) for key in weights)


@pytest.mark.parametrize("soft", [False, True])
def test_docs_may_answer_the_questions_of_two_exclusive_classifiers(nlp, model_config, soft):
    questions = {"mood": ["GOOD", "BAD"], "topic": ["BOOK", "FILM"]}
    for name, labels in questions.items():
        config = {"model": model_config(), "soft_labels": soft}
        nlp.add_pipe("reprtune_textcat", name=name, config=config)
        nlp.config["initialize"]["components"][name] = {"labels": labels}
    examples = make_examples(nlp)
    sure = 0.8 if soft else 1.0
    for i, example in enumerate(examples):
        cats = example.reference.cats
        mood = {label: sure if value else 1.0 - sure for label, value in cats.items()}
        topic = {"BOOK": sure, "FILM": 1.0 - sure} if i % 2 else {"BOOK": 1.0 - sure, "FILM": sure}
        example.reference.cats = {**mood, **topic}
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    for name, labels in questions.items():
        pipe = nlp.get_pipe(name)
        assert list(pipe.labels) == labels
        scored = [Example(pipe(eg.predicted.copy()), eg.reference) for eg in examples]
        assert pipe.score(scored)["cats_score"] == 1.0
    examples[0].reference.cats["FILM"] = examples[0].reference.cats["BOOK"] = sure
    with pytest.raises(ValueError, match="'topic'"):
        nlp.update(examples)


def test_texts_of_another_classifier_do_not_count(model_config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    examples = make_examples(nlp)
    for text in ("music", "the music was warm", "a scene", "this scene is bright"):
        cats = {"MUSIC": float("music" in text), "SCENE": float("scene" in text)}
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    for name, labels in (("mood", ["BAD", "GOOD"]), ("topic", ["MUSIC", "SCENE"])):
        config = {"model": model_config(), "head_init": "probe"}
        nlp.add_pipe("reprtune_textcat", name=name, config=config)
        nlp.config["initialize"]["components"][name] = {"labels": labels}
    nlp.initialize(lambda: examples)
    mood = nlp.get_pipe("mood")
    predicted = [Example(nlp(eg.reference.text), eg.reference) for eg in examples]
    assert mood.score(predicted)["cats_micro_f"] == mood.score(predicted[:8])["cats_micro_f"]


def test_a_label_that_is_refused_leaves_the_weights_of_labels_alone(model_config):
    nlp = spacy.blank("xx")
    config = {"model": model_config(), "class_weights": "balanced"}
    pipe = nlp.add_pipe("reprtune_textcat", name="textcat", config=config)
    nlp.initialize(lambda: make_examples(nlp))
    with pytest.raises(ValueError, match="not empty"):
        pipe.add_label("")
    assert len(pipe.cfg["label_weights"]) == len(pipe.labels) == 2


def test_calibrating_on_nothing_notes_nothing_afterwards(model_config):
    nlp = spacy.blank("xx")
    pipe = nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.initialize(lambda: make_examples(nlp))
    assert pipe.calibrate([]) == 1.0
    nlp.evaluate(make_examples(nlp))
    assert pipe.temperature == 1.0
