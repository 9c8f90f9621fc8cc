"""spaCy's own commands, run as a user types them, on a config and a pipeline of this package."""

import shlex

import pytest
import spacy
import srsly
from conftest import BAD, GOOD
from spacy.cli._util import app
from spacy.tokens import DocBin
from spacy.util import load_config
from typer.testing import CliRunner

CONFIG = """
[paths]
train = null
dev = null

[nlp]
lang = "xx"
pipeline = ["textcat_multilabel"]

[components]

[components.textcat_multilabel]
factory = "reprtune_textcat_multilabel"

[components.textcat_multilabel.model]
@architectures = "spacy_reprtune.TextClassifier.v1"

[components.textcat_multilabel.model.encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "ENCODER"
precision = "fp32"

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}

[training]
seed = 0
gpu_allocator = null
max_steps = 30
eval_frequency = 15
dev_corpus = "corpora.dev"
train_corpus = "corpora.train"

[training.batcher]
@batchers = "spacy_reprtune.batch_by_length.v1"
size = 4

[training.optimizer]
@optimizers = "Adam.v1"
use_averages = false

[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 2
total_steps = ${training.max_steps}
initial_rate = 0.01

[initialize]

[initialize.components]

[initialize.components.textcat_multilabel]
LABELS
"""
PATHS = "--paths.train data.spacy --paths.dev data.spacy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_encoder):
    """A config, data, labels as `init labels` writes them, and a pipeline as `train` does."""
    folder = tmp_path_factory.mktemp("commands")
    nlp = spacy.blank("xx")
    data = DocBin()
    for texts, good in ((GOOD, 1.0), (BAD, 0.0)):
        for text in texts:
            doc = nlp(text)
            doc.cats = {"GOOD": good, "BAD": 1.0 - good}
            data.add(doc)
    data.to_disk(folder / "data.spacy")
    config = CONFIG.replace("ENCODER", str(tiny_encoder))
    (folder / "plain.cfg").write_text(config.replace("LABELS", ""))
    labels = (
        "[initialize.components.textcat_multilabel.labels]\n"
        '@readers = "spacy.read_labels.v1"\npath = "labels/textcat_multilabel.json"\n'
    )
    (folder / "config.cfg").write_text(config.replace("LABELS", labels))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        spacy_command(f"init labels plain.cfg labels {PATHS}")
        spacy_command(f"train config.cfg --output trained {PATHS}")
    return folder


def spacy_command(line, exit_code=0):
    """Run `python -m spacy LINE`, and give what it prints."""
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == exit_code, f"{done.output}\n{done.exception!r}"
    return done.output


def sourced_config(path):
    """A config whose component is the trained one."""
    config = load_config(path)
    config["components"]["textcat_multilabel"] = {"source": "trained/model-best"}
    config["initialize"]["components"] = {}
    return config


@pytest.fixture(autouse=True)
def _inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_labels_of_init_labels_are_those_of_the_trained_pipeline(folder):
    assert srsly.read_json(folder / "labels" / "textcat_multilabel.json") == ["BAD", "GOOD"]
    nlp = spacy.load("trained/model-best")
    assert nlp.get_pipe("textcat_multilabel").labels == ("BAD", "GOOD")
    assert nlp.meta["labels"]["textcat_multilabel"] == ["BAD", "GOOD"]


def test_evaluate_scores_what_was_trained():
    spacy_command("evaluate trained/model-best data.spacy --output scores.json")
    scores = srsly.read_json("scores.json")
    assert scores["cats_macro_auc"] > 0.9
    assert set(scores["cats_f_per_type"]) == {"GOOD", "BAD"}


def test_benchmark_accuracy_and_speed():
    assert "AUC" in spacy_command("benchmark accuracy trained/model-best data.spacy")
    printed = spacy_command("benchmark speed trained/model-best data.spacy --batches 30")
    assert "words/s" in printed


def test_find_threshold_changes_what_counts_as_predicted():
    printed = spacy_command(
        "find-threshold trained/model-best data.spacy textcat_multilabel threshold "
        "cats_macro_f -n 5"
    )
    assert "Best threshold" in printed


def test_apply_writes_annotated_docs():
    spacy_command("apply trained/model-best data.spacy out.spacy --force")
    nlp = spacy.blank("xx")
    docs = list(DocBin().from_disk("out.spacy").get_docs(nlp.vocab))
    assert len(docs) == 8 and all(set(doc.cats) == {"GOOD", "BAD"} for doc in docs)


def test_debug_config_and_debug_data_accept_the_config():
    spacy_command("init fill-config config.cfg complete.cfg")
    assert "Config is valid" in spacy_command(f"debug config complete.cfg {PATHS}")
    # It looks into no third-party component; its one complaint is about the number of examples.
    printed = spacy_command(f"debug data complete.cfg {PATHS}", exit_code=1)
    assert "Pipeline can be initialized with data" in printed and "1 error" in printed
    assert "Low number of examples" in printed


def test_fill_config_adds_every_setting_with_its_default():
    spacy_command("init fill-config plain.cfg filled.cfg")
    component = load_config("filled.cfg")["components"]["textcat_multilabel"]
    assert component["head_init"] == "random" and component["model"]["pooling"] == "mean"
    assert component["model"]["encoder"]["cache_mb"] == 1000


def test_assemble_puts_a_trained_component_into_a_new_pipeline():
    config = sourced_config("trained/model-best/config.cfg")
    # spaCy can't read the variable in the optimizer's block here, and nothing is to be trained.
    del config["training"]
    config.to_disk("assemble.cfg")
    spacy_command("assemble assemble.cfg assembled")
    expected = spacy.load("trained/model-best")(GOOD[0]).cats
    assert spacy.load("assembled")(GOOD[0]).cats == pytest.approx(expected)


def test_training_goes_on_from_a_trained_pipeline():
    sourced_config("config.cfg").to_disk("more.cfg")
    spacy_command(f"train more.cfg --output more {PATHS}")
    scores = spacy.load("more/model-best").meta["performance"]
    assert scores["cats_macro_auc"] > 0.9


def test_a_trained_pipeline_makes_an_optimizer_of_its_own_config():
    nlp = spacy.load("trained/model-best")
    optimizer = nlp.resume_training()
    schedule = nlp.config["training"]["optimizer"]["learn_rate"]
    assert (schedule["total_steps"], schedule["initial_rate"]) == ("${training.max_steps}", 0.01)
    assert optimizer.learn_rate is not None
