"""A run that was killed or damaged ends with the weights of one that was not, or says why not."""

import json
import logging
import shutil
import signal
import time
from pathlib import Path

import pytest
from runs import Run, assert_same, pretrain_with, weights

from spacy_reprtune.pretraining.run import pretrain


def test_killed_and_resumed_runs_end_with_the_same_weights(tmp_path, run_config):
    config = run_config(training={"max_steps": 32, "eval_every": 3, "keep": "last"})
    config["encoder"]["dropout"] = 0.1
    # In a process like the killed ones: another number of threads rounds sums differently.
    code, errors = Run(pretrain_with, config, tmp_path / "whole").finish()
    assert code == 0, errors
    checkpoints = tmp_path / "killed" / "checkpoints"
    kills = 0
    for seconds in (0.05, 0.4, 0.9):
        run = Run(pretrain_with, config, tmp_path / "killed")
        seen = sorted(checkpoints.glob("step-*"))
        run.wait_for(lambda seen=seen: sorted(checkpoints.glob("step-*")) != seen)
        time.sleep(seconds)
        kills += run.kill()
        code, errors = run.finish()
        assert code in (0, -signal.SIGKILL), errors
    assert kills
    code, errors = Run(pretrain_with, config, tmp_path / "killed").finish()
    assert code == 0, errors
    assert_same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert not list((tmp_path / "killed").rglob(".*"))
    rows = [json.loads(r) for r in (tmp_path / "killed" / "log.jsonl").open(encoding="utf8")]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 37))


@pytest.fixture
def finished(tmp_path, finished_run):
    """Settings of a run, and a copy of what it wrote."""
    settings, output = finished_run
    return settings, Path(shutil.copytree(output, tmp_path / "run"))


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(finished, finished_run, caplog):
    settings, output = finished
    (output / "report.json").unlink()
    newest = max((output / "checkpoints").iterdir())
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        pretrain(settings, output)
    assert f"{newest} is damaged" in caplog.text and "one before it is used" in caplog.text
    assert_same(weights(output), weights(finished_run[1]))


def test_a_damaged_best_checkpoint_gives_way_to_the_last(tmp_path, settings, caplog):
    run = settings(training={"learn_rate": 1.0, "max_steps": 16})
    output = tmp_path / "run"
    pretrain(run, output)
    (output / "report.json").unlink()
    best = min((output / "checkpoints").iterdir())
    (best / "model.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        report = pretrain(run, output)
    assert "last weights are the result instead of the best" in caplog.text
    assert report["result_step"] == report["steps"]


def test_only_damaged_checkpoints_are_an_error_and_fresh_starts_over(finished):
    settings, output = finished
    first = weights(output)
    (output / "report.json").unlink()
    for folder in (output / "checkpoints").iterdir():
        (folder / "state.json").write_text("{", encoding="utf8")
    with pytest.raises(ValueError, match="All checkpoints .* are damaged. Start over with --fresh"):
        pretrain(settings, output)
    pretrain(settings, output, fresh=True)
    assert_same(weights(output), first)


def test_other_settings_or_text_are_refused_with_the_difference(
    tmp_path, finished, settings, text_file
):
    _, output = finished
    last = {"keep": "last"}
    with pytest.raises(ValueError, match=r"\[training\] seed was 0 and is 1"):
        pretrain(settings(training={"seed": 1, **last}), output)
    lines = text_file.read_text(encoding="utf8").splitlines()
    copy = tmp_path / "text.txt"
    copy.write_text("\n".join(lines[:-9]), encoding="utf8")
    with pytest.raises(ValueError, match=r"\[corpus\] train was .*; text was"):
        pretrain(settings(corpus={"train": str(copy)}, training=last), output)


def test_a_run_killed_while_it_writes_its_report_goes_on(tmp_path, settings, monkeypatch):
    write = Path.write_text

    def killed(path, content, **how):
        if "report.json" not in path.name:
            return write(path, content, **how)
        write(path, content[:9], **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings(), tmp_path / "run")
    monkeypatch.undo()
    assert pretrain(settings(), tmp_path / "run")["steps"] == 12
    assert not list((tmp_path / "run").glob(".*"))


def test_a_complete_run_is_not_touched(finished):
    settings, output = finished
    report = json.loads((output / "report.json").read_text(encoding="utf8"))
    stamp = (output / "encoder" / "model.safetensors").stat().st_mtime_ns
    assert pretrain(settings, output) == report
    assert (output / "encoder" / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_damaged_description_of_the_run_is_named(finished):
    settings, output = finished
    description = output / "run.json"
    description.write_bytes(description.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"run\.json is damaged .* --fresh"):
        pretrain(settings, output)
    before = weights(output)
    pretrain(settings, output, fresh=True)
    assert_same(weights(output), before)
