"""Write the generated pages of docs/: components.md, commands.md and project.md.

    python docs/generate.py

Descriptions come from docstrings and helps, defaults from default configs and signatures. A test
checks that the committed pages are what this script writes.
"""

import collections.abc
import importlib
import inspect
import json
import re
import typing
from configparser import ConfigParser
from dataclasses import MISSING, fields
from itertools import groupby
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

ROOT = Path(__file__).parents[1]
NOTE = "<!-- Written by `python docs/generate.py`: change the docstrings, not this page. -->"
KINDS = {
    "spacy_architectures": ("Architectures", "`[components.NAME.model]` and what is below it"),
    "spacy_batchers": ("Batchers", "`[training.batcher]`"),
    "spacy_readers": ("Readers", "`[corpora.train]` and `[corpora.dev]`"),
    "spacy_loggers": ("Loggers", "`[training.logger]`"),
    "spacy_callbacks": ("Callbacks", "`[training] before_to_disk` and the like"),
    "spacy_scorers": ("Scorers", "`[components.NAME] scorer`"),
    "spacy_misc": ("Others", "where a setting above names them"),
}
# Arguments that spaCy passes to `initialize`, so that a config can't.
GIVEN = ("self", "nlp", "get_examples")


Row = Tuple[str, ...]
HEADER = ("setting", "type", "default", "meaning")
NONE = type(None)


class Documented(NamedTuple):
    """A docstring in spaCy's style, taken apart.

    text (List[str]): Paragraphs before the arguments.
    arguments (Dict[str, str]): Description by argument.
    """

    text: List[str]
    arguments: Dict[str, str]


def components_page() -> str:
    """RETURNS (str): Components, registered functions, and the settings of pretraining."""
    parts = [
        "# Components and settings",
        NOTE,
        "Every component and every registered function, with all settings and their defaults. "
        "[Recipes](recipes.md) says what to choose, [commands](commands.md) lists the commands. "
        "A config may leave out any setting that has a default here, as the recipes in "
        "[configs/](../configs) do; `python -m spacy init fill-config` writes the full form.",
        "## Components",
        "Each section shows the component's block in a config with all defaults, and what its "
        "settings mean. An encoder block is shown once, with the first component; the others "
        "accept the same one.",
    ]
    points = entry_points()
    for k, (name, function) in enumerate(points["spacy_factories"]):
        parts += _component(name, function, with_encoder=k == 0)
    for group, (title, place) in KINDS.items():
        if group in points:
            parts += [f"## {title}", f"For {place}."]
            for name, function in points[group]:
                parts += _function(name, function)
    parts += _pretraining()
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """RETURNS (str): The commands, their arguments and options."""
    import typer

    from spacy_reprtune.cli import reprtune_cli

    group = typer.main.get_command(reprtune_cli)
    parts = [
        "# Commands",
        NOTE,
        "Each command runs as `python -m spacy reprtune COMMAND`. `--help` after it shows what is "
        "written here.",
    ]
    rows = [
        (f"[`{name}`](#{name})", _one_line(_paragraphs(command.help)[0]))
        for name, command in sorted(group.commands.items())
    ]
    parts.append(_table(("command", "purpose"), rows))
    for name, command in sorted(group.commands.items()):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join([name, *(_shown(argument) for argument in arguments)])
        more = " [--section.setting VALUE …]" if command.ignore_unknown_options else ""
        parts += [f"## {name}", f"`python -m spacy reprtune {usage} [OPTIONS]{more}`"]
        parts += _paragraphs(command.help)
        rows = [(f"`{_shown(p)}`", "", _escape(p.help or "")) for p in arguments]
        rows += [_option(p) for p in options]
        parts.append(_table(("", "default", ""), rows))
    return "\n\n".join(parts) + "\n"


def project_page(path: Path) -> str:
    """Let weasel describe project.yml, with links that work from docs/.

    path (Path): File that weasel writes to.
    RETURNS (str): The page.
    """
    from weasel.cli.document import project_document

    project_document(ROOT, path)
    page = path.read_text("utf8")
    return re.sub(r"\]\((?!https?:|#|\.\./)", "](../", page)


def entry_points() -> Dict[str, List[Tuple[str, Any]]]:
    """RETURNS (Dict[str, List[Tuple[str, Any]]]): Names and objects by group. They are read from
    setup.cfg, because the installed ones may be older."""
    config = ConfigParser()
    config.optionxform = str  # type: ignore[assignment, method-assign]
    config.read(ROOT / "setup.cfg", encoding="utf8")
    found: Dict[str, List[Tuple[str, Any]]] = {}
    for group, lines in config["options.entry_points"].items():
        for line in lines.strip().splitlines():
            name, _, target = (part.strip() for part in line.partition("="))
            module, _, attribute = target.partition(":")
            loaded = getattr(importlib.import_module(module), attribute)
            found.setdefault(group, []).append((name, loaded))
    return found


def read_docstring(function: Any) -> Documented:
    """Take a docstring apart.

    function (Any): Function or class with the docstring.
    RETURNS (Documented): Paragraphs and arguments, without what is returned or raised.
    RAISES (ValueError): There is no docstring.
    """
    text = inspect.getdoc(function)
    if not text:
        raise ValueError(f"{_place(function)} has no docstring, which this page is written from.")
    lines = text.splitlines()
    start = re.compile(r"(\w+(?:, \w+)*)(?: \([^:]*\))?: (.*)")
    head: List[str] = []
    entries: List[Tuple[str, str]] = []
    for line in lines:
        match = start.fullmatch(line)
        if match and (entries or not head or not head[-1]):
            entries.append((match[1], match[2]))
        elif entries and line.startswith(" "):
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
        elif not entries:
            head.append(line)
    arguments = {
        name: text
        for names, text in entries
        for name in names.split(", ")
        if name not in ("RETURNS", "RAISES", "YIELDS")
    }
    return Documented(_paragraphs("\n".join(head)), arguments)


def _component(name: str, function: Callable, with_encoder: bool) -> Iterator[str]:
    import spacy

    # A pipeline imports the module of a factory that it is asked for.
    meta = spacy.blank("en").get_factory_meta(name)
    documented = read_docstring(function)
    made = inspect.signature(function).return_annotation
    if isinstance(made, str):
        made = getattr(importlib.import_module(function.__module__), made)
    yield f"### `{name}`"
    yield documented.text[0].replace("Create a", "A", 1)
    yield from read_docstring(made).text[1:]
    yield _block(name, meta.default_config, with_encoder)
    yield _settings(function, documented, meta.default_config, given=("nlp", "name"))
    at_start = {
        setting: text
        for setting, text in read_docstring(made.initialize).arguments.items()
        if setting not in GIVEN
    }
    if at_start:
        yield "In `[initialize.components.NAME]`:"
        yield _settings(made.initialize, Documented([], at_start), {}, given=GIVEN)
    scores = ", ".join(f"`{key}`" for key in meta.default_score_weights)
    yield f"Scores: {scores}."


def _block(factory: str, defaults: Dict[str, Any], with_encoder: bool) -> str:
    """RETURNS (str): A component's block in a config, with all defaults."""
    from thinc.api import Config

    called = factory.rpartition("_")[2]
    component = "textcat" if called in ("multilabel", "setfit", "cascade") else called
    defaults = Config(defaults).copy()
    if not with_encoder:
        for model in ("model", "large"):
            defaults.get(model, {}).pop("encoder", None)
    scorer = defaults.pop("scorer", None)
    block = {"factory": factory, **defaults}
    text = Config({"components": {component: block}}).to_str()
    if scorer is not None:
        line = f"scorer = {json.dumps(scorer)}"
        text = text.replace(f'factory = "{factory}"', f'factory = "{factory}"\n{line}')
    return f"```ini\n{text.replace('[components]', '').strip()}\n```"


def _function(name: str, function: Callable) -> Iterator[str]:
    documented = read_docstring(function)
    yield f"### `{name}`"
    yield from documented.text
    yield _settings(function, documented, {})


def _settings(
    function: Callable,
    documented: Documented,
    defaults: Dict[str, Any],
    given: Tuple[str, ...] = (),
) -> str:
    names = [name for name in inspect.signature(function).parameters if name not in given]
    missing = [name for name in names if name not in documented.arguments]
    if missing:
        raise ValueError(
            f"The docstring of {_place(function)} does not describe {', '.join(missing)}. Add a "
            "line for each, as in: size (int): Texts per batch."
        )
    return _table(
        HEADER,
        [
            _setting(
                parameter.name,
                parameter.annotation,
                defaults.get(parameter.name, parameter.default),
                documented.arguments[parameter.name],
            )
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name not in given
        ],
    )


def _pretraining() -> Iterator[str]:
    from spacy_reprtune.pretraining import settings

    yield "## Pretraining"
    yield (
        "Sections of the config of `python -m spacy reprtune mlm`, such as "
        "[`configs/mlm.cfg`](../configs/mlm.cfg). A setting that the config leaves out has the "
        "default shown here."
    )
    for name, part in settings.PARTS.items():
        documented, hints = read_docstring(part), typing.get_type_hints(part)
        rows = []
        for field in fields(part):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            if default is MISSING:
                default = inspect.Parameter.empty
            text = documented.arguments[field.name]
            rows.append(_setting(field.name, hints[field.name], default, text))
        yield f"### `[{name}]`"
        yield documented.text[0].replace(f": `[{name}]`", "")
        yield _table(HEADER, _merged(rows))


def _place(function: Any) -> str:
    return f"{function.__qualname__} in {function.__module__}"


def settings_of(part: Any) -> List[str]:
    """RETURNS (List[str]): Names of the settings of a section of pretraining."""
    return [field.name for field in fields(part)]


def _setting(name: str, hint: Any, default: Any, text: str) -> Row:
    return f"`{name}`", _kind(hint), _default(default), _escape(text)


def _merged(rows: List[Row]) -> Iterator[Row]:
    """YIELDS (Row): The rows, with one row for settings that share a description."""
    for text, group in groupby(rows, key=lambda row: row[3]):
        columns = list(zip(*group, strict=True))
        yield (
            ", ".join(columns[0]),
            ", ".join(dict.fromkeys(columns[1])),
            ", ".join(columns[2]),
            text,
        )


def _kind(hint: Any, plural: str = "") -> str:
    """RETURNS (str): What a config may say for a setting of this type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if origin is Union:
        return " or ".join(dict.fromkeys(_kind(h, plural) for h in inner))
    if origin is dict:
        return f"table{plural} of {_kind(inner[1], 's')}"
    if origin is list:
        return f"list{plural} of {_kind(inner[0], 's')}"
    # What `labels` of a component may be.
    if origin is collections.abc.Iterable:
        return f"list of {_kind(inner[0], 's')}"
    if hint is bool:
        return "true or false"
    names = {int: "whole number", float: "number", str: "text", Path: "path"}
    return f"{names[hint]}{plural}" if hint in names else "null" if hint is NONE else "block"


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "–"
    if isinstance(value, dict) and "@architectures" in value:
        return f"`{value['@architectures']}`"
    return f"`{json.dumps(value)}`"


def _shown(parameter: Any) -> str:
    """RETURNS (str): An argument as the usage line shows it."""
    return (parameter.metavar or parameter.name).upper()


def _option(parameter: Any) -> Row:
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    text, _, told = (parameter.help or "").partition("  [default: ")
    if parameter.required:
        default = "(required)"
    elif told:
        default = told.rstrip("]")
    elif parameter.is_flag or parameter.default is None:
        default = ""
    else:
        default = f"`{parameter.default}`"
    return names, default, _escape(text)


def _paragraphs(text: Optional[str]) -> List[str]:
    return [_one_line(part) for part in inspect.cleandoc(text or "").split("\n\n") if part.strip()]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: Row, rows: Iterable[Row]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def main() -> None:
    """Write the pages."""
    docs = ROOT / "docs"
    (docs / "components.md").write_text(components_page(), encoding="utf8")
    (docs / "commands.md").write_text(commands_page(), encoding="utf8")
    (docs / "project.md").write_text(project_page(docs / "project.md"), encoding="utf8")


if __name__ == "__main__":
    main()
