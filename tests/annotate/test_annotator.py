"""One object annotates batches in any form, and holds no pipeline when it is sent elsewhere."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy
import pandas
import pyarrow
import pytest
import spacy

from spacy_reprtune.annotate import Annotator
from spacy_reprtune.annotate import annotator as annotator_module

TEXTS = ["a great film", "an awful film", "", "the actor lovely bright is great"]


def test_a_batch_gets_what_the_pipeline_finds(annotate_pipeline):
    done = Annotator(annotate_pipeline)({"text": TEXTS, "key": [1, 2, 3, 4]})
    nlp = spacy.load(annotate_pipeline)
    assert list(done["key"]) == [1, 2, 3, 4]
    for i, doc in enumerate(nlp.pipe(TEXTS)):
        assert done["cats_label"][i] == max(doc.cats, key=doc.cats.get)
        assert done["cats_score"][i] == pytest.approx(max(doc.cats.values()), abs=1e-6)
        assert {row["label"]: row["score"] for row in done["cats"][i]} == pytest.approx(doc.cats)
        found = [(row["start"], row["end"], row["label"]) for row in done["ents"][i]]
        assert found == [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
        assert all(0.0 < row["score"] <= 1.0 for row in done["ents"][i])
    assert any(len(ents) for ents in done["ents"])


def test_every_form_of_a_batch_gives_the_same(annotate_pipeline):
    annotator = Annotator(annotate_pipeline, columns=["cats", "ents"])
    arrays = annotator({"text": numpy.array(TEXTS, dtype=object)})
    frame = annotator(pandas.DataFrame({"text": TEXTS}))
    table = annotator(pyarrow.table({"text": TEXTS}))
    batch = annotator(pyarrow.RecordBatch.from_pydict({"text": TEXTS}))
    assert table.to_pylist() == batch.to_pylist()
    names = ["text", "cats_label", "cats_score", "cats", "ents"]
    assert list(arrays) == list(frame.columns) == table.column_names == names
    for name in names:
        assert list(arrays[name]) == list(frame[name]) == table[name].to_pylist()


def test_strings_of_numpy_are_texts(annotate_pipeline):
    annotator = Annotator(annotate_pipeline, columns=["cats"])
    expected = list(annotator({"text": TEXTS})["cats_label"])
    assert list(annotator({"text": numpy.array(TEXTS)})["cats_label"]) == expected
    strings = numpy.array([numpy.str_(text) for text in TEXTS], dtype=object)
    assert list(annotator(pandas.DataFrame({"text": strings}))["cats_label"]) == expected


def test_columns_of_any_name_stay_and_those_of_annotation_are_replaced(failing_pipeline):
    annotator = Annotator(failing_pipeline, columns=["ents"], keep_failed=True)
    rows = {"ents": [1, 2], "text": ["a film", "fail"], "error": ["", ""], "schema": ["x", "y"]}
    arrays, frame = annotator(rows), annotator(pandas.DataFrame(rows))
    table = annotator(pyarrow.table(rows))
    assert list(arrays) == list(frame.columns) == table.column_names == list(rows)
    for name in ("ents", "text", "schema"):
        assert list(arrays[name]) == list(frame[name]) == table[name].to_pylist()
    assert list(arrays["error"]) == table["error"].to_pylist()
    assert pandas.isna(frame["error"][0]) and frame["error"][1] == arrays["error"][1]
    assert arrays["error"][0] is None and table["ents"].to_pylist() != rows["ents"]


def test_batches_of_a_stream_are_annotated_as_they_come(annotate_pipeline):
    annotator = Annotator(annotate_pipeline)
    done = list(annotator.stream({"text": [text]} for text in TEXTS))
    assert [batch["cats_label"][0] for batch in done] == list(
        annotator({"text": TEXTS})["cats_label"]
    )


def test_a_pickle_has_the_settings_and_no_pipeline(annotate_pipeline):
    annotator = Annotator(annotate_pipeline, columns=["cats"])
    before = annotator({"text": TEXTS})
    data = pickle.dumps(annotator)
    assert len(data) < 2000
    after = pickle.loads(data)({"text": TEXTS})
    assert list(before["cats_score"]) == list(after["cats_score"])


def test_copies_that_were_sent_share_a_pipeline_until_it_is_saved_again(
    annotate_pipeline, tmp_path, monkeypatch
):
    path = tmp_path / "pipeline"
    shutil.copytree(annotate_pipeline, path)
    loads = []
    real = spacy.load
    monkeypatch.setattr(spacy, "load", lambda *args, **kw: loads.append(args) or real(*args, **kw))
    data = pickle.dumps(Annotator(path, columns=["cats"]))
    first, second = pickle.loads(data), pickle.loads(data)
    assert list(first({"text": TEXTS})["cats_score"]) == list(second({"text": TEXTS})["cats_score"])
    assert len(loads) == 1
    (path / "meta.json").write_text((path / "meta.json").read_text() + " ")
    pickle.loads(data)({"text": TEXTS})
    assert len(loads) == 2


def test_a_pipeline_is_loaded_again_when_its_vocabulary_has_forgotten_many_words(
    annotate_pipeline, tmp_path, monkeypatch
):
    folder = tmp_path / "pipeline"
    shutil.copytree(annotate_pipeline, folder)
    one, other = (pickle.loads(pickle.dumps(Annotator(str(folder)))) for _ in range(2))
    first, few = one.nlp, one({"text": ["one new word", "a great film"]})
    now = len(first.vocab) - len(first.vocab.strings)
    monkeypatch.setattr(annotator_module, "FORGOTTEN_WORDS", now + 20)
    assert one.nlp is first
    one({"text": [f"word{k}" for k in range(30)]})
    assert one.nlp is not first
    assert other.nlp is one.nlp
    again = one({"text": ["one new word", "a great film"]})
    assert list(again["cats_score"]) == list(few["cats_score"])
    kept = one.nlp
    kept.to_disk(folder)
    one({"text": [f"word{k}" for k in range(30)]})
    assert one.nlp is kept, "another pipeline took the place of the one that this run began with"


def test_two_threads_may_use_one_annotator(annotate_pipeline):
    annotator = Annotator(annotate_pipeline, columns=["cats"])
    expected = list(annotator({"text": TEXTS})["cats_score"])
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(annotator, [{"text": TEXTS}] * 6))
    assert [list(batch["cats_score"]) for batch in found] == [expected] * 6


def test_a_text_that_fails_costs_no_other_text(failing_pipeline, annotate_pipeline):
    texts = [*TEXTS, "fail", None, *TEXTS, 3.0, "x" * 1_000_001]
    done = Annotator(failing_pipeline).annotate(texts)
    good = Annotator(annotate_pipeline).annotate(TEXTS).rows
    assert [row["cats_label"] for row in done.rows[:4]] == [row["cats_label"] for row in good]
    assert [error is None for error in done.errors] == [True] * 4 + [False] * 2 + [True] * 4 + [
        False
    ] * 2
    assert done.errors[4] == "RuntimeError: this text can't be annotated"
    assert done.errors[5] == "The text is a NoneType, not a string."
    assert "1,000,001 characters" in done.errors[11]
    assert done.rows[4] == dict.fromkeys(done.rows[4])


def test_a_failure_raises_or_is_a_column(failing_pipeline):
    batch = {"text": ["a great film", "fail"]}
    with pytest.raises(ValueError, match="Row 1 .* this text can't be annotated"):
        Annotator(failing_pipeline)(batch)
    done = Annotator(failing_pipeline, keep_failed=True)(batch)
    assert done["error"][0] is None and "can't be annotated" in done["error"][1]
    assert done["cats_label"][1] is None


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"columns": ["tags"]}, "Use one or more of cats, ents, spans"),
        ({"columns": []}, "Use one or more of cats, ents, spans"),
        ({"batch_size": 0}, "use 1 or more"),
        ({"threads": 0}, "use 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Annotator("somewhere", **settings)


def test_a_missing_column_is_named_with_those_that_are_there(annotate_pipeline):
    with pytest.raises(ValueError, match="no column 'text'. The columns are body, id"):
        Annotator(annotate_pipeline)({"body": [], "id": []})


def test_a_component_to_disable_that_is_not_there_is_named(annotate_pipeline):
    with pytest.raises(ValueError, match="disable has 'typo', but the components .* are .*ner"):
        Annotator(annotate_pipeline, disable=["ner", "typo"])({"text": TEXTS})
    assert not any(Annotator(annotate_pipeline, disable=["ner"])({"text": TEXTS})["ents"])
