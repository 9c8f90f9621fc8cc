"""Every promise of SECURITY.md names a test, and CONTRIBUTING.md names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = re.findall(r"`(tests/\S+?\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text("utf8"))


@pytest.mark.parametrize(("path", "name"), TESTS, ids=[name for _, name in TESTS])
def test_a_promise_names_a_test(path, name):
    assert f"def {name}(" in (ROOT / path).read_text("utf8")


def test_every_promise_has_one():
    rows = re.findall(r"(?m)^\| [A-Z].*\|$", (ROOT / "SECURITY.md").read_text("utf8"))
    assert rows and all("::test_" in row for row in rows)


def test_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf8")
    named = re.findall(
        r"`((?:spacy_reprtune|tests|docs|configs|benchmarks|scripts)/[\w./]+)`", text
    )
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]
