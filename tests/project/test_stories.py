"""Each project in projects/ runs from beginning to end, at a tiny size and in this process."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import srsly
import weasel.cli.run
from spacy.cli._util import app
from typer.testing import CliRunner
from weasel.cli.run import project_run

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)

ROOT = Path(__file__).parents[2]
WORDS = ["the", "a", "film", "was", "good", "bad", "great", "awful"]


@pytest.fixture
def stories(tmp_path, monkeypatch):
    """A copy of the repository's projects with tiny data, whose commands run in this process."""
    for name in ("configs", "projects", "scripts"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("corpus", "training", "metrics", "project.lock"),
        )
    assets = tmp_path / "assets"
    for folder in ("rotten_tomatoes", "conll2003", "wnut17", "ncbi_disease", "biomed_text"):
        (assets / folder).mkdir(parents=True)
    shutil.copy(ROOT / "assets" / "general.txt", assets)
    for name, word in (("pos", "great"), ("neg", "awful")):
        lines = [f"the film {k} was {word} ." for k in range(60)]
        (assets / "rotten_tomatoes" / f"rt-polarity.{name}").write_text("\n".join(lines) + "\n")
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (assets / "conll2003" / name).write_text(conll(name, "-X- -X- "), encoding="utf8")
    for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"):
        (assets / "wnut17" / name).write_text(conll(name), encoding="utf8")
    for name in ("train.tsv", "devel.tsv", "test.tsv"):
        (assets / "ncbi_disease" / name).write_text(conll(name), encoding="utf8")
    text = [f"patient {k} had a good film and a bad disease {k}" for k in range(60)]
    (assets / "biomed_text" / "sentences.txt").write_text("\n".join(text) + "\n")
    monkeypatch.setattr(weasel.cli.run, "run_command", run_here)
    return tmp_path / "projects"


def conll(name, between=""):
    """RETURNS (str): Sentences of a file whose texts no other file has, one token per line."""
    sentences = []
    for k in range(24):
        tokens = [
            (f"{name[-7:-2].strip('.')}{k}", "O"),
            ("met", "O"),
            ("Mira", "B-PER"),
            ("Holt", "I-PER"),
        ]
        sentences.append(
            "\n".join(f"{token}\t{between}{tag}".replace("\t-", " -") for token, tag in tokens)
        )
    return "\n\n".join(sentences) + "\n"


def run_here(command, **_):
    """Run a line of a project as weasel does, but without a new process."""
    arguments = command[1:]
    if arguments[:2] == ["-m", "spacy"]:
        done = CliRunner().invoke(app, arguments[2:])
        assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"
    else:
        before, sys.argv = sys.argv, arguments
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            assert not end.code
        finally:
            sys.argv = before


FEW = {
    "book": [
        "steps",
        "eval_frequency",
        "sweep_steps",
        "setfit_steps",
        "mlm_steps",
        "mlm_head_steps",
        "conll2003_steps",
        "sets_eval_frequency",
    ],
    "domain": ["mlm_steps", "mlm_head_steps", "steps", "eval_frequency"],
    "sets": ["conll2003_steps", "wnut17_steps", "ncbi_steps", "sets_eval_frequency"],
}


@pytest.mark.parametrize("name", FEW)
def test_a_project_runs_from_beginning_to_end(name, stories, tiny_encoder):
    overrides = {f"vars.{variable}": 2 for variable in FEW[name]}
    overrides["vars.encoder"] = str(tiny_encoder)
    if name == "book":
        overrides.update({"vars.sweep_points": "none,1", "vars.setfit_texts": 2})
    project_run(stories / name, "all", overrides=overrides)
    project = srsly.read_yaml(stories / name / "project.yml")
    for command in project["commands"]:
        for output in command["outputs"]:
            assert (stories / name / output).exists(), output


def test_every_project_is_run_here():
    assert set(FEW) == {path.parent.name for path in (ROOT / "projects").glob("*/project.yml")}
