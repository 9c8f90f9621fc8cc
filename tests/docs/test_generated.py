"""The generated pages of docs/ say what the code says, and say it of every setting."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(name):
    return (ROOT / "docs" / name).read_text("utf8")


def test_components_are_in_sync(generate):
    assert generate.components_page() == committed("components.md"), "python docs/generate.py"


def test_commands_are_in_sync(generate):
    assert generate.commands_page() == committed("commands.md"), "python docs/generate.py"


def test_the_project_s_page_is_in_sync(generate, tmp_path):
    page = tmp_path / "project.md"
    page.write_text(committed("project.md"), encoding="utf8")
    assert generate.project_page(page) == committed("project.md"), "python docs/generate.py"


def test_docstrings_are_taken_apart(generate):
    def function(first, second):
        """Do it.

        More of it: it is done.

        first (Optional[Union[str, Dict[str, float]]]): One thing,
            on two lines.
        second, third (int): Another.
        RETURNS (int): What is left out.
        """

    documented = generate.read_docstring(function)
    assert documented.text == ["Do it.", "More of it: it is done."]
    assert documented.arguments == {
        "first": "One thing, on two lines.",
        "second": "Another.",
        "third": "Another.",
    }


def test_a_setting_without_a_description_is_named(generate):
    def batcher(*, size: int, seed: int = 0):
        """Make batches.

        size (int): Texts per batch.
        """

    with pytest.raises(ValueError, match=r"batcher in .* does not describe seed\."):
        list(generate._function("batcher.v1", batcher))
    batcher.__doc__ = None
    with pytest.raises(ValueError, match="batcher in .* has no docstring"):
        list(generate._function("batcher.v1", batcher))


def test_every_entry_point_is_on_the_page(generate):
    points = generate.entry_points()
    known = {*generate.KINDS, "spacy_factories", "spacy_cli"}
    assert set(points) <= known, "docs/generate.py: KINDS lacks a group of entry points"
    page = committed("components.md")
    for group, named in points.items():
        for name, _ in named:
            assert group == "spacy_cli" or f"### `{name}`" in page


def test_every_setting_is_documented(generate):
    """Of components, their initialization, registered functions, and pretraining."""
    import spacy

    from spacy_reprtune.pretraining import settings

    page = committed("components.md")
    sections = dict(re.findall(r"(?ms)^### `(.+?)`$(.*?)(?=^##|\Z)", page))
    nlp = spacy.blank("en")
    for group, named in generate.entry_points().items():
        for name, function in named if group != "spacy_cli" else []:
            names = set(inspect.signature(function).parameters) - {"nlp", "name"}
            if group == "spacy_factories":
                names |= set(nlp.get_factory_meta(name).default_config)
            assert documented(sections[name]) >= names, name
    for name, part in settings.PARTS.items():
        assert documented(sections[f"[{name}]"]) == set(generate.settings_of(part)), name


def documented(section):
    """RETURNS (Set[str]): Settings in the tables of a section that have a description."""
    rows = re.findall(r"(?m)^\| (`.+?`) \|.*\| ([^|]+) \|$", section.replace("\\|", ""))
    return {name for names, text in rows if text.strip() for name in re.findall(r"`(\w+)`", names)}


# In the other rooms, a file has the name of what is listed: a command, a section, an architecture.
@pytest.mark.parametrize(
    "room",
    "encoder heads components training pretraining data distill annotate packaging".split(),
)
def test_the_architecture_lists_every_module_of_a_room(room):
    [row] = re.findall(rf"^\| `{room}/` \|.*$", committed("architecture.md"), re.MULTILINE)
    modules = {path.stem for path in (ROOT / "spacy_reprtune" / room).glob("*.py")}
    assert modules - {"__init__"} <= set(re.findall(r"`(\w+)`", row))
