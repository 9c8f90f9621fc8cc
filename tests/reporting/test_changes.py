"""The comparison of two recipes: fixed, broken, still wrong."""

from spacy_reprtune.reporting.groups import make_groups
from spacy_reprtune.reporting.metrics import Metrics, Recipe
from spacy_reprtune.reporting.page import to_html
from spacy_reprtune.reporting.predictions import CatsRow, EntsRow, Predictions, Row
from spacy_reprtune.reporting.sections.changes import changes_section, errors_of

TEXTS = ["right in both", "fixed <b>", "broken", "wrong in both"]


def cats(founds):
    """Predictions of texts whose gold label is A."""
    rows = [
        Row(text, CatsRow([1.0, 0.0], [0.9, 0.1] if found == "A" else [0.2, 0.8]))
        for text, found in zip(TEXTS, founds, strict=True)
    ]
    return Predictions(["A", "B"], rows=rows)


def section(tmp_path, **recipes):
    metrics = Metrics(tmp_path, tmp_path, tmp_path)
    for name, (score, predictions) in recipes.items():
        scores = {"cats_score": score, "cats_score_desc": "macro F", "cats_macro_f": score}
        metrics.recipes.append(Recipe(name, scores, predictions=predictions))
    return changes_section(metrics, make_groups(metrics))


def test_texts_are_under_what_became_of_them(tmp_path):
    found = section(tmp_path, new=(0.9, cats("AABB")), old=(0.5, cats("ABAB")))
    table, *folds = found.blocks[1:]
    assert table.rows == [["errors", "1", "1", "1"]]
    texts = [fold.blocks[0].mistakes[0].lines[0][1] for fold in folds]
    assert [name.split(":")[0] for name in (f.title for f in folds)] == [
        "Fixed",
        "Broken",
        "Still wrong",
    ]
    assert "fixed &lt;b&gt;" in texts[0] and "broken" in texts[1] and "wrong in both" in texts[2]
    assert "new instead of old" in to_html([found], title="Report", problems=[])


def test_other_test_sets_are_not_compared(tmp_path):
    other = cats("AABB")
    other.rows[0].text = "another text"
    assert not section(tmp_path, new=(0.9, other), old=(0.5, cats("ABAB"))).blocks
    assert not section(tmp_path, only=(0.5, cats("ABAB"))).blocks


def test_errors_of_independent_labels_and_entities_have_their_own_keys():
    row = Row("x", CatsRow([1.0, 0.0, None], [0.1, 0.9, 0.9]))
    both = Predictions(["A", "B", "C"], exclusive=False, rows=[row])
    assert {k: (e.gold, e.found) for k, e in errors_of(both, "cats").items()} == {
        (0, "A"): ("A", "not A"),
        (0, "B"): ("not B", "B"),
    }
    ents = EntsRow(
        [(0, 3, "PER"), (4, 6, "LOC")], [(0, 3, "LOC"), (4, 6, "LOC"), (7, 9, "LOC")], []
    )
    found = errors_of(Predictions(rows=[Row("Ann in Rome", ents=ents)]), "ents")
    assert {k: (e.gold, e.found) for k, e in found.items()} == {
        (0, (0, 3)): ("PER", "LOC"),
        (0, (7, 9)): ("no label", "LOC"),
    }
