"""Models of the `setfit` library: trained by it, read from it, written for it."""

import os
import random
import socket
import sys
import warnings

import numpy
import pytest
import spacy
import srsly
import torch
from conftest import BAD, GOOD, make_examples
from spacy.training import Example

from spacy_reprtune.exchange.setfit import export_setfit, import_setfit
from spacy_reprtune.training.setfit.files import Head, read_head, write_head

TEXTS = [*GOOD, *BAD, "the music is fine", "not a film"]
LIBRARY = 'compares with the setfit library: pip install "spacy-reprtune[setfit]"'
TRAINER = {"@misc": "spacy_reprtune.SetFitTrainer.v1", "num_iterations": 2}


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def make_nlp(model, examples=make_examples, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": model, **settings})
    examples = examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return nlp, examples, optimizer


def three_labels(nlp):
    golds = {"ZETA": GOOD, "ALPHA": BAD, "MU": ["the music", "a fine scene", "this plot"]}
    return [
        Example.from_dict(nlp.make_doc(text), {"cats": {k: float(k == label) for k in golds}})
        for label, texts in golds.items()
        for text in texts
    ]


def probabilities(nlp):
    labels = nlp.get_pipe("textcat").labels
    return numpy.array([[doc.cats[label] for label in labels] for doc in nlp.pipe(TEXTS)])


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("settings", [{}, {"normalize": False, "pooling": "cls"}])
def test_exported_models_predict_the_same_in_the_library_and_imported_again(
    exclusive, settings, sentence_config, tmp_path, offline
):
    pytest.importorskip("setfit", reason=LIBRARY)

    from setfit import SetFitModel

    nlp, examples, optimizer = make_nlp(sentence_config(**settings), exclusive=exclusive)
    for _ in range(5):
        nlp.update(examples, sgd=optimizer, losses={})
    nlp.get_pipe("textcat").cfg["temperature"] = 0.5
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    theirs = SetFitModel.from_pretrained(str(tmp_path / "out"))
    assert theirs.labels == list(nlp.get_pipe("textcat").labels)
    expected = probabilities(nlp)
    found = theirs.predict_proba(TEXTS, as_numpy=True)
    assert numpy.abs(found - expected).max() < 1e-6
    vectors = nlp.get_pipe("textcat").head.vectors(TEXTS)
    assert numpy.abs(theirs.encode(TEXTS) - vectors).max() < 1e-5
    theirs.save_pretrained(str(tmp_path / "back"))
    back = import_setfit(tmp_path / "back", trust_pickle=True, precision="fp32")
    assert back.get_pipe("textcat").exclusive is exclusive
    assert numpy.abs(probabilities(back) - expected).max() < 1e-6
    back.to_disk(tmp_path / "nlp")
    assert numpy.abs(probabilities(spacy.load(tmp_path / "nlp")) - expected).max() < 1e-6


def test_the_order_of_labels_is_kept_both_ways(sentence_config, tmp_path):
    pytest.importorskip("setfit", reason=LIBRARY)

    from setfit import SetFitModel

    nlp = spacy.blank("xx")
    pipe = nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": sentence_config()})
    # Not the order in which the library sorts its classes.
    nlp.config["initialize"]["components"]["textcat"] = {"labels": ["ZETA", "ALPHA", "MU"]}
    examples = three_labels(nlp)
    nlp.initialize(lambda: examples)
    export_setfit(pipe, tmp_path / "out")
    theirs = SetFitModel.from_pretrained(str(tmp_path / "out"))
    assert theirs.labels == ["ZETA", "ALPHA", "MU"]
    assert theirs.predict(TEXTS) == [max(d.cats, key=d.cats.get) for d in nlp.pipe(TEXTS)]
    back = import_setfit(tmp_path / "out", trust_pickle=True, precision="fp32")
    assert back.get_pipe("textcat").labels == ("ZETA", "ALPHA", "MU")
    assert numpy.abs(probabilities(back) - probabilities(nlp)).max() < 1e-6


def test_a_model_that_the_library_trained_on_strings_has_its_labels_by_column(
    tiny_encoder, tmp_path, offline
):
    """The library's columns are sorted, whatever order its configuration names labels in."""
    pytest.importorskip("setfit", reason=LIBRARY)

    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel
    from sklearn.linear_model import LogisticRegression

    body = SentenceTransformer(str(tiny_encoder), local_files_only=True)
    theirs = SetFitModel(body, LogisticRegression(), labels=["positive", "negative"])
    theirs.model_head.fit(theirs.encode([*GOOD, *BAD]), ["positive"] * 4 + ["negative"] * 4)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    nlp = import_setfit(tmp_path / "theirs", trust_pickle=True, precision="fp32")
    assert nlp.get_pipe("textcat").labels == ("negative", "positive")
    found = theirs.predict_proba(TEXTS, as_numpy=True)
    assert numpy.abs(probabilities(nlp) - found).max() < 1e-6


def test_the_reference_trainer_gives_what_the_library_gives_by_itself(
    sentence_config, tiny_encoder, offline
):
    from datasets import Dataset

    pytest.importorskip("setfit", reason=LIBRARY)

    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression

    nlp, examples, optimizer = make_nlp(
        sentence_config(normalize=False), trainer={**TRAINER, "learn_rate": 1e-3}
    )
    body = SentenceTransformer(str(tiny_encoder), local_files_only=True)
    theirs = SetFitModel(body, LogisticRegression(), labels=["BAD", "GOOD"])
    settings = TrainingArguments(
        output_dir="unused",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        num_iterations=2,
        body_learning_rate=1e-3,
    )
    data = Dataset.from_dict({"text": [*GOOD, *BAD], "label": [1] * 4 + [0] * 4})
    Trainer(theirs, settings, train_dataset=data, metric=lambda p, y: {}).train()
    found = theirs.predict_proba(TEXTS, as_numpy=True)
    assert numpy.abs(probabilities(nlp) - found).max() < 1e-4
    before = nlp.to_bytes()
    assert nlp.update(examples, sgd=optimizer, losses={}) == {"textcat": 0.0}
    assert nlp.to_bytes() == before


def test_the_reference_trainer_moves_the_encoder_for_independent_labels(sentence_config):
    pytest.importorskip("setfit", reason=LIBRARY)
    nlp, *_ = make_nlp(sentence_config(), exclusive=False, trainer={**TRAINER, "learn_rate": 1e-3})
    plain, *_ = make_nlp(sentence_config(), exclusive=False)
    assert numpy.abs(probabilities(nlp) - probabilities(plain)).max() > 1e-3


def test_the_reference_trainer_leaves_the_process_as_it_was(
    sentence_config, tmp_path, monkeypatch, capfd, offline
):
    pytest.importorskip("setfit", reason=LIBRARY)
    monkeypatch.chdir(tmp_path)
    filters = list(warnings.filters)
    nlp, examples, _ = make_nlp(sentence_config())
    pipe = nlp.get_pipe("textcat")
    from spacy_reprtune.training.setfit.trainer import SetFitTrainer_v1

    random.seed(5)
    numpy.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), numpy.random.rand(), torch.rand(1)
    random.seed(5)
    numpy.random.seed(5)
    torch.manual_seed(5)
    capfd.readouterr()
    gold, known = pipe.read_gold(examples)
    texts = [eg.reference.text for eg in examples]
    trainer = SetFitTrainer_v1(num_iterations=1)
    trainer.train(pipe.model.shims[0], texts, gold, known, exclusive=True)
    assert (random.random(), numpy.random.rand(), torch.rand(1)) == expected
    assert os.listdir(tmp_path) == []
    assert warnings.filters == filters
    out, err = capfd.readouterr()
    assert "it/s" not in out + err and "train_runtime" not in out + err


def test_the_reference_trainer_names_the_extra_that_it_needs(sentence_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "setfit", None)
    with pytest.raises(ImportError, match=r'pip install "spacy-reprtune\[setfit\]"'):
        make_nlp(sentence_config(), trainer=TRAINER)


def test_the_reference_trainer_wants_every_label_annotated(sentence_config):
    def partly(nlp):
        golds = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}, {"A": 1.0}, {"B": 1.0}]
        return [
            Example.from_dict(nlp.make_doc(text), {"cats": cats})
            for text, cats in zip(GOOD, golds, strict=True)
        ]

    with pytest.raises(ValueError, match="2 texts lack the value of some label"):
        make_nlp(sentence_config(), partly, exclusive=False, trainer=TRAINER)


def test_the_reference_trainer_wants_two_independent_labels(sentence_config):
    def one(nlp):
        return [
            Example.from_dict(nlp.make_doc(text), {"cats": {"GOOD": float(text in GOOD)}})
            for text in [*GOOD, *BAD]
        ]

    with pytest.raises(ValueError, match="two independent labels"):
        make_nlp(sentence_config(), one, exclusive=False, trainer=TRAINER)


@pytest.mark.parametrize(
    "settings", [{"class_weights": "balanced"}, {"contrastive": "supcon"}, {"cross_entropy": 0.5}]
)
def test_settings_that_the_reference_trainer_does_not_know(settings, sentence_config):
    with pytest.raises(ValueError, match=f"does not support {next(iter(settings))}"):
        make_nlp(sentence_config(), trainer=TRAINER, **settings)


@pytest.mark.parametrize("settings", [{"num_iterations": 0}, {"learn_rate": 0.0}])
def test_trainer_settings_out_of_range(settings, sentence_config):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make_nlp(sentence_config(), trainer={**TRAINER, **settings})


def test_a_pickled_head_is_not_read_without_the_flag(sentence_config, tmp_path):
    nlp, *_ = make_nlp(sentence_config())
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    (tmp_path / "out" / "model_head.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ValueError, match=r"runs any code.*--trust-pickle"):
        import_setfit(tmp_path / "out")
    assert not (tmp_path / "pwned").exists()


def test_directories_that_are_no_trained_setfit_model(tiny_encoder, sentence_config, tmp_path):
    with pytest.raises(ValueError, match=r"no modules.json"):
        import_setfit(tiny_encoder)
    nlp, *_ = make_nlp(sentence_config())
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    (tmp_path / "out" / "model_head.pkl").unlink()
    with pytest.raises(ValueError, match="has no head"):
        import_setfit(tmp_path / "out")


def test_a_head_that_is_damaged(sentence_config, tmp_path):
    nlp, *_ = make_nlp(sentence_config())
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    for content in (b"junk", b"", b"cno_such_module\nHead\n."):
        (tmp_path / "out" / "model_head.pkl").write_bytes(content)
        with pytest.raises(ValueError, match="can't be read"):
            import_setfit(tmp_path / "out", trust_pickle=True)


def test_names_of_labels_are_texts_and_differ(sentence_config, tmp_path):
    nlp, *_ = make_nlp(sentence_config())
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    file = tmp_path / "out" / "config_setfit.json"
    srsly.write_json(file, {"labels": [7, 5], "normalize_embeddings": False})
    back = import_setfit(tmp_path / "out", trust_pickle=True)
    assert back.get_pipe("textcat").labels == ("7", "5")
    srsly.write_json(file, {"labels": ["same", "same"], "normalize_embeddings": False})
    with pytest.raises(ValueError, match="are same, same"):
        import_setfit(tmp_path / "out", trust_pickle=True)


def test_parts_without_a_counterpart(sentence_config, tmp_path, nlp, model_config):
    trained, *_ = make_nlp(sentence_config(pooling="attention"))
    with pytest.raises(ValueError, match="no pooling like 'attention'"):
        export_setfit(trained.get_pipe("textcat"), tmp_path / "out")
    other = nlp.add_pipe("reprtune_textcat", config={"model": model_config()})
    with pytest.raises(ValueError, match="'reprtune_textcat' can't be written as a setfit"):
        export_setfit(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_setfit_model_is_replaced(sentence_config, tmp_path):
    nlp, *_ = make_nlp(sentence_config())
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="is not a setfit model, so it is not replaced"):
            export_setfit(nlp.get_pipe("textcat"), path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "out").mkdir()
    for _ in range(2):
        export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")


def test_a_model_that_puts_a_prompt_in_front_of_texts(sentence_config, tmp_path):
    nlp, *_ = make_nlp(sentence_config())
    export_setfit(nlp.get_pipe("textcat"), tmp_path / "out")
    file = tmp_path / "out" / "config_sentence_transformers.json"
    settings = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    srsly.write_json(file, settings)
    with pytest.raises(ValueError, match=r"'query: ' in front of each text"):
        import_setfit(tmp_path / "out", trust_pickle=True)
    # As sentence-transformers writes it where nobody asked for prompts, or for empty ones.
    for name in (None, "document"):
        srsly.write_json(file, {**settings, "default_prompt_name": name})
        import_setfit(tmp_path / "out", trust_pickle=True)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("n_labels", [2, 5])
def test_heads_survive_the_round_trip(exclusive, n_labels, tmp_path):
    rng = numpy.random.default_rng(0)
    labels = [f"label {i}" for i in range(n_labels)]
    weight = rng.normal(size=(n_labels, 7)).astype("f")
    head = Head(weight, rng.normal(size=n_labels).astype("f"), labels, exclusive)
    write_head(head, tmp_path)
    back = read_head(tmp_path, trust_pickle=True)
    assert back.labels == labels and back.exclusive is exclusive
    # Logits of a softmax are equal up to what all of them have in common.
    own, other = (h.weight - h.weight.mean(0) * exclusive for h in (head, back))
    numpy.testing.assert_allclose(other, own, atol=1e-6)


def test_heads_of_other_kinds():
    pytest.importorskip("setfit", reason=LIBRARY)

    from setfit import SetFitHead
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.svm import SVC

    from spacy_reprtune.training.setfit.files import head_arrays

    rng = numpy.random.default_rng(0)
    x, many = rng.normal(size=(20, 4)), rng.integers(0, 2, size=(20, 3))
    for kind in (OneVsRestClassifier, MultiOutputClassifier):
        model = kind(LogisticRegression()).fit(x, many)
        head = head_arrays(model, ["a", "b", "c"])
        found = 1 / (1 + numpy.exp(-(x @ head.weight.T + head.bias)))
        expected = model.predict_proba(x)
        if isinstance(expected, list):
            expected = numpy.stack([column[:, 1] for column in expected], 1)
        numpy.testing.assert_allclose(found, expected, atol=1e-6)
    torch_head = SetFitHead(4, 3, temperature=0.5, device="cpu")
    head = head_arrays(torch_head, None)
    expected = torch_head.predict_proba(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    logits = x @ head.weight.T + head.bias
    found = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
    numpy.testing.assert_allclose(found, expected, atol=1e-6)
    assert head.labels == ["0", "1", "2"]
    with pytest.raises(ValueError, match="is a SVC"):
        head_arrays(SVC().fit(x, many[:, 0]), None)
    several = LogisticRegression(solver="liblinear")
    with pytest.raises(ValueError, match="not a softmax"):
        head_arrays(OneVsThree(several, x), None)


def OneVsThree(model, x):
    """A regression as older versions fitted three classes, one against the rest."""
    model.fit(x, numpy.arange(len(x)) % 2)
    model.classes_ = numpy.arange(3)
    return model
