"""A training that is killed and goes on ends with the bytes of an unbroken one."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import spacy
from conftest import make_entity_examples, make_examples
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train
from thinc.api import Config, Model, Shim
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.training.checkpoint import Checkpoint
from spacy_reprtune.training.full_config import full_config
from spacy_reprtune.training.resume import STATE, train

TRAINING = """
[paths]
train = null

[system]
seed = 3

[nlp]
lang = "xx"

[components]

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[training]
gpu_allocator = null
seed = ${system.seed}
max_steps = 8
eval_frequency = 2
patience = 0
dropout = 0.2

[training.batcher]
@batchers = "spacy.batch_by_sequence.v1"
size = 3

[training.optimizer]
@optimizers = "Adam.v1"

[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 2
total_steps = 20
initial_rate = 0.0008
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    nlp = spacy.blank("xx")
    path = tmp_path_factory.mktemp("corpus") / "train.spacy"
    examples = make_examples(nlp) + make_entity_examples(nlp)
    DocBin(docs=[eg.reference for eg in examples], store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="module")
def make_config(corpus, encoder_config):
    """Makes a config from factories and models by component name."""

    def config(components, **training):
        made = Config().from_str(TRAINING, interpolate=False)
        made["paths"]["train"] = str(corpus)
        made["nlp"]["pipeline"] = list(components)
        made["components"] = components
        made["training"].update(training)
        return made

    return config


def component(factory, head=None, encoder=None, **settings):
    if head is None:
        return {"factory": factory, **settings}
    model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": encoder}
    return {"factory": factory, "model": model, **settings}


def _cascade(encoder_config):
    large = encoder_config()
    small = {"@architectures": "spacy_reprtune.StaticEncoder.v1", "name": large["name"]}
    parts = {"small": {"encoder": {**small, "width": 8}}, "large": {"encoder": large}}
    return {"factory": "reprtune_cascade", **parts}


@pytest.fixture(scope="module")
def pipelines(encoder_config):
    """Components of the pipelines that are killed, with settings of [training]."""
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    dropout = encoder_config(unfreeze_every=2)
    by_class = {"@batchers": "spacy_reprtune.batch_by_class.v1", "size": 4, "per_class": 2}
    radam = {"@optimizers": "RAdam.v1", "learn_rate": 0.0005}
    return {
        "textcat": ({"textcat": component("reprtune_textcat", "TextClassifier", dropout)}, {}),
        "frozen": (
            {
                "textcat": component(
                    "reprtune_textcat", "TextClassifier", encoder_config(unfreeze="none")
                )
            },
            {"optimizer": radam},
        ),
        "ner": ({"ner": component("reprtune_ner", "TokenClassifier", encoder_config())}, {}),
        "setfit": (
            {
                "textcat": component(
                    "reprtune_setfit", "SentenceClassifier", encoder_config(), cross_entropy=0.3
                )
            },
            {"batcher": by_class},
        ),
        "shared": (
            {
                "encoder": {"factory": "reprtune_encoder", "model": encoder_config()},
                "textcat": component("reprtune_textcat", "TextClassifier", listener),
                "ner": component("reprtune_ner", "TokenClassifier", listener),
            },
            {},
        ),
        "setfit_shared": (
            {
                "encoder": {"factory": "reprtune_encoder", "model": encoder_config()},
                "textcat": component("reprtune_setfit", "SentenceClassifier", listener),
                "ner": component("reprtune_ner", "TokenClassifier", listener),
            },
            {"batcher": by_class},
        ),
        "stock": (
            {
                "ner": component("ner"),
                "textcat": component("reprtune_textcat", "TextClassifier", encoder_config()),
            },
            {},
        ),
        "cascade": ({"textcat": _cascade(encoder_config)}, {}),
        "stream": (
            {"textcat": component("reprtune_textcat", "TextClassifier", encoder_config())},
            {"max_epochs": -1},
        ),
    }


class Killed(BaseException):
    """Stands for a kill: nothing is saved after it."""


def run(config, output, *, before_update=None):
    """Train as the command does."""
    checkpoint = Checkpoint(output / STATE, full_config(config))
    nlp = init_nlp(config)
    if before_update is not None:
        nlp.config["training"]["before_update"] = before_update
    with open(os.devnull, "w") as nowhere:
        train(nlp, output, checkpoint, stdout=nowhere, stderr=nowhere)


def run_and_die(config, output, step):
    """Train in a process that kills itself before a step."""
    if os.fork() == 0:
        from spacy_reprtune.training import resume

        real = resume.Progress.is_over

        def die(self, *args):
            if self.step + 1 == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *args)

        try:
            resume.Progress.is_over = die
            run(config, output)
        finally:
            os._exit(1)
    _, status = os.wait()
    assert os.WIFSIGNALED(status)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def unbroken(make_config, pipelines, tmp_path_factory):
    """Trains a pipeline without a break, once."""
    done = {}

    def of(name):
        if name not in done:
            components, training = pipelines[name]
            config = make_config(components, **training)
            done[name] = config, tmp_path_factory.mktemp(name)
            run(*done[name])
        config, output = done[name]
        return config, contents(output)

    return of


CASES = [("textcat", [step]) for step in (1, 4, 8)] + [("ner", [step]) for step in (2, 5, 7)]
# The others are killed three times in a row, at three places.
OTHERS = ("frozen", "setfit", "shared", "setfit_shared", "cascade", "stock", "stream")
CASES += [(name, [2, 5, 8]) for name in OTHERS]


@pytest.mark.parametrize("name,steps", CASES)
def test_a_killed_training_ends_with_the_same_bytes(name, steps, unbroken, tmp_path):
    config, expected = unbroken(name)
    for step in steps:
        run_and_die(config, tmp_path, step)
        assert (tmp_path / STATE / "state.json").is_file()
    run(config, tmp_path)
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("name", ["textcat", "stock"])
def test_without_a_kill_it_is_what_spacy_train_saves(name, unbroken, tmp_path):
    config, expected = unbroken(name)
    with open(os.devnull, "w") as nowhere:
        spacy_train(init_nlp(config), tmp_path, stdout=nowhere, stderr=nowhere)
    assert contents(tmp_path) == expected


@pytest.fixture
def killed(make_config, pipelines, tmp_path):
    """A training that was killed, as the config and the directory."""
    components, training = pipelines["textcat"]
    config = make_config(components, **training)
    run_and_die(config, tmp_path / "output", 4)
    return config, tmp_path / "output"


def test_a_changed_setting_or_changed_data_are_refused_by_name(killed, tmp_path):
    config, output = killed
    before = contents(output)
    changed = config.copy()
    changed["training"]["max_steps"] = 30
    with pytest.raises(ValueError, match=r"training\.max_steps was 8 and is 30"):
        run(changed, output)
    state = output / STATE / "state.json"
    content = json.loads(state.read_text())
    content["description"]["data"][config["paths"]["train"]] = "0" * 64
    state.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"the content of \S+train\.spacy has changed"):
        run(config, output)
    state.write_text("{")
    with pytest.raises(ValueError, match=r"state\.json is damaged.*Delete \S+ to start|Delete"):
        run(config, output)
    state.write_bytes(before[f"{STATE}/state.json"])
    tensors = next((output / STATE).glob("tensors-*"))
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(ValueError, match="training-state is damaged"):
        run(config, output)
    config.to_disk(tmp_path / "config.cfg")
    command = ["train", str(tmp_path / "config.cfg"), "--output", str(output)]
    done = CliRunner().invoke(reprtune_cli, command)
    assert isinstance(done.exception, SystemExit) and "Cannot resume the training" in done.output


def test_a_component_whose_state_cannot_be_saved_is_named(
    make_config, pipelines, tmp_path, monkeypatch
):
    components, training = pipelines["textcat"]
    make_config(components, **training).to_disk(tmp_path / "config.cfg")
    model = Model("of another library", lambda model, X, is_train: (X, X), shims=[Shim(None)])
    monkeypatch.setattr(
        "spacy_reprtune.training.state.trained",
        lambda *args: [("theirs", SimpleNamespace(model=model))],
    )
    command = ["train", str(tmp_path / "config.cfg"), "--output", str(tmp_path / "output")]
    done = CliRunner().invoke(reprtune_cli, command)
    assert isinstance(done.exception, SystemExit) and "of 'theirs' can't be resumed" in done.output


def test_what_the_training_writes_itself_does_not_count_as_changed_data(
    make_config, pipelines, tmp_path
):
    components, training = pipelines["textcat"]
    log = tmp_path / "log.jsonl"
    log.write_text("of an earlier training")
    logger = {"@loggers": "spacy_reprtune.JsonlLogger.v1", "path": "${paths.log}"}
    config = make_config(components, **training, logger=logger)
    data = tmp_path / "train.spacy"
    shutil.copyfile(config["paths"]["train"], data)
    # The directory that is read has the log and the output, too.
    config["paths"].update(log=str(log), data=str(tmp_path), train=str(tmp_path))
    run_and_die(config, tmp_path / "output", 4)
    data.write_bytes(data.read_bytes() + b" ")
    with pytest.raises(ValueError, match=rf"the content of {tmp_path} has changed"):
        run(config, tmp_path / "output")
    data.write_bytes(data.read_bytes()[:-1])
    run(config, tmp_path / "output")
    assert (tmp_path / "output" / "model-best").is_dir()


def test_the_command_goes_on_and_prints_the_whole_table(killed, unbroken):
    config, output = killed
    config.to_disk(output.parent / "config.cfg")
    command = ["train", str(output.parent / "config.cfg"), "--output", str(output)]
    failed = CliRunner().invoke(reprtune_cli, [*command, "--training.patience", "5"])
    assert failed.exit_code == 1 and "training.patience was 0 and is 5" in failed.output
    done = CliRunner().invoke(reprtune_cli, command)
    assert done.exit_code == 0, done.output
    assert "Going on after step 2" in done.output
    steps = [line.split()[1] for line in done.output.splitlines() if line.startswith("  ")]
    assert steps == ["0", "2", "4", "6", "8"]
    assert contents(output) == unbroken("textcat")[1]
