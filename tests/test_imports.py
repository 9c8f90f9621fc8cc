"""The rooms of the package know only those below them."""

import ast
from pathlib import Path
from typing import Iterator, List, Set, Tuple

import pytest

import spacy_reprtune

PACKAGE = Path(spacy_reprtune.__file__).parent
# From the foundation up. Rooms on one line don't know each other, but for the workbench, whose
# rooms may.
ORDER: List[Set[str]] = [
    {"files", "progress", "memory", "copies"},
    {"manifest"},
    {"encoder"},
    {"heads"},
    {"bridge"},
    {"components"},
    {"training"},
    {"pretraining"},
    {"annotate", "data", "distill", "exchange", "packaging", "reporting"},
    {"cli"},
]
WORKBENCH = ORDER[-2]
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(file: Path) -> Iterator[Tuple[int, str]]:
    """YIELDS (Tuple[int, str]): Line and absolute name of each module that a file imports at run
    time, whether at the top or in a function."""
    parts = ("spacy_reprtune", *file.relative_to(PACKAGE).with_suffix("").parts)

    def visit(node: ast.AST) -> Iterator[Tuple[int, str]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from visit(child)
            return
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield node.lineno, module
            # `from . import room` names the room last.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(file.read_text(encoding="utf8")))


def arrows() -> Iterator[Tuple[str, str, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, module in imports_of(file):
            names = module.split(".")
            if names[0] == "spacy_reprtune" and len(names) > 1 and names[1] in LEVELS:
                yield room_of(file), names[1], f"{file.relative_to(PACKAGE)}:{line}"


def test_every_room_has_a_place():
    rooms = {room_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms <= set(LEVELS)


def test_arrows_between_rooms_go_down_only():
    up = []
    for room, known, where in arrows():
        both_workbench = room in WORKBENCH and known in WORKBENCH
        if room == "__init__" or room == known or both_workbench:
            continue
        if LEVELS[known] >= LEVELS[room]:
            up.append(f"{where} imports {known}")
    assert not up


@pytest.mark.parametrize("room", ["encoder", "heads"])
def test_encoder_and_heads_know_neither_spacy_nor_thinc(room):
    foreign = [
        f"{file.name}:{line} imports {module}"
        for file in sorted((PACKAGE / room).glob("*.py"))
        for line, module in imports_of(file)
        if module.split(".")[0] in ("spacy", "thinc")
    ]
    assert not foreign


def test_imports_in_functions_are_seen_and_those_for_types_are_not():
    found = {module for _, module in imports_of(PACKAGE / "bridge" / "head_model.py")}
    assert "spacy_reprtune.bridge.shim" in found
    assert "spacy_reprtune.encoder.module" not in found
