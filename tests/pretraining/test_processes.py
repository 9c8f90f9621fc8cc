"""Several processes end with the weights of one."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from runs import Run, assert_same, module_with, pretrain_with, weights

from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import settings_from


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


def test_two_processes_end_with_the_weights_of_one(tmp_path, run_config):
    config = run_config(training={"keep": "last"})
    pretrain(settings_from(config), tmp_path / "one")
    codes, errors = spread(config, tmp_path / "two")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=0, atol=1e-6)
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    assert reports[0]["pieces"] == reports[1]["pieces"]
    assert reports[1]["after"]["heldout"] == pytest.approx(reports[0]["after"]["heldout"], abs=1e-4)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, run_config):
    config = run_config(training={"keep": "last"})
    pretrain(settings_from(config), tmp_path / "whole")
    run = Run(pretrain_with, config, tmp_path / "moved")
    checkpoints = tmp_path / "moved" / "checkpoints"
    run.wait_for(lambda: list(checkpoints.glob("step-*8")))
    run.kill()
    (tmp_path / "moved" / "report.json").unlink(missing_ok=True)
    for late in sorted(checkpoints.glob("step-*"))[1:]:
        (late / "state.json").unlink()
    codes, errors = spread(config, tmp_path / "moved")
    assert codes == [0, 0], errors
    assert_same(weights(tmp_path / "moved"), weights(tmp_path / "whole"), rtol=0, atol=1e-6)


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # On CPUs it starts one process, unless MPI is there: several are torchrun's business.
    "accelerate launch": ["accelerate.commands.launch", "--cpu", "--num_processes", "1"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_start_the_module_as_the_readme_says(tmp_path, run_config, launcher):
    from confection import Config

    config = run_config(training={"max_steps": 2, "head_steps": 2, "keep": "last"})
    Config(config).to_disk(tmp_path / "mlm.cfg")
    arguments = [str(tmp_path / "mlm.cfg"), "--output", str(tmp_path / "run"), "--quiet"]
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "spacy_reprtune.pretraining"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments], env=env, capture_output=True, text=True, check=False, timeout=200
    )
    assert result.returncode == 0, result.stderr
    # One process prints, however many there are.
    assert result.stdout.count("held-out loss") == 1
    pretrain(settings_from(config), tmp_path / "one")
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "one"), rtol=0, atol=1e-6)


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


def test_what_the_first_process_alone_finds_wrong_ends_the_others_with_a_message(
    tmp_path, run_config
):
    from confection import Config

    Config(run_config()).to_disk(tmp_path / "mlm.cfg")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("not a run", encoding="utf8")
    arguments = [str(tmp_path / "mlm.cfg"), "--output", str(tmp_path / "run"), "--quiet"]
    codes, errors = together(module_with, *arguments)
    assert codes == [1, 1]
    assert "holds something else" in errors[0]
    assert "the other processes can't be reached" in errors[1]
    assert "Traceback" not in "".join(errors)
