import pytest

from spacy_reprtune.reporting.counts import (
    KINDS,
    NONE,
    OTHER,
    confidence_cats,
    confusion_cats,
    confusion_ents,
    count_cats,
    count_ents,
    kinds_of_ents,
)
from spacy_reprtune.reporting.plots import precision_recall
from spacy_reprtune.reporting.predictions import CatsRow, EntsRow, Predictions, Row

GOLD = [(0, 4, "NAME"), (9, 19, "NAME"), (23, 26, "TOWN")]
TEXT = "Anna met Bert Brook in Ulm, and nobody else."


def ents(*found):
    return Predictions(rows=[Row(TEXT, None, EntsRow(GOLD, list(found), [0.5] * len(found)))])


@pytest.mark.parametrize(
    "found, kind",
    [
        ((0, 4, "NAME"), "right"),
        ((0, 4, "TOWN"), "wrong type"),
        ((9, 13, "NAME"), "wrong boundary"),
        ((9, 13, "TOWN"), "wrong boundary and type"),
        ((32, 38, "NAME"), "spurious"),
    ],
)
def test_each_kind_of_entity_error_is_known(found, kind):
    kinds = kinds_of_ents(ents(found))
    touched = 0 if kind == "spurious" else 1
    assert kinds == {**dict.fromkeys(KINDS, 0), kind: 1, "missed": 3 - touched}


def test_entities_that_are_not_found_and_found_ones_that_are_not_there_have_a_row_and_a_column():
    cells = confusion_ents(ents((0, 4, "TOWN"), (32, 38, "NAME")))
    expected = {("NAME", "TOWN"): 1, ("NAME", NONE): 1, ("TOWN", NONE): 1, (NONE, "NAME"): 1}
    assert cells == expected


def test_counts_of_entities_add_up():
    counts = count_ents(ents((0, 4, "NAME"), (32, 38, "NAME")))
    assert counts.labels == ["NAME", "TOWN"]
    assert [part[0].tolist() for part in (counts.true, counts.false, counts.missed)] == [
        [1, 0],
        [1, 0],
        [1, 1],
    ]


def test_a_text_whose_label_the_pipeline_does_not_have_is_wrong():
    row = Row("x", CatsRow([0.0, 0.0], [0.9, 0.1], ["C"]))
    predictions = Predictions(["A", "B"], True, 0.0, {}, [row])
    counts = count_cats(predictions)
    assert counts.false.tolist() == [[1, 0]] and not counts.missed.any()
    assert confusion_cats(predictions) == {(OTHER, "A"): 1}
    assert confidence_cats(predictions) == ([0.9], [False])


def test_independent_labels_are_counted_by_the_threshold_and_only_where_annotated():
    rows = [Row("x", CatsRow([1.0, None], [0.35, 0.9])), Row("y", CatsRow([0.0, 1.0], [0.4, 0.1]))]
    predictions = Predictions(["A", "B"], False, 0.3, {}, rows)
    counts = count_cats(predictions)
    assert counts.true.tolist() == [[1, 0], [0, 0]]
    assert counts.false.tolist() == [[0, 0], [1, 0]]
    assert counts.missed.tolist() == [[0, 0], [0, 1]]


def test_recall_ends_at_the_share_that_is_predicted_at_all():
    (recall, precision), average = precision_recall([0.9, 0.8, 0.7], [True, False, True], 4)
    assert recall[0] == 0.0 and recall[-1] == 0.5
    assert precision[-1] == pytest.approx(2 / 3)
    assert average == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert precision_recall([0.9], [False], 2)[1] == 0.0
