import json
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.cli._util import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_reprtune
import spacy_reprtune.cli  # adds its commands to spaCy's
from spacy_reprtune.data.corpus import read_texts
from spacy_reprtune.packaging import smoke
from spacy_reprtune.packaging.compare import predictions
from spacy_reprtune.packaging.wheels import package_pipeline
from spacy_reprtune.reporting.table import markdown_table, read_scores

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return CliRunner().invoke(app, ["reprtune", *map(str, arguments)])


@pytest.fixture
def trained(textcat, tmp_path):
    textcat.to_disk(tmp_path / "model")
    return tmp_path / "model"


def test_a_packaged_pipeline_works_in_a_fresh_environment(trained, textcat, tmp_path):
    packages = tmp_path / "packages"
    done = run(
        "package", trained, packages, "--name", "tiny", "--version", "1.2.3", "--source", ROOT
    )
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in packages.iterdir())
    plugin = f"spacy_reprtune-{spacy_reprtune.__version__}-py3-none-any.whl"
    assert names == ["en_tiny-1.2.3-py3-none-any.whl", plugin]

    docs = DocBin(docs=[textcat.make_doc(t) for t in ("a great film", "", "dull")])
    # A folder, as `convert` writes a large split: the proof reads it as it does a file.
    (tmp_path / "texts.spacy").mkdir()
    docs.to_disk(tmp_path / "texts.spacy" / "00000.spacy")
    output = tmp_path / "smoke.json"
    done = run(
        "smoke", packages, trained, tmp_path / "texts.spacy", "--name", "en_tiny-1.2.3", "--output",
        output,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(output.read_text())
    assert (result["texts"], result["version"]) == (3, "1.2.3")
    assert result["largest_difference"] < 1e-6
    assert (result["weights"], result["equal_predictions"]) == ("fp32", 1.0)


def test_another_model_than_the_one_that_was_packaged_is_found_out(
    trained, textcat, tmp_path, monkeypatch
):
    texts = ["a great film"]

    def installed(command, cwd, stdin=""):
        """As if the wheel had the pipeline as it is now."""
        packaged = {"pipeline": "tiny", "version": "1.0.0", "weights": ["fp32"]}
        return json.dumps(
            {**packaged, "file": str(cwd), "docs": predictions(textcat, texts) if stdin else []}
        )

    monkeypatch.setattr(smoke, "_environment", lambda path: "python")
    monkeypatch.setattr(smoke, "_run", installed)
    wheels = [tmp_path / "en_tiny-1.0.0-py3-none-any.whl"]
    assert smoke.smoke_test(wheels, trained, texts)["largest_difference"] < 1e-6
    for _ in range(10):
        textcat.update(textcat.examples, sgd=textcat.optimizer, losses={})
    with pytest.raises(RuntimeError, match="annotates 'a great film' differently"):
        smoke.smoke_test(wheels, trained, texts)


def test_no_trained_pipeline_is_explained(tmp_path):
    for name in ("en_x-1", f"spacy_reprtune-{spacy_reprtune.__version__}"):
        (tmp_path / f"{name}-py3-none-any.whl").touch()
    DocBin().to_disk(tmp_path / "t.spacy")
    (tmp_path / "none").mkdir()
    done = run(
        "smoke", tmp_path, tmp_path / "none", tmp_path / "t.spacy", "--name", "en_x-1", "--output",
        tmp_path / "o.json",
    )  # fmt: skip
    assert done.exit_code == 1 and "Can't run the trained pipeline" in done.output


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("en_tiny", "1.0.0", "begins with the language code.*Use 'tiny', and .* is 'en_tiny'"),
        ("en", "1.0.0", "begins with the language code"),
        ("tiny-one", "1.0.0", "can't be that of a package.*letters, digits"),
        ("größe", "1.0.0", "can't be that of a package"),
        ("tiny__one", "1.0.0", "can't be that of a package"),
        ("2tiny", "1.0.0", "can't be that of a package"),
        ("tiny", "first", "version 'first' is none that pip knows"),
    ],
)
def test_a_name_or_version_that_would_not_install_is_refused(
    name, version, message, trained, tmp_path
):
    with pytest.raises(ValueError, match=message):
        package_pipeline(trained, tmp_path / "out", name=name, version=version)
    assert not (tmp_path / "out").exists()
    done = run("package", trained, tmp_path / "out", "--name", name, "--version", version)
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "Can't package the pipeline" in done.output


def test_no_pipeline_and_no_source_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"no config\.cfg"):
        package_pipeline(tmp_path / "nothing", tmp_path, name="tiny", version="1.0.0")
    with pytest.raises(ValueError, match="is not the source"):
        package_pipeline(
            trained, tmp_path / "out", name="tiny", version="1.0.0", source_dir=tmp_path
        )


def test_missing_wheels_are_named(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    DocBin().to_disk(tmp_path / "t.spacy")
    done = run(
        "smoke", tmp_path / "empty", trained, tmp_path / "t.spacy", "--name", "en_x-1", "--output",
        tmp_path / "o.json",
    )  # fmt: skip
    assert done.exit_code == 1 and "Expected wheels of en_x-1" in done.output


def test_texts_come_from_files_and_from_folders(tmp_path):
    nlp = spacy.blank("en")
    parts = [("one", "two"), ("three", "four")]
    (tmp_path / "test.spacy").mkdir()
    for k, part in enumerate(parts):
        path = tmp_path / "test.spacy" / f"{k:05}.spacy"
        DocBin(docs=[nlp.make_doc(text) for text in part]).to_disk(path)
    assert read_texts(tmp_path / "test.spacy", 9) == ["one", "two", "three", "four"]
    assert read_texts(tmp_path / "test.spacy", 3) == ["one", "two", "three"]
    assert read_texts(path, 9) == ["three", "four"]
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"has no \.spacy files"):
        read_texts(tmp_path / "none", 9)


def test_the_results_table_has_every_recipe_and_no_other_file(tmp_path):
    srsly.write_json(tmp_path / "joint.json", {"cats_macro_f": 0.75, "speed": 1234.5})
    srsly.write_json(tmp_path / "ner.json", {"ents_f": 0.5, "speed": None})
    srsly.write_json(tmp_path / "smoke.json", {"texts": 3})
    header, rows = read_scores(tmp_path)
    assert header == ["recipe", "macro F", "entity F", "words/s"]
    assert rows == [["joint", "0.750", "–", "1,234"], ["ner", "–", "0.500", "–"]]
    assert markdown_table(header, rows).splitlines()[1] == "| --- | ---: | ---: | ---: |"
    done = run("results", tmp_path, "--output", tmp_path / "out" / "results.md")
    assert done.exit_code == 0 and "0.750" in (tmp_path / "out" / "results.md").read_text()


def test_no_results_is_an_error(tmp_path):
    assert run("results", tmp_path, "--output", tmp_path / "r.md").exit_code == 1


def test_help_names_every_command():
    output = run("--help").output
    for command in ("card", "package", "push", "results", "smoke"):
        assert command in output
