import pytest
import spacy
from conftest import make_examples
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli


def run(*args):
    return CliRunner().invoke(reprtune_cli, [str(arg) for arg in args])


@pytest.fixture
def pipeline(nlp, sentence_config, tmp_path):
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": sentence_config()})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "nlp")
    return nlp


def test_a_model_goes_out_and_comes_back_with_the_flag_alone(pipeline, tmp_path):
    done = run("export-setfit", tmp_path / "nlp", tmp_path / "setfit")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "setfit" / "model_head.pkl").exists()
    refused = run("import-setfit", tmp_path / "setfit", tmp_path / "back")
    assert refused.exit_code == 1 and "runs any code" in " ".join(refused.output.split())
    assert not (tmp_path / "back").exists()
    done = run("import-setfit", tmp_path / "setfit", tmp_path / "back", "--trust-pickle")
    assert done.exit_code == 0, done.output
    back = spacy.load(tmp_path / "back")
    assert back("a great film").cats == pytest.approx(pipeline("a great film").cats, abs=0.05)
    assert not list((tmp_path / "back").rglob("*.pkl"))
    (tmp_path / "file").touch()
    for there in ("nlp", "file"):
        done = run("import-setfit", tmp_path / "setfit", tmp_path / there, "--trust-pickle")
        assert done.exit_code == 1 and "exists and is not empty" in " ".join(done.output.split())


def test_a_component_that_is_not_there_or_no_setfit_is_named(pipeline, tmp_path, model_config):
    done = run("export-setfit", tmp_path / "nlp", tmp_path / "out", "--name", "other")
    assert done.exit_code == 1 and "'other'" in done.output and "textcat" in done.output
    plain = spacy.blank("xx")
    plain.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    plain.initialize(lambda: make_examples(plain))
    plain.to_disk(tmp_path / "plain")
    done = run("export-setfit", tmp_path / "plain", tmp_path / "out")
    assert done.exit_code == 1 and "reprtune_setfit" in done.output
