"""Tables in Markdown keep their columns whatever is in the cells."""

import re

import pytest

from scripts.compare_with_book import Table, as_markdown
from spacy_reprtune.reporting.blocks import Section
from spacy_reprtune.reporting.blocks import Table as PageTable
from spacy_reprtune.reporting.card import render_card
from spacy_reprtune.reporting.card_facts import CardFacts
from spacy_reprtune.reporting.markdown import code, code_cell, markdown_table, to_markdown

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


def test_the_first_column_is_aligned_left_and_all_others_right():
    table = markdown_table(["recipe", "macro F"], [["joint", "0.5"]])
    assert table == "| recipe | macro F |\n| --- | ---: |\n| joint | 0.5 |\n"


@pytest.mark.parametrize(
    "text, expected", [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("``", "``` `` ```")]
)
def test_code_has_a_fence_that_is_not_in_it(text, expected):
    assert code(text) == expected


def test_labels_with_a_bar_or_a_backtick_are_whole_in_a_card():
    scores = {label: {"p": 0.5, "r": 0.5, "f": 0.5} for label in ("a|b", "c`d")}
    meta = {"labels": {"textcat": list(scores)}, "lang": "en", "name": "x", "version": "1.0.0"}
    config = {"nlp": {"pipeline": ["textcat"]}, "components": {"textcat": {}}}
    card = render_card(
        CardFacts({**meta, "spacy_version": ""}, config, scores={"cats_f_per_type": scores})
    )
    lines = [line for line in card.splitlines() if " | 0.500 |" in line or "precision" in line]
    assert [n_cells(line) for line in lines] == [5, 5, 5]
    assert lines[1].startswith("| `a\\|b` | 0.500") and lines[2].startswith("| ``c`d`` | 0.500")
    assert "\n- `textcat`: `a|b`, ``c`d``\n" in card
    assert code_cell("a|b") == "`a\\|b`"
