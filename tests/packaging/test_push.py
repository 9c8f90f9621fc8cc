"""A packaged pipeline goes to a hub, and comes back from it."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import spacy
from conftest import make_examples
from spacy.cli._util import app
from stand_in_hub import TOKEN, StandInHub
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.packaging.push import push_wheel, unpack_pipeline
from spacy_reprtune.packaging.wheels import package_pipeline

REPO = "team/en_tiny"
# Runs commands in one process that takes the stand-in for the hub: huggingface_hub reads most of
# its environment when it is imported.
WORKER = """
import json, os, sys
import spacy, spacy_reprtune.cli
from huggingface_hub import constants, snapshot_download
from spacy.cli._util import app
from typer.testing import CliRunner

for line in sys.stdin:
    task = json.loads(line)
    os.environ["HF_TOKEN"], constants.ENDPOINT = task["token"], task["endpoint"]
    if "text" in task:
        nlp = spacy.load(snapshot_download(task["repo"]))
        answer = dict(nlp(task["text"]).cats)
    else:
        done = CliRunner().invoke(app, ["reprtune", "push", *task["arguments"]])
        answer = [done.exit_code, done.output + (repr(done.exception) if done.exception else "")]
    print("ANSWER", json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def shared_hub():
    hub = StandInHub()
    yield hub
    hub.close()


@pytest.fixture
def hub(shared_hub):
    for kept in ("repos", "private", "blobs", "commits", "requests"):
        getattr(shared_hub, kept).clear()
    return shared_hub


@pytest.fixture(scope="module")
def worker(shared_hub, tmp_path_factory):
    env = {
        **os.environ,
        "HF_ENDPOINT": shared_hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(token=TOKEN, endpoint=shared_hub.endpoint, **task):
            line = json.dumps({"token": token, "endpoint": endpoint, **task})
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answers = (line for line in process.stdout if line.startswith("ANSWER "))
            return json.loads(next(answers)[len("ANSWER ") :])

        yield ask
        # It has nothing to write, and ending by itself takes seconds.
        process.kill()


@pytest.fixture
def push(worker, hub):
    """Runs `reprtune push` and returns the exit code and what it said, on one line."""

    def run(*arguments, **settings):
        code, said = worker(arguments=list(map(str, arguments)), **settings)
        return code, " ".join(said.split())

    return run


@pytest.fixture(scope="module")
def textcat(model_config):
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


@pytest.fixture(scope="module")
def wheel(textcat, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    textcat.to_disk(folder / "model")
    arguments = ["reprtune", "card", str(folder / "model"), "--name", "tiny", "--version"]
    done = CliRunner().invoke(app, [*arguments, "1.0.0", "--license", "mit", "--repo", REPO])
    assert done.exit_code == 0, done.output
    [wheel] = package_pipeline(folder / "model", folder, name="tiny", version="1.0.0")
    return wheel


def test_a_pushed_pipeline_loads_from_the_hub_and_installs_from_its_address(
    hub, worker, push, wheel, textcat, tmp_path
):
    plugin = tmp_path / "spacy_reprtune-0.0.0-py3-none-any.whl"
    plugin.write_bytes(b"a wheel")
    code, said = push(wheel, REPO, "--with", plugin, "--private")
    assert code == 0, said
    assert f"{hub.endpoint}/{REPO}/commit/" in said.replace(" ", "")
    files = hub.repos[REPO]
    expected = {"config.cfg", "meta.json", "README.md", wheel.name, plugin.name}
    assert expected <= set(files) and REPO in hub.private
    assert "textcat/model/encoder/model.safetensors" in files
    assert hub.commits == [(REPO, "en_tiny 1.0.0")]
    # Weights do not travel as text.
    assert sum(1 for method, path in hub.requests if method == "PUT") == 4
    found = worker(repo=REPO, text="a great film")
    assert found == pytest.approx(dict(textcat("a great film").cats), abs=1e-6)

    # The address that the card gives.
    card = files["README.md"].decode()
    assert f"https://huggingface.co/{REPO}/resolve/main/{wheel.name}" in card
    address = f"{hub.endpoint}/{REPO}/resolve/main/{wheel.name}"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    env = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [*command, tmp_path / "site", address], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "en_tiny" / "__init__.py").is_file()


def test_a_second_version_replaces_the_first(hub, push, wheel):
    assert push(wheel, REPO)[0] == 0
    hub.repos[REPO]["ner/old"] = b"of an earlier version"
    code, said = push(wheel, REPO, "--message", "Again")
    assert code == 0, said
    assert "ner/old" not in hub.repos[REPO] and ".gitattributes" in hub.repos[REPO]
    assert [message for _, message in hub.commits] == ["en_tiny 1.0.0", "Again"]


def test_a_repository_of_something_else_is_not_emptied_by_mistake(hub, push, wheel):
    hub.repos[REPO] = {".gitattributes": b"", "pytorch_model.bin": b"years of work"}
    before = dict(hub.repos[REPO])
    code, said = push(wheel, REPO)
    assert code == 1 and "SystemExit" in said
    assert "is not a spaCy pipeline" in said and "pytorch_model.bin" in said
    assert "--overwrite" in said
    assert hub.repos[REPO] == before and not hub.commits
    code, said = push(wheel, REPO, "--overwrite")
    assert code == 0, said
    assert "pytorch_model.bin" not in hub.repos[REPO] and "meta.json" in hub.repos[REPO]


def test_a_repository_with_only_a_readme_is_new(hub, push, wheel):
    hub.repos[REPO] = {".gitattributes": b"", "README.md": b"Soon."}
    code, said = push(wheel, REPO)
    assert code == 0, said
    assert "meta.json" in hub.repos[REPO] and hub.repos[REPO]["README.md"] != b"Soon."


def test_a_wrong_token_is_explained(hub, push, wheel):
    code, said = push(wheel, REPO, token="hf_wrong")
    assert code == 1 and "SystemExit" in said
    assert "does not let you write to 'team/en_tiny'" in said and "huggingface-cli login" in said
    assert not hub.repos


def test_an_unreachable_hub_is_explained(push, wheel):
    closed = StandInHub()
    closed.close()
    code, said = push(wheel, REPO, endpoint=closed.endpoint)
    assert code == 1 and "SystemExit" in said
    assert "Can't reach the hub at http://127.0.0.1" in said


def test_wrong_arguments_are_explained(wheel, tmp_path):
    with pytest.raises(ValueError, match="Write ORGANIZATION/NAME"):
        push_wheel(wheel, "en_tiny")
    with pytest.raises(ValueError, match="is not a wheel"):
        push_wheel(wheel, REPO, beside=[tmp_path / "none.whl"])
    (tmp_path / "text.whl").write_text("none")
    with pytest.raises(ValueError, match="is not a wheel"):
        push_wheel(tmp_path / "text.whl", REPO)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    with pytest.raises(ValueError, match="is not the wheel of a pipeline"):
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
