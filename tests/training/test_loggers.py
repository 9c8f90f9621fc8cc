"""The logger: spaCy's table, and one JSON object per line that other programs can read."""

import io
import json
import os
import time
from pathlib import Path

import pytest
from conftest import make_examples
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, registry

from spacy_reprtune.training.loggers import JsonlLogger_v1

CONFIG = Path(__file__).parents[2] / "configs" / "textcat_joint.cfg"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny_encoder, corpus_files):
    """Makes the config of a short training with a logger."""

    def make(logger, **training):
        overrides = {
            "paths.train": str(corpus_files),
            "paths.dev": str(corpus_files),
            "paths.encoder": str(tiny_encoder),
            "training.max_steps": 6,
            "training.eval_frequency": 3,
            **{f"training.{name}": value for name, value in training.items()},
        }
        config = load_config(CONFIG, overrides=overrides, interpolate=False)
        config["training"]["logger"] = logger
        return config

    return make


@pytest.fixture
def corpus_files(tmp_path, nlp):
    path = tmp_path / "texts.spacy"
    docs = DocBin()
    for example in make_examples(nlp):
        docs.add(example.reference)
    docs.to_disk(path)
    return path


def run(config, stderr=None):
    """Train, as `spacy train` does."""
    out = io.StringIO()
    train(init_nlp(config), None, stdout=out, stderr=stderr or io.StringIO())
    return out.getvalue()


def ours(path):
    return {"@loggers": "spacy_reprtune.JsonlLogger.v1", "path": path and str(path)}


def read(path):
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def test_the_file_has_a_start_every_evaluation_and_an_end(config, tmp_path):
    path = tmp_path / "metrics" / "joint.training.jsonl"
    run(config(ours(path)))
    start, *evaluations, end = read(path)
    assert start["kind"] == "start"
    assert start["pipeline"] == start["trains"] == ["textcat"]
    assert (start["max_steps"], start["eval_frequency"]) == (6, 3)
    assert start["initialize_seconds"] > 0
    assert [e["kind"] for e in evaluations] == ["evaluation"] * 3
    assert [e["step"] for e in evaluations] == [0, 3, 6]
    seconds = [e["seconds"] for e in evaluations]
    assert seconds[0] > 0 and seconds == sorted(seconds)
    assert all(0 < e["losses"]["textcat"] < 2 for e in evaluations)
    assert all(e["score"] == pytest.approx(e["scores"]["cats_score"]) for e in evaluations)
    assert evaluations[0]["words"] < evaluations[-1]["words"]
    assert end["kind"] == "end"
    assert end["error"] is None
    assert end["steps"] == 7  # spaCy counts from 0
    assert end["seconds"] >= seconds[-1]
    assert 10 < end["peak_memory_mb"] < 100_000


def test_losses_are_means_over_the_updates_since_the_last_evaluation(tmp_path, nlp):
    nlp.add_pipe("textcat")
    nlp.config["training"]["score_weights"] = {"cats_score": 1.0}
    path = tmp_path / "log.jsonl"
    step, finish = JsonlLogger_v1(path)(nlp, io.StringIO(), io.StringIO())
    info = {"epoch": 0, "score": 0.5, "other_scores": {"cats_score": 0.5}, "words": 9}
    step({**info, "step": 0, "losses": {"textcat": 3.0}})
    step(None)
    step(None)
    step({**info, "step": 3, "losses": {"textcat": 3.0}})
    finish()
    assert [e["losses"]["textcat"] for e in read(path)[1:-1]] == [3.0, 1.0]


def test_scores_that_are_not_numbers_leave_valid_json(tmp_path, nlp):
    nlp.add_pipe("textcat")
    path, out = tmp_path / "log.jsonl", io.StringIO()
    nlp.config["training"]["score_weights"] = {"cats_score": 1.0, "cats_macro_auc": 0.0}
    step, finish = JsonlLogger_v1(path)(nlp, out, io.StringIO())
    scores = {"cats_score": float("nan"), "cats_macro_auc": None, "cats_f_per_type": {"A": {}}}
    info = {"epoch": 0, "step": 0, "score": 0.0, "other_scores": scores, "words": 9}
    step({**info, "losses": {"textcat": float("inf")}})
    finish()
    [evaluation] = [e for e in read(path) if e["kind"] == "evaluation"]
    assert evaluation["scores"] == {"cats_score": None}
    assert evaluation["losses"] == {"textcat": None}
    assert out.getvalue().splitlines()[-1].split()[-2] == "nan"


def test_the_table_is_spacys_with_mean_losses(config, tmp_path):
    path = tmp_path / "log.jsonl"
    table = [line for line in run(config(ours(path))).splitlines() if "ℹ" not in line]
    header, line, *rows = table
    assert header.split() == ["E", "#", "LOSS", "TEXTCAT", "CATS_SCORE", "SCORE"]
    assert set(line) == {"-", " "}
    assert [row.split()[1] for row in rows] == ["0", "3", "6"]
    losses = [e["losses"]["textcat"] for e in read(path)[1:-1]]
    assert [float(row.split()[2]) for row in rows] == pytest.approx(losses, abs=0.006)


def test_a_log_has_no_progress_bar_and_a_terminal_has_one_with_time_left(config):
    log, terminal = io.StringIO(), Terminal()
    run(config(ours(None)), log)
    run(config(ours(None)), terminal)
    assert log.getvalue() == ""
    shown = terminal.getvalue()
    assert "Training" in shown and "Evaluating" in shown
    assert "6/6" in shown
    assert "<" in shown  # elapsed<left


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_old_file_is_replaced_and_a_directory_refused(config, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "old"}\n', encoding="utf8")
    run(config(ours(path)))
    assert [line["kind"] for line in read(path)].count("old") == 0
    with pytest.raises(ValueError, match="is a directory. Name a file"):
        JsonlLogger_v1(tmp_path)


def test_a_failed_training_says_so_in_the_last_line(config, tmp_path):
    path = tmp_path / "log.jsonl"
    broken = config(ours(path))
    broken["training"]["before_update"] = {"@callbacks": "tests.fail_at_step_2"}

    @registry.callbacks("tests.fail_at_step_2")
    def make():
        def fail(nlp, args):
            if args["step"] == 2:
                raise RuntimeError("no more")

        return fail

    with pytest.raises(RuntimeError, match="no more"):
        run(broken)
    assert read(path)[-1]["error"] == "RuntimeError: no more"


def test_a_training_by_epochs_has_no_steps_to_count_to_but_runs(config, tmp_path):
    path = tmp_path / "log.jsonl"
    terminal = Terminal()
    run(config(ours(path), max_steps=0, max_epochs=5, eval_frequency=1), terminal)
    assert read(path)[0]["max_steps"] == 0
    assert read(path)[-1]["steps"] == 5


def test_weights_and_biases_and_ours_run_side_by_side_offline(config, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    path = tmp_path / "log.jsonl"
    logger = {
        "@loggers": "spacy.ChainLogger.v1",
        "logger1": ours(path),
        "logger2": {"@loggers": "spacy.WandbLogger.v5", "project_name": "reprtune"},
    }
    table = run(config(logger))
    assert len(read(path)) == 5
    assert "CATS_SCORE" in table
    [stored] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert wandb.run is None
    # A process of its own writes the file, and goes on a moment after the run is finished.
    wanted = (b"cats_score", b"loss_textcat", b"spacy_reprtune.TextClassifier.v1")
    end = time.monotonic() + 30
    while not all(word in stored.read_bytes() for word in wanted):
        assert time.monotonic() < end, "scores and config are not in the file"
        time.sleep(0.2)


def test_mlflow_and_ours_run_side_by_side_offline(config, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    path = tmp_path / "log.jsonl"
    logger = {
        "@loggers": "spacy.ChainLogger.v1",
        "logger1": ours(path),
        "logger2": {"@loggers": "spacy.MLflowLogger.v2", "run_name": "joint"},
    }
    run(config(logger))
    [stored] = mlflow.search_runs(output_format="list")
    assert stored.info.run_name == "joint"
    score = read(path)[-2]["score"]
    assert stored.data.metrics["score"] == pytest.approx(score, abs=1e-5)
    assert "loss_textcat" in stored.data.metrics
    assert stored.data.params["training.max_steps"] == "6"
    assert os.path.isdir(tmp_path / "runs")
