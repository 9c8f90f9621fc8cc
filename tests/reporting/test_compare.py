"""Own figures beside published ones."""

from pathlib import Path

import pytest
import srsly
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.reporting.compare import as_markdown, compare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(tmp_path):
    """What the workflow `book` leaves behind, with figures of the test's own."""
    scores = {
        "metrics/book/joint.json": {"cats_f_per_type": {"pos": {"f": 0.831}}},
        "metrics/conll2003.json": {"ents_f": 0.881, "ents_token_f": 0.902},
        "metrics/book/sweep.json": {
            "points": [{"unfreeze": "none", "mean": 0.76}, {"unfreeze": "2", "mean": 0.805}]
        },
        "training/book-mlm/report.json": {
            "fill_mask": [{"sentence": "A [MASK].", "before": ["day"], "after": ["film"]}]
        },
    }
    for name, content in scores.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        srsly.write_json(tmp_path / name, content)
    return tmp_path


def test_published_figures_stand_beside_measured_ones(measured):
    (figures, curve, filled), missing = compare(ROOT / "assets" / "book.json", measured)
    cells = {(row[0], row[1]): row[2:] for row in figures.rows}
    assert cells["joint training, rotten_tomatoes", "F1 of positive"] == ["0.857", "0.831"]
    assert cells["named entities, CoNLL-2003", "F1 of tokens"] == ["0.918", "0.902"]
    assert cells["named entities, CoNLL-2003", "F1 of entities"] == ["–", "0.881"]
    assert cells["head only", "F1 of positive"] == ["0.638", "–"]
    assert curve.rows[0] == ["none", "0.702", "0.760"]
    assert curve.rows[2] == ["2", "0.816", "0.805"]
    assert len(curve.rows) == 12
    assert [row[1] for row in filled.rows] == ["published", "ours"]
    assert filled.rows[1][2:] == ["day", "film"]
    assert "metrics/book/frozen.json" in missing


def test_the_page_names_the_source(measured):
    tables, _ = compare(ROOT / "assets" / "book.json", measured)
    page = as_markdown(tables, "a book")
    assert page.count("## ") == 3
    assert page.endswith("Published: a book\n")


def test_the_command_prints_the_tables_and_says_what_is_missing(measured):
    arguments = ["compare", str(ROOT / "assets" / "book.json")]
    arguments += ["--folder", str(measured), "--output", str(measured / "book.md")]
    done = CliRunner().invoke(reprtune_cli, arguments)
    assert done.exit_code == 0, done.output
    assert "0.831" in done.output
    assert "metrics/book/setfit.json" in done.output
    assert "Hands-On Large Language Models" in (measured / "book.md").read_text("utf8")


def test_without_any_measurement_or_with_another_file_there_is_nothing_to_compare(tmp_path):
    with pytest.raises(ValueError, match="None of the files"):
        compare(ROOT / "assets" / "book.json", tmp_path)
    srsly.write_json(tmp_path / "list.json", [1, 2])
    with pytest.raises(ValueError, match="no file of published figures"):
        compare(tmp_path / "list.json", tmp_path)


def test_every_figure_of_the_book_is_a_share_and_says_where_ours_is():
    book = srsly.read_json(ROOT / "assets" / "book.json")
    scores = [f["published"] for f in book["figures"]] + list(book["curve"]["published"].values())
    assert all(score is None or 0.5 < score < 1 for score in scores)
    assert len(book["curve"]["published"]) == 12
    assert all(f["key"] and f["file"].endswith(".json") for f in book["figures"])
