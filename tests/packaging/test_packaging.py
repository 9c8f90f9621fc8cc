import json
import re
import shlex
import shutil
import zipfile

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_reprtune
import spacy_reprtune.cli  # adds its commands to spaCy's
from spacy_reprtune.data.corpus import read_texts
from spacy_reprtune.packaging import smoke
from spacy_reprtune.packaging.agreement import predictions
from spacy_reprtune.packaging.half import weights_types
from spacy_reprtune.packaging.wheels import package_pipeline


def run(*arguments):
    return CliRunner().invoke(app, ["reprtune", *map(str, arguments)])


@pytest.fixture
def nlp():
    """An English pipeline: the language is in the names of packages."""
    spacy.util.fix_random_seed(0)
    return spacy.blank("en")


def test_a_packaged_recognizer_requires_only_what_it_uses(ner, tmp_path):
    ner.to_disk(tmp_path / "model")
    [wheel] = package_pipeline(tmp_path / "model", tmp_path, name="tiny", version="1.0.0")
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read("en_tiny-1.0.0.dist-info/METADATA").decode()
    required = re.findall(r"^Requires-Dist: *([\w-]+)", about, re.MULTILINE)
    # spaCy itself comes with spacy-reprtune.
    assert {"spacy-reprtune"} <= set(required) <= {"spacy", "spacy-reprtune"}


def test_licenses_are_packaged_if_they_are_in_the_pipelines_directory(textcat, tmp_path):
    for added in ([], ["LICENSE", "LICENSES_SOURCES", "NOTICE"]):
        textcat.to_disk(tmp_path / "model")
        for name in added:
            (tmp_path / "model" / name).write_text(f"the text of {name}")
        [wheel] = package_pipeline(tmp_path / "model", tmp_path, name="tiny", version="1.0.0")
        with zipfile.ZipFile(wheel) as archive:
            about = archive.read("en_tiny-1.0.0.dist-info/METADATA").decode()
            names = archive.namelist()
        found = {name for name in names if re.search("LICENSE|NOTICE", name)}
        own = {f"en_tiny/en_tiny-1.0.0/{name}" for name in added}
        assert own == {name for name in found if "dist-info" not in name}
        assert ("License-File: LICENSE\n" in about) == bool(added)


@pytest.fixture
def trained(textcat, tmp_path):
    textcat.to_disk(tmp_path / "model")
    return tmp_path / "model"


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


PACKAGED = {"pipeline": "tiny", "version": "1.0.0"}


def test_spans_that_differ_are_shown():
    one, other = (
        {"cats": {}, "labels": [], "ents": [], "rest": f'{{"spans": "{spans}"}}'} for spans in "AB"
    )
    packaged = {**PACKAGED, "weights": ["fp32"], "docs": [one]}
    with pytest.raises(RuntimeError, match=r"differently: .*spans.*A.*, not .*spans.*B"):
        smoke.judge(packaged, [other], ["a text"])


def test_an_int8_package_may_differ_more_than_one_in_fp16(tmp_path):
    one, other = (
        {"cats": {"A": a, "B": 1 - a}, "labels": ["A"], "ents": [], "rest": "{}"}
        for a in (0.6, 0.7)
    )
    (tmp_path / "textcat" / "model").mkdir(parents=True)
    (tmp_path / "textcat" / "model" / "onnx.json").write_text('{"weights": "int8"}')
    packaged = {**PACKAGED, "weights": weights_types(tmp_path), "docs": [one]}
    assert smoke.judge(packaged, [other], ["a text"])["weights"] == "int8"
    with pytest.raises(RuntimeError, match=r"differ from .* by 0\.1, more than 0\.02"):
        smoke.judge({**packaged, "weights": ["fp16"]}, [other], ["a text"])


@pytest.mark.parametrize("option", ["--corpus", "--train", "--insist"])
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_options_that_would_change_nothing_are_refused(option, runtime, trained, tmp_path):
    options = [option] if option == "--insist" else [option, tmp_path]
    done = run("package", trained, tmp_path, "--name", "tiny", "--runtime", runtime, *options)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and re.search(rf"{option}( and --insist)? (is|are) for --", said)


def test_the_command_that_installs_can_be_pasted(trained, tmp_path, monkeypatch):
    wheel = tmp_path / "my wheels" / "en_tiny-0.0.0-py3-none-any.whl"
    monkeypatch.setattr(
        "spacy_reprtune.packaging.wheels.package_pipeline", lambda *args, **settings: [wheel]
    )
    wheel.parent.mkdir()
    wheel.touch()
    done = run("package", trained, wheel.parent, "--name", "tiny")
    command = " ".join(done.output.split("pip install ")[1].split())
    assert shlex.split(command)[-2:] == [str(wheel.parent), "en_tiny"]


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
        ("tiny-one", "1.0.0", "A package can't be named.*letters, digits"),
        ("größe", "1.0.0", "A package can't be named"),
        ("tiny__one", "1.0.0", "A package can't be named"),
        ("2tiny", "1.0.0", "A package can't be named"),
        ("tiny", "first", "pip does not accept the version 'first'"),
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
    (tmp_path / "only").mkdir()
    shutil.copyfile(trained / "config.cfg", tmp_path / "only" / "config.cfg")
    with pytest.raises(ValueError, match=r"no meta\.json"):
        package_pipeline(tmp_path / "only", tmp_path, name="tiny", version="1.0.0")
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
    nlp = spacy.blank("xx")
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


def test_help_names_every_command():
    output = run("--help").output
    for command in ("card", "package", "push", "report", "smoke"):
        assert command in output
