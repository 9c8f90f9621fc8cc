"""Own figures beside published ones."""

from pathlib import Path

import pytest
import srsly

from scripts.compare_with_book import as_markdown, compare, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(tmp_path):
    """What the project `book` leaves behind, with figures of the test's own."""
    scores = {
        "metrics/joint.json": {"cats_f_per_type": {"pos": {"f": 0.831}}},
        "metrics/conll2003.json": {"ents_f": 0.881, "ents_token_f": 0.902},
        "metrics/sweep.json": {
            "points": [{"unfreeze": "none", "mean": 0.76}, {"unfreeze": "2", "mean": 0.805}]
        },
        "training/mlm/report.json": {
            "fill_mask": [{"sentence": "A [MASK].", "before": ["day"], "after": ["film"]}]
        },
    }
    for name, content in scores.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        srsly.write_json(tmp_path / name, content)
    return tmp_path


def test_published_figures_stand_beside_measured_ones(measured):
    (figures, curve, filled), missing = compare(ROOT / "projects" / "book" / "book.json", measured)
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
    assert "metrics/frozen.json" in missing


def test_the_page_names_the_source(measured):
    tables, _ = compare(ROOT / "projects" / "book" / "book.json", measured)
    page = as_markdown(tables, "a book")
    assert page.count("## ") == 3
    assert page.endswith("Published: a book\n")


def test_the_command_prints_the_tables_and_says_what_is_missing(measured, capsys):
    main(ROOT / "projects" / "book" / "book.json", output=measured / "book.md", folder=measured)
    printed = capsys.readouterr().out
    assert "0.831" in printed
    assert "metrics/setfit.json" in printed
    assert "Hands-On Large Language Models" in (measured / "book.md").read_text("utf8")


def test_without_any_measurement_or_with_another_file_there_is_nothing_to_compare(tmp_path):
    with pytest.raises(ValueError, match="None of the files"):
        compare(ROOT / "projects" / "book" / "book.json", tmp_path)
    srsly.write_json(tmp_path / "list.json", [1, 2])
    with pytest.raises(ValueError, match="not a file of published figures"):
        compare(tmp_path / "list.json", tmp_path)


@pytest.mark.parametrize(
    "place, value, said",
    [
        (["figures"], 3, "figures must be a list, not '3'"),
        (["figures", 0], "x", r"figures\[0\] must be an object"),
        (["figures", 1, "published"], "0.8", r"figures\[1\].published must be a number or null"),
        (["figures", 0, "key"], "ents_f", r"figures\[0\].key must be a list"),
        (["figures", 0, "key"], [1], r"figures\[0\].key must be a text"),
        (["figures", 0, "what"], None, r"figures\[0\].what must be a text"),
        (["figures", 0, "file"], ..., r'figures\[0\] lacks the key "file"'),
        (["title"], ..., 'lacks the key "title"'),
        (["note"], 1, "note must be a text"),
        (["curve"], [], "curve must be an object"),
        (["curve", "published"], [0.7], "curve.published must be an object"),
        (["curve", "published", "2"], True, "curve.published.2 must be a number or null"),
        (["curve", "title"], ..., 'curve lacks the key "title"'),
        (["fill_mask"], None, "fill_mask must be an object"),
        (["fill_mask", "published", 0], 1, r"fill_mask.published\[0\] must be an object"),
        (["fill_mask", "published", 0, "after"], [2], r"published\[0\].after must be a text"),
    ],
)
def test_what_is_wrong_in_published_figures_is_said_with_its_place(measured, place, value, said):
    path = measured / "figures.json"
    srsly.write_json(
        path, _changed(srsly.read_json(ROOT / "projects" / "book" / "book.json"), place, value)
    )
    with pytest.raises(ValueError, match=f"figures.json is not a file of published.*{said}"):
        compare(path, measured)


@pytest.mark.parametrize(
    "name, place, value, said",
    [
        ("metrics/conll2003.json", ["ents_f"], "high", "ents_f must be a number or null"),
        ("metrics/conll2003.json", [], [1], "must be an object"),
        ("metrics/sweep.json", ["points"], ..., "not the file of a sweep: points must be a list"),
        (
            "metrics/sweep.json",
            ["points", 1, "mean"],
            ...,
            r'points\[1\] lacks the key "mean"',
        ),
        ("training/mlm/report.json", ["fill_mask", 0], 5, r"fill_mask\[0\] must be an object"),
    ],
)
def test_what_is_wrong_in_measured_figures_is_said_with_its_place(
    measured, name, place, value, said
):
    path = measured / name
    srsly.write_json(path, _changed(srsly.read_json(path), place, value))
    with pytest.raises(ValueError, match=f"{path.name}.*{said}"):
        compare(ROOT / "projects" / "book" / "book.json", measured)


def test_files_that_are_cut_off_or_have_no_figures_are_explained(measured):
    (measured / "metrics" / "conll2003.json").write_text('{"ents_f": 0.', encoding="utf8")
    with pytest.raises(ValueError, match="conll2003.json can't be read as JSON"):
        compare(ROOT / "projects" / "book" / "book.json", measured)
    srsly.write_json(measured / "none.json", {"title": "x"})
    with pytest.raises(ValueError, match='none.json is not a file.*it has none of "figures"'):
        compare(measured / "none.json", measured)


def _changed(content, place, value):
    """The content with another value at a place, or without it (...)."""
    if not place:
        return value
    *way, last = place
    parent = content
    for part in way:
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return content


def test_every_figure_of_the_book_is_a_share_and_says_where_ours_is():
    book = srsly.read_json(ROOT / "projects" / "book" / "book.json")
    scores = [f["published"] for f in book["figures"]] + list(book["curve"]["published"].values())
    assert all(score is None or 0.5 < score < 1 for score in scores)
    assert len(book["curve"]["published"]) == 12
    assert all(f["key"] and f["file"].endswith(".json") for f in book["figures"])
