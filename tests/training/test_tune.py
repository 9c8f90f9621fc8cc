"""A search spends its steps on the best candidates, and its best config can be trained."""

import json
from dataclasses import replace

import pytest
import spacy
import torch
from conftest import make_examples
from spacy.tokens import DocBin
from spacy.util import load_config
from thinc.api import Config
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.training import tune as tuning
from spacy_reprtune.training.full_config import full_config
from spacy_reprtune.training.tune import Trial, ranked

CONFIG = """
# A comment that stays.
[paths]
train = null

[nlp]
lang = "en"
pipeline = ["textcat"]

[components]

[components.textcat]
factory = "reprtune_textcat"

[components.textcat.model]
@architectures = "spacy_reprtune.TextClassifier.v1"

[components.textcat.model.encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "ENCODER"
precision = "fp32"

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[training]
seed = 1
gpu_allocator = null
max_steps = 9
eval_frequency = 100

[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.0000001

[tune]

[tune.space]
training.optimizer.learn_rate = [0.0000002,0.0009]
components.textcat.model.encoder.unfreeze = ["none","all"]
"""


@pytest.fixture
def config_path(tmp_path, tiny_encoder):
    nlp = spacy.blank("en")
    DocBin(docs=[eg.reference for eg in make_examples(nlp)]).to_disk(tmp_path / "train.spacy")
    path = tmp_path / "config.cfg"
    path.write_text(CONFIG.replace("ENCODER", str(tiny_encoder)))
    return path


@pytest.fixture
def scores(monkeypatch):
    """Takes the place of trainings: rates are good, and all else is noise. Returns what ran."""
    ran = []

    def train(config, settings, rung, use_gpu, kept):
        rate = settings.get("training.optimizer.learn_rate", 0.0)
        config = tuning.shortened(tuning.with_settings(config, settings), rung)
        steps = config["training"]["max_steps"]
        ran.append((settings, steps))
        return Trial(settings, rung, steps, 100 * rate + steps / 1000, float(steps))

    monkeypatch.setattr(tuning, "_train", train)
    return ran


def overrides(path):
    return {"paths.train": str(path.parent / "train.spacy")}


def test_the_best_third_goes_on_with_three_times_the_steps(config_path, scores, tmp_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    found = tuning.tune(config, 60, tmp_path / "tune.json")
    steps = [n for settings, n in scores if settings]
    assert steps == [1, 1, 1, 1, 3, 9]
    assert [n for settings, n in scores if not settings] == [1, 3, 9]
    assert found[0].settings["training.optimizer.learn_rate"] == 0.0009
    assert found[0].steps == 9 and found[1].settings == {}


def test_what_is_close_to_the_config_is_tried_first(config_path, scores, tmp_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    rate, unfreeze = config["tune"]["space"]
    own = {rate: 0.0000001, unfreeze: "all"}
    config["tune"]["space"] = {rate: [0.0000001, 0.0009], unfreeze: ["all", "none", 1]}
    tuning.tune(config, 60, tmp_path / "tune.json")
    first_rung = [settings for settings, steps in scores if settings and steps == 1]
    changed = [sum(own[name] != value for name, value in s.items()) for s in first_rung]
    assert changed == [1, 1, 1, 2, 2]


def test_time_limits_the_candidates_and_finished_trainings_are_not_repeated(
    config_path, scores, tmp_path
):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    # The shortest training takes a second, the config itself 13: 6 are left for 3 rungs.
    tuning.tune(config, 19.5 / 60, tmp_path / "tune.json")
    assert [n for settings, n in scores if settings] == [1, 1, 3, 9]
    n_before = len(scores)
    tuning.tune(config, 19.5 / 60, tmp_path / "tune.json")
    assert len(scores) == n_before
    config["training"]["max_steps"] = 90
    with pytest.raises(ValueError, match="another config or other data. Use --replace"):
        tuning.tune(config, 1, tmp_path / "tune.json")


def test_each_candidate_has_a_share_of_its_own_steps(config_path, scores, tmp_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    config["tune"]["space"] = {"training.max_steps": [18, 36]}
    found = tuning.tune(config, 60, tmp_path / "tune.json")
    lengths = [(settings.get("training.max_steps", 9), steps) for settings, steps in scores]
    assert sorted(lengths) == [(9, 1), (9, 3), (9, 9), (18, 2), (36, 4), (36, 12), (36, 36)]
    assert found[0].settings == {"training.max_steps": 36}
    # The config itself costs 13 units, and a candidate 3 per rung on average.
    scores.clear()
    tuning.tune(config, 22 / 60, tmp_path / "less.json")
    assert len({str(settings) for settings, _ in scores if settings}) == 1


def test_what_a_training_costs_before_its_first_step_counts(
    config_path, scores, tmp_path, monkeypatch
):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    by_steps = tuning._train
    monkeypatch.setattr(tuning, "_train", lambda *args: replace(by_steps(*args), seconds=9.0))
    # The config itself costs 27 seconds, and a candidate 9 + 3 + 1.
    tuning.tune(config, (27 + 3 * 13) / 60, tmp_path / "tune.json")
    assert len({str(settings) for settings, _ in scores if settings}) == 3


def test_a_candidate_is_judged_by_its_end(config_path, monkeypatch):
    # After the first step, all heads that start from a probe are equal.
    rows = [{"score": 0.9}, {"score": None}, {"score": 0.7}]
    monkeypatch.setattr(tuning, "train", lambda config, seed, **settings: (None, rows))
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    assert tuning._train(full_config(config), {}, 2, -1, []).score == 0.7


def test_a_shorter_training_has_a_shorter_warm_up(config_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    schedule = {"@schedules": "warmup_linear.v1", "warmup_steps": 45, "initial_rate": 0.001}
    config["training"]["max_steps"] = 90
    config["vars"] = {"steps": 90, "warm": 45}
    for total, warm in ((90, 45), ("${training.max_steps}", 45), ("${vars.steps}", "${vars.warm}")):
        own = {**schedule, "total_steps": total, "warmup_steps": warm}
        config["training"]["optimizer"]["learn_rate"] = own
        rates = []
        for rung in range(3):
            short = tuning.shortened(config, rung).interpolate()["training"]
            rate = short["optimizer"]["learn_rate"]
            assert rate["total_steps"] == short["max_steps"]
            rates.append((short["max_steps"], rate["warmup_steps"]))
        assert rates == [(10, 5), (30, 15), (90, 45)]


def test_a_candidate_that_runs_out_of_memory_counts_as_0(config_path, monkeypatch):
    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tuning, "_train", fails)
    assert tuning._scored(Config(), {"training.dropout": 0.2}, 1, -1, []).score == 0.0
    with pytest.raises(RuntimeError, match="out of memory"):
        tuning._scored(Config(), {}, 1, -1, [])


def test_the_config_itself_is_the_best_of_equals():
    own, other = Trial({}, 2, 9, 0.5, 1.0), Trial({"a.b": 1}, 2, 9, 0.5, 1.0)
    short = Trial({"a.b": 2}, 1, 3, 0.9, 1.0)
    assert ranked([short, other, own]) == [own, other, short]


@pytest.mark.parametrize(
    "space,message",
    [
        ({}, r"no section \[tune.space\]"),
        ({"training.max_steps": 3}, "Use a list"),
        ({"training.rate": [1]}, "training.rate in .* is not a setting"),
    ],
)
def test_what_can_not_be_tried_is_named(space, message, config_path, tmp_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    config["tune"]["space"] = space
    with pytest.raises(ValueError, match=message):
        tuning.tune(config, 1, tmp_path / "tune.json")


def test_the_command_trains_and_writes_a_config_that_trains(config_path, tmp_path):
    output = tmp_path / "tune.json"
    command = ["tune", str(config_path), "--minutes", "0", "--output", str(output)]
    data = f"--paths.train={tmp_path / 'train.spacy'}"
    done = CliRunner().invoke(reprtune_cli, [*command, data])
    assert done.exit_code == 0, done.output
    trials = json.loads(output.read_text())["trials"]
    assert [trial["settings"] for trial in trials] == [{}]
    assert "(the config itself)" in done.output
    text = (tmp_path / "config-tuned.cfg").read_text()
    assert "# A comment that stays." in text
    tuned = Config().from_str(text, interpolate=False)
    assert tuned["paths"]["train"] == str(tmp_path / "train.spacy")
    trained = tmp_path / "trained"
    command = ["train", str(tmp_path / "config-tuned.cfg"), "--output", str(trained)]
    done = CliRunner().invoke(reprtune_cli, [*command, "--training.max_steps", "1"])
    assert done.exit_code == 0, done.output
    assert (trained / "model-last" / "config.cfg").is_file()


INLINE = (
    'learn_rate = {"@schedules":"warmup_linear.v1","warmup_steps":1,"total_steps":9,'
    '"initial_rate":0.5}'
)
OPTIMIZER = CONFIG[CONFIG.index("[training.optimizer]") : CONFIG.index("[tune]")]
MODEL = CONFIG[CONFIG.index("[components.textcat.model]") : CONFIG.index("[corpora]")]


@pytest.mark.parametrize(
    ("old", "new", "name", "value"),
    [
        (OPTIMIZER, "", "training.optimizer.eps", 0.001),
        ("learn_rate = 0.0000001", INLINE, "training.optimizer.learn_rate.initial_rate", 0.01),
        (MODEL, "", "components.textcat.model.encoder.unfreeze", 1),
    ],
)
def test_a_setting_that_the_file_leaves_to_defaults_or_writes_inline_is_in_the_tuned_config(
    old, new, name, value, config_path, tiny_encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: [Trial({name: value}, 2, 9, 0.9, 1.0)])
    assert old in CONFIG
    config_path.write_text(CONFIG.replace(old, new).replace("ENCODER", str(tiny_encoder)))
    command = ["tune", str(config_path), "-m", "1", "-o", str(tmp_path / "tune.json")]
    done = CliRunner().invoke(reprtune_cli, [*command, "--training.max_steps", "5"])
    assert done.exit_code == 0, done.output
    tuned = load_config(tmp_path / "config-tuned.cfg", interpolate=False)
    before = load_config(config_path, interpolate=False, overrides={"training.max_steps": 5})
    expected = tuning.with_settings(full_config(before), {name: value})
    assert tuning.with_settings(full_config(tuned), {}) == expected


def test_numbers_come_back_from_the_file_as_they_were(config_path, scores, tmp_path):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    config["tune"]["space"] = {"training.optimizer.learn_rate": [3e-5, 0.0003, 0.7]}
    first = tuning.tune(config, 60, tmp_path / "tune.json")
    scores.clear()
    assert tuning.tune(config, 60, tmp_path / "tune.json") == first
    assert not scores


def test_a_candidate_that_fails_counts_as_0_and_the_search_continues(
    config_path, scores, tmp_path, monkeypatch, caplog
):
    config = load_config(config_path, overrides=overrides(config_path), interpolate=False)
    config["tune"]["space"] = {"training.optimizer.learn_rate": [0.001, 1000.0, 0.002]}
    train = tuning._train

    def fails(config, settings, *args):
        if settings.get("training.optimizer.learn_rate") == 1000.0:
            raise ValueError("The loss is nan")
        return train(config, settings, *args)

    monkeypatch.setattr(tuning, "_train", fails)
    found = tuning.tune(config, 60, tmp_path / "tune.json")
    assert found[0].settings["training.optimizer.learn_rate"] == 0.002
    assert [t.score for t in found if 1000.0 in t.settings.values()] == [0.0]
    assert "The loss is nan" in caplog.text
