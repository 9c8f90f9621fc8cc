"""Components become checkpoints that transformers' pipelines load, or the message says why not."""

import numpy
import pytest
import spacy
import torch
from conftest import make_entity_examples, make_examples
from test_huggingface import BIO, FAMILIES, TEXTS, save_classifier
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.exchange.hf_export import export_huggingface
from spacy_reprtune.exchange.huggingface import import_huggingface


def scores_of(path, text):
    from transformers import pipeline

    classify = pipeline("text-classification", str(path), top_k=None)
    return {row["label"]: row["score"] for row in classify([text])[0]}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_goes_out_as_it_came_in(family, tmp_path):
    from safetensors.torch import load_file

    path = save_classifier(tmp_path / "in", family, ["GOOD", "BAD", "NONE"])
    export_huggingface(import_huggingface(str(path)).get_pipe("textcat"), tmp_path / "out")
    before, after = (load_file(tmp_path / n / "model.safetensors") for n in ("in", "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("factory", ["reprtune_textcat", "reprtune_textcat_multilabel"])
def test_a_trained_classifier_predicts_the_same_in_transformers(factory, tmp_path, encoder_config):
    settings = {"pooling": "cls", "hidden_width": 16, "activation": "tanh", "dropout": 0.1}
    model = {
        "@architectures": "spacy_reprtune.TextClassifier.v1",
        "encoder": encoder_config(),
        **settings,
    }
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    pipe = nlp.add_pipe(factory, name="textcat", config={"model": model})
    optimizer = nlp.initialize(lambda: make_examples(nlp))
    optimizer.learn_rate = 0.01
    for _ in range(5):
        nlp.update(make_examples(nlp), sgd=optimizer)
    pipe.cfg["temperature"] = 0.5
    export_huggingface(pipe, tmp_path / "out")
    for doc in nlp.pipe(TEXTS):
        assert scores_of(tmp_path / "out", doc.text) == pytest.approx(doc.cats, abs=1e-5)


def test_a_recognizer_predicts_the_same_in_transformers(tmp_path, nlp, token_config):
    from transformers import pipeline

    model = token_config(piece_pooling="first")
    config = {"model": model, "scheme": "bio", "temperature": 2.0}
    pipe = nlp.add_pipe("reprtune_ner", name="ner", config=config)
    optimizer = nlp.initialize(lambda: make_entity_examples(nlp))
    optimizer.learn_rate = 0.02
    for _ in range(60):
        nlp.update(make_entity_examples(nlp), sgd=optimizer)
    nlp.to_disk(tmp_path / "model")
    arguments = ["export-hf", str(tmp_path / "model"), str(tmp_path / "out"), "--name", "ner"]
    result = CliRunner().invoke(reprtune_cli, arguments)
    assert result.exit_code == 0, result.output
    assert 'transformers.pipeline("token-classification"' in " ".join(result.output.split())
    find = pipeline("token-classification", str(tmp_path / "out"), aggregation_strategy="first")
    n_found = 0
    for example in make_entity_examples(nlp):
        doc = nlp(example.reference.text)
        found = [(row["start"], row["end"], row["entity_group"]) for row in find(doc.text)]
        assert found == [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        n_found += len(found)
    assert n_found >= 4
    back = import_huggingface(str(tmp_path / "out"))
    one, other = (n.get_pipe("ner").model.predict([doc]) for n in (nlp, back))
    wanted = pipe.tags.logits(one.logits) / 2.0
    numpy.testing.assert_allclose(other.logits, wanted, atol=1e-4)


def test_a_checkpoint_comes_back_with_its_own_tags(tmp_path):
    path = save_classifier(tmp_path / "in", "bert", BIO, token=True)
    export_huggingface(import_huggingface(str(path)).get_pipe("ner"), tmp_path / "out")
    back = import_huggingface(str(tmp_path / "out")).get_pipe("ner")
    assert back.labels == ("ACTOR", "MUSIC")


def test_heads_without_a_counterpart_are_named_with_the_settings_to_train_with(textcat, tmp_path):
    with pytest.raises(
        ValueError, match='pooling = "cls", hidden_width = 16 and activation = "tan'
    ):
        export_huggingface(textcat.get_pipe("textcat"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"learned_transitions": True}, "Train with learned_transitions = false"),
        ({"piece_pooling": "mean"}, 'Train with piece_pooling = "first"'),
    ],
)
def test_recognizers_without_a_counterpart_are_named(
    settings, message, tmp_path, nlp, token_config
):
    from conftest import make_entity_examples

    pipe = nlp.add_pipe("reprtune_ner", config={"model": token_config(**settings)})
    nlp.initialize(lambda: make_entity_examples(nlp))
    with pytest.raises(ValueError, match=message):
        export_huggingface(pipe, tmp_path / "out")


def test_other_components_and_directories_in_use_are_refused(tmp_path, nlp):
    pipe = nlp.add_pipe("textcat")
    with pytest.raises(ValueError, match="can't be written as a Hugging Face checkpoint"):
        export_huggingface(pipe, tmp_path / "out")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is not empty"):
        export_huggingface(pipe, tmp_path)


@pytest.mark.parametrize("command", ["export-hf", "export-setfit"])
def test_a_pipeline_that_is_not_there_is_named_without_a_traceback(command, tmp_path):
    arguments = [command, str(tmp_path / "nowhere"), str(tmp_path / "out"), "--name", "textcat"]
    done = CliRunner().invoke(reprtune_cli, arguments)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert "Cannot load the pipeline" in done.output and "nowhere" in done.output
