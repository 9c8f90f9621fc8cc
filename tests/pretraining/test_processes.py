"""Several processes end with the weights of one."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from runs import Run, assert_same, command_with, pretrain_with, weights

from spacy_reprtune.pretraining.run import pretrain


def together(target, *arguments, world=2):
    """Call in several processes, as `torchrun` and `accelerate launch` start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    runs = [Run(target, *arguments, **rank) for rank in ranks]
    ended = [run.finish() for run in runs]
    return [code for code, _ in ended], [errors for _, errors in ended]


def spread(config, output):
    """Pretrain with two processes."""
    return together(pretrain_with, config, output)


@pytest.fixture(scope="module")
def single(finished_run):
    """Where a run with one process has ended."""
    return finished_run[1]


@pytest.fixture(scope="module")
def launched(tmp_path_factory, make_run_config):
    """What `torchrun` printed, and the directory of its run, as the docs start it."""
    from confection import Config

    folder = tmp_path_factory.mktemp("launched")
    Config(make_run_config(training={"keep": "last"})).to_disk(folder / "mlm.cfg")
    arguments = [str(folder / "mlm.cfg"), "--output", str(folder / "run"), "--quiet"]
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, "-m", *launcher, "-m", "spacy", "reprtune", "mlm"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments], env=env, capture_output=True, text=True, check=False, timeout=200
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, folder / "run"


def test_two_processes_end_with_the_weights_of_one(launched, single):
    _, two = launched
    assert_same(weights(two), weights(single), rtol=0, atol=1e-6)
    reports = [json.loads((path / "report.json").read_text()) for path in (single, two)]
    assert reports[0]["pieces"] == reports[1]["pieces"]
    assert reports[1]["after"]["heldout"] == pytest.approx(reports[0]["after"]["heldout"], abs=1e-4)


def test_two_processes_restore_texts_as_one_does(tmp_path, run_config, settings):
    training = {"objective": "tsdae", "keep": "last", "max_steps": 4, "head_steps": 2}
    pretrain(settings(training=training), tmp_path / "one")
    codes, errors = spread(run_config(training=training), tmp_path / "two")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=0, atol=1e-6)


def test_torchrun_starts_the_command_as_the_docs_say_and_one_process_prints(launched):
    printed, _ = launched
    assert printed.count("Wrote the encoder to") == 1


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, run_config, single):
    config = run_config(training={"keep": "last"})
    run = Run(pretrain_with, config, tmp_path / "moved")
    checkpoints = tmp_path / "moved" / "checkpoints"
    run.wait_for(lambda: list(checkpoints.glob("step-*8")))
    run.kill()
    (tmp_path / "moved" / "report.json").unlink(missing_ok=True)
    for late in sorted(checkpoints.glob("step-*"))[1:]:
        (late / "state.json").unlink()
    codes, errors = spread(config, tmp_path / "moved")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "moved"), weights(single), rtol=0, atol=1e-6)


def test_processes_wait_long_enough_for_the_text_to_be_tokenized(monkeypatch):
    from spacy_reprtune.pretraining import processes

    asked = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda name, **kwargs: asked.update(kwargs)
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert processes.join("cpu").size == 2
    assert asked["timeout"].total_seconds() >= 3600 * 10


def test_batches_that_processes_can_not_share_are_refused(tmp_path, run_config):
    config = run_config(training={"step_pieces": 384})
    codes, errors = spread(config, tmp_path / "run")
    assert codes == [1, 1]
    assert all("3 batches" in e and "2 processes can't share evenly" in e for e in errors)


def test_an_error_of_the_first_process_ends_the_others_with_a_message(tmp_path, run_config):
    from confection import Config

    Config(run_config()).to_disk(tmp_path / "mlm.cfg")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("not a run", encoding="utf8")
    arguments = [str(tmp_path / "mlm.cfg"), "--output", str(tmp_path / "run"), "--quiet"]
    codes, errors = together(command_with, *arguments)
    assert codes == [1, 1]
    # The terminal's width decides where lines break.
    first, second = (" ".join(text.split()) for text in errors)
    assert "holds something else" in first
    assert "the other processes can't be reached" in second
    assert "Traceback" not in "".join(errors)
