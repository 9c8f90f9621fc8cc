"""The two command lines are one engine."""

import json

import pytest
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.pretraining.__main__ import main


@pytest.fixture
def config_path(tmp_path, run_config):
    from confection import Config

    config = run_config(training={"max_steps": 2, "head_steps": 2}, corpus={"train": None})
    path = tmp_path / "mlm.cfg"
    Config(config).to_disk(path)
    return path


def test_both_command_lines_write_the_same_encoder(tmp_path, config_path, text_file):
    one, two = tmp_path / "one", tmp_path / "two"
    arguments = ["--from", str(text_file), "--training.seed", "3", "--quiet"]
    assert main([str(config_path), "--output", str(one), *arguments]) == 0
    command = ["mlm", str(config_path), "--output", str(two), *arguments]
    result = CliRunner().invoke(reprtune_cli, command)
    assert result.exit_code == 0, result.output
    assert "held-out text" in result.output and "loss before" in result.output
    files = [path / "encoder" / "model.safetensors" for path in (one, two)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads((one / "run.json").read_text())["[training] seed"] == 3


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--from", "x.txt", "--training.max_step", "3"], "has no setting 'max_step'"),
        (["--training"], "Can't make sense of '--training'"),
        ([], "[corpus] train is not set"),
        (["--from", "nothing.txt"], "no such file or directory"),
    ],
)
def test_errors_are_messages_not_tracebacks(tmp_path, config_path, extra, message, capsys):
    arguments = [str(config_path), "--output", str(tmp_path / "run"), *extra]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    result = CliRunner().invoke(reprtune_cli, ["mlm", *arguments])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
