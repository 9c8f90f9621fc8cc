import pytest
import spacy
from conftest import make_examples
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_config):
    """A trained pipeline, and a corpus to fit thresholds to."""
    path = tmp_path_factory.mktemp("threshold")
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder_config()}
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(path / "nlp")
    docs = [eg.reference for _ in range(40) for eg in make_examples(nlp)]
    DocBin(docs=docs, store_user_data=True).to_disk(path / "dev.spacy")
    return path


def run(*args):
    done = CliRunner().invoke(reprtune_cli, ["threshold", *map(str, args)])
    return done.exit_code, " ".join(done.output.split())


def test_thresholds_go_into_a_new_directory_and_into_the_same_one(folder, tmp_path):
    (folder / "nlp" / "LICENSE").write_text("apache-2.0")
    code, output = run(
        folder / "nlp", folder / "dev.spacy", "--precision", 0.8, "-o", tmp_path / "new"
    )
    assert code == 0, output
    assert (tmp_path / "new" / "LICENSE").read_text() == "apache-2.0"
    assert "GOOD" in output and "160 of 160" in output and "100.0%" in output
    assert spacy.load(folder / "nlp").get_pipe("textcat").cfg["thresholds"] is None
    code, output = run(tmp_path / "new", folder / "dev.spacy", "--precision", 0.9)
    assert code == 0, output
    # The manifest is checked at load.
    nlp = spacy.load(tmp_path / "new")
    assert nlp.get_pipe("textcat").cfg["thresholds"]["precision"] == 0.9
    assert nlp("a great film")._.reprtune_labels == ["GOOD"]


def test_a_precision_out_of_reach_saves_nothing(folder):
    before = (folder / "nlp" / "textcat" / "cfg").read_bytes()
    code, output = run(folder / "nlp", folder / "dev.spacy", "--precision", 0.999)
    assert code == 1 and "No label reaches a precision of 0.999" in output
    code, output = run(folder / "nlp", folder / "dev.spacy", "--precision", 95)
    assert code == 1 and "precision = 95.0" in output
    assert (folder / "nlp" / "textcat" / "cfg").read_bytes() == before


def test_an_installed_pipeline_needs_an_output(folder):
    code, output = run("some_package", folder / "dev.spacy", "--precision", 0.9)
    assert code == 1 and "--output" in output
