"""The command `mlm`: what it prints, and its messages."""

import json

import pytest
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli


@pytest.fixture
def config_path(tmp_path, run_config):
    from confection import Config

    config = run_config(training={"max_steps": 2, "head_steps": 2}, corpus={"train": None})
    path = tmp_path / "mlm.cfg"
    Config(config).to_disk(path)
    return path


def run(*arguments):
    return CliRunner().invoke(reprtune_cli, ["mlm", *map(str, arguments)])


def test_the_command_writes_an_encoder_and_prints_its_losses(tmp_path, config_path, text_file):
    output = tmp_path / "run"
    result = run(
        config_path, "--output", output, "--from", text_file, "--training.seed", "3", "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert "held-out text" in result.output and "loss before" in result.output
    assert (output / "encoder" / "model.safetensors").is_file()
    assert json.loads((output / "run.json").read_text())["[training] seed"] == 3


def test_processes_besides_the_first_print_nothing(tmp_path, config_path, text_file, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = run(config_path, "--output", tmp_path / "run", "--from", text_file, "--quiet")
    assert result.exit_code == 0 and result.output == ""


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--from", "x.txt", "--training.max_step", "3"], "has no setting 'max_step'"),
        (["--training"], "No such option '--training'"),
        (["--from", "x.txt", "--training.seed"], "seed = True. It has to be a valid integer"),
        ([], "[corpus] train is not set"),
        (["--from", "nothing.txt"], "no such file or directory"),
    ],
)
def test_errors_are_messages_not_tracebacks(tmp_path, config_path, extra, message):
    result = run(config_path, "--output", tmp_path / "run", *extra)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert message in " ".join(result.output.split())
