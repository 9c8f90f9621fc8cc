"""What is chosen to annotate next is unsure, varied and no copy, and tools can import it."""

import json

import numpy
import pytest
import spacy
from conftest import BAD, GOOD, make_entity_examples, make_examples
from spacy.tokens import Doc, Span
from spacy.training import Example
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
        found = [(e["start"], e["end"], e["label"]) for e in choice.spans]
        assert found == [(e.start_char, e.end_char, e.label_) for e in doc.ents]


def test_a_pipeline_without_our_components_is_an_error():
    with pytest.raises(ValueError, match="no text classifier, entity recognizer or span"):
        choose_next(spacy.blank("en"), [(0, "a film")], 1)


NESTED = "this movie is lovely warm music"
INSIDE = [(1, 6, "FILM"), (3, 5, "MOOD")]


def test_guesses_have_nested_entities_and_those_of_every_recognizer(token_config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    config = {"model": token_config(), "overlapping": True, "spans_key": "nested"}
    pipe = nlp.add_pipe("reprtune_ner", name="nested", config=config)
    gold = nlp.make_doc(NESTED)
    gold.spans["nested"] = [Span(gold, start, end, label=label) for start, end, label in INSIDE]
    examples = [Example(nlp.make_doc(NESTED), gold)]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "WORD", "pattern": "this"}])
    assert pipe.labels == ("FILM", "MOOD") and len(nlp(NESTED).ents) == 2
    [choice] = choose_next(nlp, [(0, NESTED)], 1)
    assert [(e["start"], e["end"], e["label"]) for e in choice.spans] == [
        (0, 4, "WORD"),
        (5, 31, "FILM"),
        (14, 25, "MOOD"),
    ]
    scores = nlp(NESTED).spans["nested"].attrs["scores"]
    assert [e["score"] for e in choice.spans] == [None, *map(float, scores)]


def one_pipe(factory, model, examples, **settings):
    """A pipeline that has not been trained, with a single component of this package."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe(factory, name="own", config={"model": model, **settings})
    nlp.initialize(lambda: examples(nlp))
    return nlp


def labeled_sentences(nlp):
    gold = Doc(nlp.vocab, words="a great film . dull and cold .".split())
    gold.spans["sc"] = [Span(gold, 0, 4, label="GOOD"), Span(gold, 4, 8, label="BAD")]
    return [Example(nlp.make_doc(gold.text), gold)]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_span_classifier_doubts_the_text_of_its_least_sure_span(exclusive, token_config):
    settings = {"exclusive": exclusive, "threshold": 0.0}
    nlp = one_pipe("reprtune_span_classifier", token_config(), labeled_sentences, **settings)
    pool = ["a great film . dull and cold .", "a great film .", "dull and cold .", ""]
    whole, *parts = sorted(choose_next(nlp, list(enumerate(pool)), 4), key=lambda c: c.id)
    scores = nlp.get_pipe("own").predict([nlp(pool[0])])[0].scores
    doubts = 1.0 - abs(scores[:, 0] - scores[:, 1] if exclusive else 2.0 * scores - 1.0)
    assert whole.doubt == pytest.approx(doubts.max(), abs=1e-5)
    assert parts[-1].doubt == 0.0 and parts[-1].spans == []
    assert {(s["start"], s["end"]) for s in whole.spans} == {(0, 14), (15, 30)}
    assert len(whole.spans) == (2 if exclusive else 4)
    assert all(0.0 < s["score"] < 1.0 and s["label"] in ("GOOD", "BAD") for s in whole.spans)


def test_a_span_classifier_without_spans_is_an_error(token_config):
    nlp = one_pipe("reprtune_span_classifier", token_config(), labeled_sentences)
    nlp.remove_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"the spans that 'own' classifies \(sents\)"):
        choose_next(nlp, [(0, "a great film .")], 1)


def test_spans_that_their_labels_replace_can_not_be_doubted(token_config):
    settings = {"exclusive": False, "spans": "sc"}
    nlp = one_pipe("reprtune_span_classifier", token_config(), labeled_sentences, **settings)
    with pytest.raises(ValueError, match="Give it another spans_key"):
        choose_next(nlp, [(0, "a great film ."), (1, "dull and cold .")], 1)


@pytest.mark.parametrize("format", ["prodigy", "doccano", "label-studio", "jsonl"])
def test_no_entities_found_differs_from_no_recognizer(format, token_config, model_config, tmp_path):
    recognizer = one_pipe("reprtune_ner", token_config(), make_entity_examples, min_score=1.0)
    classifier = one_pipe("reprtune_textcat", model_config(), make_examples)
    both = one_pipe("reprtune_ner", token_config(), make_entity_examples, min_score=1.0)
    both.add_pipe("own", name="textcat", source=classifier)
    found = []
    for nlp in (recognizer, both, classifier):
        choices = choose_next(nlp, [(0, "a film")], 1)
        write_tasks(choices, tmp_path / "next", format, sorted(choices[0].cats))
        text = (tmp_path / "next").read_text()
        found.append(json.loads(text)[0] if format == "label-studio" else json.loads(text))
    if format == "label-studio":
        results = [task["predictions"][0]["result"] for task in found]
        assert results[0] == [] and [r["type"] for r in results[1] + results[2]] == ["choices"] * 2
    elif format == "doccano":
        assert found[0]["label"] == [] and found[1]["entities"] == []
        assert found[2]["label"] == found[1]["cats"] and not {"cats", "entities"} & set(found[2])
    else:
        assert found[0]["spans"] == found[1]["spans"] == [] and "spans" not in found[2]


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
        read_pool([tmp_path / "pool.jsonl"], text="text", id=None, output=tmp_path / "next.jsonl")


def test_copies_and_rows_that_are_not_text_are_counted(tiny_encoder, tmp_path):
    lines = [json.dumps({"text": text}) for text in ("a great film", "A great film!", "dull", " ")]
    pool = tmp_path / "pool.jsonl"
    pool.write_text("\n".join([*lines, "nonsense", '{"text": 7}', '{"body": "x"}']))
    found = read_pool([pool], text="text", id=None, output=tmp_path / "next.jsonl")
    assert found == ([(0, "a great film"), (2, "dull")], 1, 4)
    arguments = ["next", tiny_encoder, pool, "--cold", "-n", 1, "-o", tmp_path / "next.jsonl"]
    done = CliRunner().invoke(reprtune_cli, list(map(str, arguments)))
    said = " ".join(done.output.split())
    assert "Rows left out: 1 as copies or near copies, 4 because their text is missing" in said
    assert "Chose 1 of 2 texts" in said


def test_damaged_rows_of_a_table_are_counted_and_not_chosen(tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_bytes(b"id,text\n1,caf\xe9 au lait\n2,a film, cut off\n3\n4,a great film\n")
    assert read_pool([pool], text="text", id=None, output=tmp_path / "next.jsonl") == (
        [(3, "a great film")],
        0,
        3,
    )


def test_rows_without_a_readable_id_are_counted_and_not_chosen(tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_bytes(b"id,text\ncaf\xe9,dull\n,a cold plot\n4,a great film\n")
    assert read_pool([pool], text="text", id="id", output=tmp_path / "next.jsonl") == (
        [("4", "a great film")],
        0,
        2,
    )


def test_an_output_in_the_folder_of_the_pool_is_not_chosen_from(tiny_encoder, tmp_path):
    (tmp_path / "pool.txt").write_text("a great film\ndull\n")
    arguments = ["next", tiny_encoder, tmp_path, "--cold", "-n", 2, "-o", tmp_path / "next.jsonl"]
    for _ in range(2):
        done = CliRunner().invoke(reprtune_cli, list(map(str, arguments)))
        assert done.exit_code == 0 and "Chose 2 of 2 texts" in done.output
        assert "left out" not in done.output


def test_a_text_that_is_too_long_for_the_pipeline_is_counted(annotate_pipeline, tmp_path):
    pool = tmp_path / "pool.txt"
    arguments = ["next", annotate_pipeline, pool, "-n", 2, "-o", tmp_path / "next.jsonl"]
    for texts, code, said in (
        (["a great film", "x" * 1_000_001, "dull"], 0, "Chose 2 of 2 texts"),
        (["x" * 1_000_001], 1, "All texts have more than 1,000,000 characters"),
    ):
        pool.write_text("\n".join(texts))
        done = CliRunner().invoke(reprtune_cli, list(map(str, arguments)))
        output = " ".join(done.output.split())
        assert done.exit_code == code and said in output
        assert code or "1 because their text is missing, blank, too long" in output


def test_a_wrong_column_is_an_error_that_names_the_columns(tmp_path):
    pool = tmp_path / "pool.jsonl"
    pool.write_text('nonsense\n{"body": "a film"}\n{"id": 1}\n')
    arguments = ["next", "x", str(pool), "--text", "review"]
    done = CliRunner().invoke(reprtune_cli, arguments)
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert "pool.jsonl has no column 'review'. Its columns are body, id." in said
