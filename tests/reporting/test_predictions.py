import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune.reporting.predictions import (
    CatsRow,
    EntsRow,
    Predictions,
    Row,
    read_predictions,
    write_predictions,
)

texts = st.text(min_size=1, max_size=20)
probabilities = st.floats(0, 1).map(lambda x: float(f"{x:.6g}"))


@st.composite
def rows(draw):
    text = draw(texts)
    row = Row(text)
    if draw(st.booleans()):
        gold = draw(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=2, max_size=2))
        row.cats = CatsRow(gold, draw(st.lists(probabilities, min_size=2, max_size=2)), [])
    if draw(st.booleans()):
        entity = (draw(st.integers(0, len(text) - 1)), len(text), draw(texts))
        row.ents = EntsRow([entity], [entity], [draw(st.none() | probabilities)])
    return row


@settings(max_examples=50, deadline=None)
@given(found=st.lists(rows(), max_size=4))
def test_what_is_written_is_read(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("rows") / "x.predictions.jsonl.gz"
    predictions = Predictions(["A", "B"], False, 0.3, {"cats_score": 0.5}, found)
    write_predictions(predictions, path)
    assert read_predictions(path) == predictions


def test_the_same_predictions_are_the_same_bytes(tmp_path):
    predictions = Predictions(["A"], True, 0.0, {}, [Row("x", CatsRow([1.0], [0.5]))])
    for name in ("a", "b"):
        write_predictions(predictions, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _lines(path, *lines):
    with gzip.open(path, "wt", encoding="utf8") as file:
        file.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


HEAD = {"kind": "start", "version": 1, "labels": ["A"], "exclusive": True, "threshold": 0.0}
HEAD["scores"] = {}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["not json"],
        [{"kind": "start"}],
        [{**HEAD, "version": 9}],
        [[1, 2]],
        [HEAD, {"text": "x", "cats": {"gold": [1], "scores": [1, 0]}}],
        [HEAD, {"text": "x", "cats": {"gold": [1], "scores": ["NaN"]}}],
        [HEAD, {"text": "x", "ents": {"gold": [[0, 5, "A"]], "found": []}}],
        [HEAD, {"text": "x", "ents": {"gold": [], "found": [[0, 1, "A"]]}}],
        [HEAD, '{"text": "cut o'],
        [HEAD, 7],
    ],
)
def test_another_or_a_damaged_file_is_a_clear_error(tmp_path, lines):
    path = tmp_path / "x.predictions.jsonl.gz"
    _lines(path, *lines)
    with pytest.raises(ValueError, match="Evaluate again"):
        read_predictions(path)


def test_an_archive_that_is_cut_off_is_a_clear_error(tmp_path):
    path = tmp_path / "x.predictions.jsonl.gz"
    write_predictions(Predictions(rows=[Row("word " * 500)]), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="Evaluate again"):
        read_predictions(path)
