"""A packaged pipeline goes to a hub, and comes back from it."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from spacy.cli._util import app
from stand_in_hub import TOKEN, StandInHub
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.packaging.push import push_wheel, unpack_pipeline
from spacy_reprtune.packaging.wheels import package_pipeline

REPO = "team/en_tiny"


@pytest.fixture
def hub():
    hub = StandInHub()
    yield hub
    hub.close()


@pytest.fixture
def wheel(textcat, tmp_path):
    textcat.to_disk(tmp_path / "model")
    arguments = ["reprtune", "card", str(tmp_path / "model"), "--name", "tiny", "--version"]
    done = CliRunner().invoke(app, [*arguments, "1.0.0", "--license", "mit", "--repo", REPO])
    assert done.exit_code == 0, done.output
    [wheel] = package_pipeline(
        tmp_path / "model", tmp_path / "packages", name="tiny", version="1.0.0"
    )
    return wheel


def python(hub, tmp_path, *arguments, token=TOKEN):
    """Run Python with the stand-in as hub: huggingface_hub reads these when it is imported."""
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def push(hub, tmp_path, *arguments, **settings):
    return python(hub, tmp_path, "-m", "spacy", "reprtune", "push", *arguments, **settings)


def test_a_pushed_pipeline_loads_from_the_hub_and_installs_from_its_address(
    hub, wheel, textcat, tmp_path
):
    plugin = tmp_path / "spacy_reprtune-0.0.0-py3-none-any.whl"
    plugin.write_bytes(b"a wheel")
    done = push(hub, tmp_path, wheel, REPO, "--with", plugin, "--private")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{hub.endpoint}/{REPO}/commit/" in done.stdout.replace("\n", "")
    files = hub.repos[REPO]
    expected = {"config.cfg", "meta.json", "README.md", wheel.name, plugin.name}
    assert expected <= set(files) and REPO in hub.private
    assert "textcat/model/encoder/model.safetensors" in files
    assert hub.commits == [(REPO, "en_tiny 1.0.0")]
    # Weights do not travel as text.
    assert sum(1 for method, path in hub.requests if method == "PUT") == 4

    code = (
        "import sys, json, spacy; from huggingface_hub import snapshot_download\n"
        f"nlp = spacy.load(snapshot_download({REPO!r}))\n"
        "print(json.dumps(nlp('a great film').cats))"
    )
    done = python(hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == pytest.approx(dict(textcat("a great film").cats), abs=1e-6)

    # The address that the card gives.
    card = files["README.md"].decode()
    assert f"https://huggingface.co/{REPO}/resolve/main/{wheel.name}" in card
    address = f"{hub.endpoint}/{REPO}/resolve/main/{wheel.name}"
    install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    done = python(hub, tmp_path, *install, tmp_path / "site", address)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "en_tiny" / "__init__.py").is_file()


def test_a_second_version_takes_the_place_of_the_first(hub, wheel, tmp_path):
    assert push(hub, tmp_path, wheel, REPO).returncode == 0
    hub.repos[REPO]["ner/old"] = b"of an earlier version"
    done = push(hub, tmp_path, wheel, REPO, "--message", "Again")
    assert done.returncode == 0, done.stderr
    assert "ner/old" not in hub.repos[REPO] and ".gitattributes" in hub.repos[REPO]
    assert [message for _, message in hub.commits] == ["en_tiny 1.0.0", "Again"]


def test_a_repository_of_something_else_is_not_emptied_by_mistake(hub, wheel, tmp_path):
    hub.repos[REPO] = {".gitattributes": b"", "pytorch_model.bin": b"years of work"}
    before = dict(hub.repos[REPO])
    done = push(hub, tmp_path, wheel, REPO)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "Traceback" not in said
    assert "is no spaCy pipeline" in said and "pytorch_model.bin" in said and "--overwrite" in said
    assert hub.repos[REPO] == before and not hub.commits
    done = push(hub, tmp_path, wheel, REPO, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "pytorch_model.bin" not in hub.repos[REPO] and "meta.json" in hub.repos[REPO]


def test_a_repository_with_only_a_readme_is_new(hub, wheel, tmp_path):
    hub.repos[REPO] = {".gitattributes": b"", "README.md": b"Soon."}
    done = push(hub, tmp_path, wheel, REPO)
    assert done.returncode == 0, done.stderr
    assert "meta.json" in hub.repos[REPO] and hub.repos[REPO]["README.md"] != b"Soon."


def test_a_wrong_token_is_explained(hub, wheel, tmp_path):
    done = push(hub, tmp_path, wheel, REPO, token="hf_wrong")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "Traceback" not in said
    assert "does not let you write to 'team/en_tiny'" in said and "huggingface-cli login" in said
    assert not hub.repos


def test_no_hub_is_explained(hub, wheel, tmp_path):
    hub.close()
    done = push(hub, tmp_path, wheel, REPO)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "Traceback" not in said
    assert "Can't reach the hub at http://127.0.0.1" in said


def test_wrong_arguments_are_explained(wheel, tmp_path):
    with pytest.raises(ValueError, match="Write ORGANISATION/NAME"):
        push_wheel(wheel, "en_tiny")
    with pytest.raises(ValueError, match="is no wheel"):
        push_wheel(wheel, REPO, beside=[tmp_path / "none.whl"])
    (tmp_path / "text.whl").write_text("none")
    with pytest.raises(ValueError, match="is no wheel"):
        push_wheel(tmp_path / "text.whl", REPO)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    with pytest.raises(ValueError, match="no wheel of a pipeline"):
        push_wheel(tmp_path / "other.whl", REPO)


@pytest.mark.parametrize("entry", ["../evil", "../../evil", "a/../../evil", "{tmp}/evil", "a/.."])
def test_a_wheel_writes_nothing_outside_of_its_folder(entry, tmp_path):
    # After "en_x-1/" an absolute path has two slashes.
    entry = entry.format(tmp=tmp_path)
    with zipfile.ZipFile(tmp_path / "bad.whl", "w") as archive:
        archive.writestr("en_x/en_x-1/config.cfg", "")
        archive.writestr(f"en_x/en_x-1/{entry}", "")
    (tmp_path / "a" / "out").mkdir(parents=True)
    with pytest.raises(ValueError, match="names a file outside of its pipeline"):
        unpack_pipeline(tmp_path / "bad.whl", tmp_path / "a" / "out")
    assert not list(tmp_path.rglob("evil")) and not list((tmp_path / "a" / "out").iterdir())
