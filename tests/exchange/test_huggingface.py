"""Fine-tuned Hugging Face classifiers become pipelines with the same probabilities."""

import itertools
import json
import shutil

import numpy
import pytest
import spacy
import torch
from conftest import byte_level_tokenizer, make_entity_examples, make_examples, wordpiece_tokenizer
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.exchange.hf_tags import read_tags
from spacy_reprtune.exchange.huggingface import import_huggingface

TEXTS = ["a great film", "the actor is not bad, and the music was warm!", "unboring", "x y z"]
FAMILIES = {
    "bert": {},
    "roberta": {"tokenizer": byte_level_tokenizer},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 8},
    "deberta-v2": {"pooler_hidden_size": 16, "relative_attention": True},
    "xlm-roberta": {"tokenizer": byte_level_tokenizer},
    "mpnet": {},
}
BIO = ["B-ACTOR", "O", "I-MUSIC", "I-ACTOR", "B-MUSIC"]


def save_classifier(path, family, labels, *, token=False, seed=0, **settings):
    """Write a checkpoint with random weights that are large enough to make clear predictions."""
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    own = dict(FAMILIES[family])
    tokenizer = own.pop("tokenizer", wordpiece_tokenizer)()
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        **{
            "vocab_size": 400,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
            "pad_token_id": tokenizer.pad_token_id,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
            **own,
            **settings,
        },
    )
    kind = AutoModelForTokenClassification if token else AutoModelForSequenceClassification
    model = kind.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(20.0)
            if name.endswith("bias"):
                parameter.normal_(std=0.5)
    model.save_pretrained(str(path))
    tokenizer.save_pretrained(str(path))
    return path


def logits_of(path, text, token=False):
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    kind = AutoModelForTokenClassification if token else AutoModelForSequenceClassification
    model = kind.from_pretrained(str(path)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        return model(**inputs).logits[0], inputs


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A checkpoint for token classification with BIO labels in a mixed order."""
    return save_classifier(tmp_path_factory.mktemp("hf") / "tagger", "bert", BIO, token=True)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A checkpoint for text classification with exclusive labels."""
    return save_classifier(tmp_path_factory.mktemp("hf") / "texts", "bert", ["GOOD", "BAD", "NONE"])


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_of_texts_are_those_of_transformers(tmp_path, family, problem):
    labels = ["GOOD", "BAD", " NONE "]
    path = save_classifier(tmp_path / "hf", family, labels, problem_type=problem)
    nlp = import_huggingface(str(path))
    to_probabilities = torch.sigmoid if problem.startswith("multi") else lambda x: x.softmax(-1)
    spread = []
    for doc in nlp.pipe(TEXTS):
        wanted = to_probabilities(logits_of(path, doc.text)[0]).numpy()
        found = [doc.cats[label.strip()] for label in labels]
        numpy.testing.assert_allclose(found, wanted, atol=1e-5)
        spread.append(found)
    assert numpy.ptp(spread, axis=0).max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_of_tags_are_those_of_transformers(tmp_path, family):
    path = save_classifier(tmp_path / "hf", family, BIO, token=True)
    nlp = import_huggingface(str(path))
    pipe = nlp.get_pipe("ner")
    assert pipe.labels == ("ACTOR", "MUSIC")
    for text in TEXTS:
        doc = nlp.make_doc(text)
        logits, inputs = logits_of(path, text, token=True)
        first = [inputs.char_to_token(token.idx) for token in doc]
        wanted = logits.softmax(-1).numpy()[first][:, [BIO.index(t) for t in pipe.tags.names]]
        found = torch.tensor(pipe.model.predict([doc]).logits).softmax(-1).numpy()
        numpy.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_pipeline_is_saved_loaded_and_trained_further_with_frozen_blocks(classifier, tmp_path):
    nlp = import_huggingface(str(classifier))
    before = [doc.cats for doc in nlp.pipe(TEXTS)]
    nlp.to_disk(tmp_path / "model")
    settings = {"components.textcat.model.encoder.unfreeze": "none"}
    loaded = spacy.load(tmp_path / "model", config=settings)
    assert [doc.cats for doc in loaded.pipe(TEXTS)] == before
    examples = make_examples(loaded)
    optimizer = loaded.resume_training()
    optimizer.learn_rate = 0.01
    encoder = loaded.get_pipe("textcat").model.shims[0].module.encoder.model
    frozen = {name: value.clone() for name, value in encoder.state_dict().items()}
    losses = [loaded.update(examples, sgd=optimizer)["textcat"] for _ in range(20)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, frozen[n]) for n, value in encoder.state_dict().items())


def test_a_recognizer_is_trained_further(tagger):
    nlp = import_huggingface(str(tagger))
    examples = make_entity_examples(nlp)
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    losses = [nlp.update(examples, sgd=optimizer)["ner"] for _ in range(20)]
    assert losses[-1] < losses[0]


def test_with_one_tag_per_label_a_run_of_its_tokens_is_one_entity(tmp_path):
    path = save_classifier(tmp_path / "hf", "bert", ["O", "ACTOR", "MUSIC"], token=True, seed=3)
    nlp = import_huggingface(str(path))
    seen = 0
    for text in [*TEXTS, "the actor the music 1 - 2 film great dull cold", "movie the plot a b c"]:
        doc = nlp(text)
        logits, inputs = logits_of(path, text, token=True)
        chances = logits.softmax(-1).numpy()[[inputs.char_to_token(t.idx) for t in doc]]
        best = chances.argmax(1)
        # With one tag per label every sequence is legal, so the best one is that of the argmax.
        cuts = [0, *(numpy.flatnonzero(numpy.diff(best)) + 1), len(best)]
        runs = [(a, b) for a, b in itertools.pairwise(cuts) if best[a]]
        assert [(ent.start, ent.end) for ent in doc.ents] == runs
        for ent, score in zip(doc.ents, doc.spans["ner"].attrs["scores"], strict=True):
            row = best[ent.start]
            around = [i for i in (ent.start - 1, ent.end) if 0 <= i < len(doc)]
            wanted = chances[ent.start : ent.end, row].prod() * (1 - chances[around, row]).prod()
            assert score == pytest.approx(wanted, abs=1e-5)
            seen += 1
    assert seen > 2


@pytest.mark.parametrize(
    "names, scheme",
    [
        (["O", "B-PER", "I-PER"], "bio"),
        (["o", "b_PER", "i_PER"], "bio"),
        (["O", "I-PER", "I-LOC"], "io"),
        (["PER", "LOC", "O"], "io"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "bilou"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "bilou"),
        (["O", "B-PER", "M-PER", "E-PER", "S-PER"], "bilou"),
    ],
)
def test_all_schemes_of_tags_are_understood(names, scheme, tmp_path):
    tags = read_tags(names, tmp_path / "config.json")
    assert tags.scheme == scheme and "PER" in tags.labels
    wanted = 1 + len(tags.labels) * (4 if scheme == "bilou" else 2)
    assert len(tags.rows) == wanted and tags.rows["O"] == [n.upper() for n in names].index("O")


@pytest.mark.parametrize(
    "names, message",
    [
        (["NOUN", "VERB"], "not tags of entities: NOUN, VERB"),
        (["LABEL_0", "LABEL_1"], "not tags of entities"),
        (["O", "B-PER", "I-PER", "B-LOC"], "tags of 'LOC' but not I-LOC"),
        (["O", "B-PER", "I-PER", "I-LOC"], "tags of 'LOC' but not B-LOC"),
        (["O", "B-PER", "I-PER", "L-PER"], "tags of 'PER' but not U-PER"),
        (["O", "B-PER", "I-PER", "PER"], "'PER' in .*config.json is not a tag"),
        (["O", "B-PER", "b-PER", "I-PER"], "Two labels in .* are the tag B-PER"),
        (["O"], "no tag besides O"),
    ],
)
def test_labels_that_are_not_tags_are_named(names, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read_tags(names, tmp_path / "config.json")
    assert "config.json" in str(caught.value) and "Rename the labels" in str(caught.value)


def set_config(**values):
    def damage(path):
        file = path / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}), encoding="utf8")

    return damage


def truncate(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-500])


def pickle_only(path):
    (path / "model.safetensors").unlink()
    torch.save({}, path / "pytorch_model.bin")


def only_encoder(path):
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if name.startswith("bert.")}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})


def slow_tokenizer(path):
    for file in path.glob("*token*"):
        file.unlink()
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')


DAMAGED = {
    "no config": (lambda path: (path / "config.json").unlink(), "no .*config.json. Name a dir"),
    "bad config": (lambda path: (path / "config.json").write_text("{"), "config.json is not JSON"),
    "head": (set_config(architectures=["BertForQuestionAnswering"]), "BertForQuestionAnswering"),
    "family": (set_config(model_type="big_bird"), "model_type 'big_bird', whose head is not known"),
    "regression": (set_config(problem_type="regression"), "problem_type 'regression'"),
    "one number": (set_config(id2label={"0": "SCORE"}), "one label and no problem_type"),
    "code": (set_config(auto_map={"AutoModel": "x.Y"}), "brings its own code .*trust_remote_code"),
    "ids": (set_config(id2label={"0": "A", "2": "B"}), r"ids \[0, 2\]"),
    "same": (set_config(id2label={"0": "A", "1": "A ", "2": "B"}), "'A' more than once"),
    "activation": (set_config(hidden_act="relu"), None),
    "pickle": (pickle_only, "only as a pickle .*BertForSequenceClassification.from_pretrained"),
    "truncated": (truncate, "model.safetensors is damaged or incomplete"),
    "no head": (only_encoder, "lack 2 tensors .* Save the trained model again"),
    "slow": (slow_tokenizer, "tokenizer in .* can't be used"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_bad_checkpoints_are_named_and_leave_nothing_behind(name, classifier, tmp_path):
    damage, message = DAMAGED[name]
    path = shutil.copytree(classifier, tmp_path / "hf")
    damage(path)
    result = CliRunner().invoke(reprtune_cli, ["import-hf", str(path), str(tmp_path / "out")])
    if message is None:
        assert result.exit_code == 0
        return
    output = " ".join(result.output.split())
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), output
    with pytest.raises(ValueError, match=message):
        import_huggingface(str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hf"]


def test_the_command_imports_a_recognizer_and_overwrites_nothing(tagger, tmp_path):
    out = tmp_path / "out"
    arguments = ["import-hf", str(tagger), str(out), "--name", "people", "--lang", "de"]
    result = CliRunner().invoke(reprtune_cli, arguments)
    assert result.exit_code == 0, result.output
    nlp = spacy.load(out)
    assert nlp.lang == "de" and nlp.pipe_names == ["people"]
    assert nlp.get_pipe("people").labels == ("ACTOR", "MUSIC")
    again = CliRunner().invoke(reprtune_cli, arguments)
    assert again.exit_code == 1 and "exists and is not empty" in again.output
