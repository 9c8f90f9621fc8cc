"""Tables in Markdown keep their columns whatever is in the cells."""

import re

import pytest

from scripts.compare_with_book import Table, as_markdown
from spacy_reprtune.reporting.blocks import Section
from spacy_reprtune.reporting.blocks import Table as PageTable
from spacy_reprtune.reporting.card import _labels, _per_label
from spacy_reprtune.reporting.card_facts import CardFacts
from spacy_reprtune.reporting.page import to_markdown
from spacy_reprtune.reporting.table import code, code_cell, markdown_table

HOSTILE = ["a|b", "a\\|b", "a\nb", "`a|b", "*a*", "<b>|", ""]


def n_cells(line):
    """A bar without an odd number of backslashes before it ends a cell."""
    assert line.startswith("| ") and line.endswith(" |")
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_more_than_one_cell(text):
    page = to_markdown([Section("s", "S", [PageTable(["x", text], [[text, "1"]], best={0: 0})])])
    published = as_markdown([Table("T", "", ["", text], [[text, text]], numbers=1)], "a book")
    for table in (markdown_table(["x", text], [[text, "1"]]), page, published):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len(lines) == 3 and [n_cells(line) for line in lines] == [2, 2, 2]


def test_a_table_with_plain_cells_is_as_before():
    table = markdown_table(["recipe", "macro F"], [["joint", "0.5"]])
    assert table == "| recipe | macro F |\n| --- | ---: |\n| joint | 0.5 |\n"


@pytest.mark.parametrize(
    "text, expected", [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("``", "``` `` ```")]
)
def test_code_has_a_fence_that_is_not_in_it(text, expected):
    assert code(text) == expected


def test_labels_with_a_bar_or_a_backtick_are_whole_in_a_card():
    scores = {label: {"p": 0.5, "r": 0.5, "f": 0.5} for label in ("a|b", "c`d")}
    meta = {"labels": {"textcat": list(scores)}}
    facts = CardFacts(meta, {}, scores={"cats_f_per_type": scores})
    lines = _per_label(facts).splitlines()
    assert [n_cells(line) for line in lines] == [5, 5, 5, 5]
    assert lines[2].startswith("| `a\\|b` | 0.500") and lines[3].startswith("| ``c`d`` | 0.500")
    assert _labels(facts) == "- `textcat`: `a|b`, ``c`d``\n"
    assert code_cell("a|b") == "`a\\|b`"
