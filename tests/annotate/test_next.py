"""What is chosen to annotate next is unsure, varied and no copy, and tools can import it."""

import json

import numpy
import pytest
import spacy
from conftest import BAD, GOOD
from typer.testing import CliRunner

from spacy_reprtune.annotate.choose import choose_typical, choose_unsure, without_copies
from spacy_reprtune.annotate.next_texts import Choice, choose_next, read_pool
from spacy_reprtune.annotate.tools import write_tasks
from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.data.formats import find_reader
from spacy_reprtune.data.record import Columns

TEXTS = [*GOOD, *BAD, "lovely warm was in music 3", "a scene of bright", "a film , not great"]
CHOICE = Choice(
    7,
    "music 1 is great",
    0.25,
    {"GOOD": 0.6, "BAD": 0.4},
    ["GOOD"],
    [{"start": 0, "end": 7, "label": "MUSIC", "score": 0.75}],
)


def groups(n_groups, each):
    """Vectors in tight groups."""
    rng = numpy.random.default_rng(0)
    centers = numpy.repeat(numpy.eye(n_groups, dtype="f"), each, axis=0)
    return centers + rng.normal(size=centers.shape).astype("f") / 50


def test_the_least_sure_text_of_each_group_is_chosen():
    doubts = numpy.random.default_rng(1).random(40)
    chosen = choose_unsure(groups(4, 10), doubts, 4)
    best = [10 * g + int(doubts[10 * g : 10 * g + 10].argmax()) for g in range(4)]
    # 20 of the 40 texts are candidates, which leaves some of each group.
    assert sorted(chosen) == best
    assert [doubts[i] for i in chosen] == sorted((doubts[i] for i in chosen), reverse=True)


def test_what_the_model_is_sure_of_is_not_chosen():
    doubts = numpy.zeros(60)
    doubts[:30] = 0.9
    assert max(choose_unsure(groups(6, 10), doubts, 6)) < 30


def test_typical_texts_come_from_all_groups():
    assert sorted(row // 10 for row in choose_typical(groups(5, 10), 5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [3, 5])
def test_there_are_as_many_as_asked_for_even_if_all_are_equal(n):
    vectors = numpy.ones((30, 4), dtype="f")
    assert len(set(choose_unsure(vectors, numpy.linspace(0, 1, 30), n))) == n
    assert len(choose_typical(vectors[:2], n)) == 2


def test_copies_and_near_copies_are_left_out():
    text = "the plot of this film is very good and the music is great in every scene of it"
    texts = [text, text.upper() + "!", text + " yes", "a dull film", "A dull film."]
    assert without_copies(texts) == [0, 3]


@pytest.fixture(scope="module")
def pipeline(annotate_pipeline):
    return spacy.load(annotate_pipeline)


def test_choices_have_what_the_pipeline_predicts(pipeline):
    chosen = choose_next(pipeline, list(enumerate(TEXTS)), 4)
    assert len(chosen) == 4
    assert [c.doubt for c in chosen] == sorted((c.doubt for c in chosen), reverse=True)
    for choice in chosen:
        doc = pipeline(choice.text)
        assert choice.text == TEXTS[choice.id] and choice.cats == pytest.approx(doc.cats, abs=1e-5)
        assert choice.labels == [max(doc.cats, key=doc.cats.get)]
        found = [(e["start"], e["end"], e["label"]) for e in choice.ents]
        assert found == [(e.start_char, e.end_char, e.label_) for e in doc.ents]


def test_a_pipeline_without_our_components_is_an_error():
    with pytest.raises(ValueError, match="no text classifier or entity recognizer"):
        choose_next(spacy.blank("en"), [(0, "a film")], 1)


def read_back(path, format):
    return list(find_reader(format)(path, Columns()))


def test_what_prodigy_returns_is_read_by_convert(tmp_path):
    path = tmp_path / "next.jsonl"
    write_tasks([CHOICE], path, "prodigy", ["BAD", "GOOD"])
    task = json.loads(path.read_text())
    path.write_text(json.dumps({**task, "answer": "accept"}))
    (record,) = read_back(path, "prodigy")
    assert record.cats == {"GOOD": 1.0, "BAD": 0.0} and record.spans == [(0, 7, "MUSIC")]


def test_what_label_studio_returns_is_read_by_convert(tmp_path):
    path = tmp_path / "next.json"
    write_tasks([CHOICE], path, "label-studio", ["BAD", "GOOD"])
    (task,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**task, "annotations": task["predictions"]}]))
    (record,) = read_back(path, "label-studio")
    assert record.cats == {"GOOD": 1.0} and record.spans == [(0, 7, "MUSIC")]


@pytest.mark.parametrize("format", ["doccano", "jsonl"])
def test_json_lines_are_read_by_convert(tmp_path, format):
    path = tmp_path / "next.jsonl"
    write_tasks([CHOICE], path, format, ["BAD", "GOOD"])
    (record,) = read_back(path, format)
    assert max(record.cats, key=record.cats.get) == "GOOD" and record.spans == [(0, 7, "MUSIC")]


def test_the_command_chooses_with_and_without_a_pipeline(annotate_pipeline, tiny_encoder, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join([*TEXTS, TEXTS[0].upper()]))
    output = tmp_path / "next.jsonl"
    for model, options in ((annotate_pipeline, []), (tiny_encoder, ["--cold"])):
        arguments = ["next", model, pool, "--n", 3, "--output", output, *options]
        done = CliRunner().invoke(reprtune_cli, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert len(rows) == 3 and all(row["text"] in TEXTS for row in rows)
        assert all(("cats" in row) == (not options) for row in rows)
    done = CliRunner().invoke(reprtune_cli, ["next", "x", str(pool), "--format", "brat"])
    assert done.exit_code == 1 and "prodigy, doccano" in done.output


def test_a_pool_without_texts_is_an_error(tmp_path):
    (tmp_path / "pool.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(ValueError, match="no text in"):
        read_pool([tmp_path / "pool.jsonl"], text="text", id=None)
