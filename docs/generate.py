"""Write the pages of docs/ that the code knows best: components.md, commands.md and project.md.

    python docs/generate.py

Descriptions come from docstrings and helps, defaults from default configs and signatures. A test
checks that what is committed is what this writes.
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
# What `initialize` gets from spaCy and not from a config.
GIVEN = ("self", "nlp", "get_examples")


Row = Tuple[str, ...]
HEADER = ("setting", "is", "default", "means")
NONE = type(None)


class Documented(NamedTuple):
    """A docstring in spaCy's style, taken apart.

    text (List[str]): Its paragraphs.
    arguments (Dict[str, str]): What it says of each argument.
    """

    text: List[str]
    arguments: Dict[str, str]


def components_page() -> str:
    """RETURNS (str): Components, registered functions, and the settings of pretraining."""
    parts = [
        "# Components and settings",
        NOTE,
        "Every component, every registered function, and each of their settings with its default. "
        "[README](../README.md#components) has one commented config block a component, "
        "[recipes](recipes.md) say what to choose, [commands](commands.md) lists the commands. "
        "`python -m spacy init fill-config` adds settings that a config leaves out.",
        "## Components",
        "Settings of `[components.NAME]`, with `factory` one of these:",
    ]
    points = entry_points()
    for name, function in points["spacy_factories"]:
        parts += _component(name, function)
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
        "All of them are `python -m spacy reprtune COMMAND`, and `--help` behind any of them shows "
        "what is here.",
    ]
    rows = [
        (f"[`{name}`](#{name})", _one_line(_paragraphs(command.help)[0]))
        for name, command in sorted(group.commands.items())
    ]
    parts.append(_table(("command", "does"), rows))
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

    path (Path): Where to write for the moment.
    RETURNS (str): The page.
    """
    from weasel.cli.document import project_document

    project_document(ROOT, path)
    page = path.read_text("utf8")
    return re.sub(r"\]\((?!https?:|#|\.\./)", "](../", page)


def entry_points() -> Dict[str, List[Tuple[str, Any]]]:
    """RETURNS (Dict[str, List[Tuple[str, Any]]]): Names and objects by group, as setup.cfg has
    them (what is installed may be older)."""
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

    function (Any): What has it.
    RETURNS (Documented): Its paragraphs and arguments; what it returns and raises is left out.
    """
    lines = inspect.getdoc(function).splitlines()
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


def _component(name: str, function: Callable) -> Iterator[str]:
    from spacy.language import Language

    meta = Language.get_factory_meta(name)
    documented = read_docstring(function)
    made = inspect.signature(function).return_annotation
    made = getattr(importlib.import_module(function.__module__), made)
    yield f"### `{name}`"
    yield documented.text[0].replace("Create a", "A", 1)
    yield from read_docstring(made).text[1:]
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
        "Sections of the config of `python -m spacy reprtune mlm`. The defaults are those of a "
        "setting that the config leaves out; [`configs/mlm.cfg`](../configs/mlm.cfg) has them all."
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


def _setting(name: str, hint: Any, default: Any, text: str) -> Row:
    return f"`{name}`", _kind(hint), _default(default), _escape(text)


def _merged(rows: List[Row]) -> Iterator[Row]:
    """Settings that one sentence describes together share a row."""
    for text, group in groupby(rows, key=lambda row: row[3]):
        columns = list(zip(*group, strict=True))
        yield (
            ", ".join(columns[0]),
            ", ".join(dict.fromkeys(columns[1])),
            ", ".join(columns[2]),
            text,
        )


def _kind(hint: Any, plural: str = "") -> str:
    """What may be written in a config for a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "text"
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
    """RETURNS (str): An argument as the usage line has it."""
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
