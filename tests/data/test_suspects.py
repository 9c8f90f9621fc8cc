"""Planted wrong annotations come first, and the command, its files and the report show them."""

import json
import random

import numpy
import pytest
import spacy
import srsly
from conftest import BAD, ENTITIES, GOOD
from spacy.cli._util import app
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.entity_suspects import entity_suspects
from spacy_reprtune.data.suspects import find_suspects, label_suspects, span_suspects
from spacy_reprtune.data.word_evidence import tag_evidence
from spacy_reprtune.heads.held_out import held_out_probabilities

NLP = spacy.blank("en")


def clusters(n, seed=0):
    """Vectors of three classes that a line can part, and their classes."""
    rng = numpy.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    return (numpy.eye(3)[classes] * 4 + rng.normal(size=(n, 3))).astype("f"), classes


def cats_of(classes):
    return [{name: float(k == c) for k, name in enumerate("ABC")} for c in classes]


def test_planted_labels_come_first():
    vectors, classes = clusters(300)
    wrong = classes.copy()
    wrong[:15] = (wrong[:15] + 1) % 3
    texts = [str(i) for i in range(300)]
    found = label_suspects(vectors, cats_of(wrong), texts)
    found.sort(key=lambda item: -item[1])
    assert len({row for row, *_ in found[:15]} & set(range(15))) >= 13
    best = found[0]
    assert best[2:] == ("ABC"[wrong[best[0]]], "ABC"[classes[best[0]]])


def test_independent_labels_are_judged_one_by_one():
    vectors, classes = clusters(300)
    cats = [{"A": float(c != 2), "B": float(c != 0)} for c in classes]
    cats[0]["A"] = 1.0 - cats[0]["A"]
    del cats[1]["B"]
    found = label_suspects(vectors, cats, [str(i) for i in range(300)])
    found.sort(key=lambda item: -item[1])
    assert found[0][0] == 0
    assert set(found[0][2:]) == {"A", "not A"}
    assert not [item for item in found if item[0] == 1 and "B" in item[2]]


def test_words_tell_labels_that_vectors_do_not():
    rng = numpy.random.default_rng(0)
    classes = rng.integers(0, 2, 120)
    texts = [f"{('cold', 'warm')[c]} film number {i}" for i, c in enumerate(classes)]
    wrong = classes.copy()
    wrong[:6] = 1 - wrong[:6]
    cats = [{"BAD": float(c == 0), "GOOD": float(c == 1)} for c in wrong]
    vectors = rng.normal(size=(120, 3)).astype("f")
    found = sorted(label_suspects(vectors, cats, texts), key=lambda item: -item[1])
    assert {row for row, *_ in found[:6]} == set(range(6))


def test_the_tags_of_a_word_come_from_other_texts():
    docs = [
        Doc(NLP.vocab, words=words.split()) for words in ("warm rain", "warm rain", "warm snow")
    ]
    tags = numpy.array([1, 0, 1, 0, -1, 0])
    found = tag_evidence(docs, numpy.arange(6), tags, 2, numpy.repeat(numpy.arange(3), 2))
    assert found.shape == (6, 6)
    # "warm" has tag 1 once in the other texts that know its tag, and twice for the last doc.
    first, last = found[0, :2], found[4, :2]
    assert first[1] > 0 > first[0] and last[1] > first[1]
    # No other text has "snow", or "warm" before it.
    assert not found[5].any() and not found[4, 4:].any()


def test_a_copy_does_not_vouch_for_a_label():
    vectors, classes = clusters(90)
    vectors = numpy.concatenate([vectors] * 2)
    wrong = numpy.concatenate([classes] * 2)
    wrong[[0, 90]] = (wrong[0] + 1) % 3
    texts = [f"text {i % 90}" for i in range(180)]
    found = label_suspects(vectors, cats_of(wrong), texts)
    assert {0, 90} <= {row for row, *_ in found}


def spans_of(numbers, classes, names="ABC"):
    """Docs of five spans of two tokens each, which have the number of the doc in their words."""
    docs = []
    for number, own in zip(numbers, classes.reshape(-1, 5), strict=True):
        doc = Doc(NLP.vocab, words=[f"word{number}-{k}" for k in range(10)])
        pairs = enumerate(own.tolist())
        doc.spans["sc"] = [Span(doc, 2 * k, 2 * k + 2, label=names[c]) for k, c in pairs]
        docs.append(doc)
    return docs


def test_planted_labels_of_spans_come_first():
    vectors, classes = clusters(300)
    wrong = classes.copy()
    wrong[::20] = (wrong[::20] + 1) % 3
    docs = spans_of(range(60), wrong)
    # The two tokens of a span differ from its mean in opposite directions.
    shift = numpy.tile(numpy.array([[9.0], [-9.0]], dtype="f"), (300, 3))
    found = list(span_suspects(numpy.repeat(vectors, 2, axis=0) + shift, docs, "sc"))
    found.sort(key=lambda item: -item[2])
    planted = {(k // 5, (k % 5 * 2, k % 5 * 2 + 2)) for k in range(0, 300, 20)}
    assert len({(row, place) for row, place, *_ in found[:15]} & planted) >= 13
    row, (start, _), _, *told = found[0]
    number = 5 * row + start // 2
    assert told == ["ABC"[wrong[number]], "ABC"[classes[number]]]


def test_several_labels_of_a_span_are_judged_one_by_one_and_none_is_an_answer():
    vectors, classes = clusters(300)
    docs = spans_of(range(60), classes, ["A", "B", ""])
    for k in numpy.flatnonzero(classes == 0):
        doc, start = docs[k // 5], k % 5 * 2
        doc.spans["sc"].append(Span(doc, start, start + 2, label="B"))
    k = int(numpy.flatnonzero(classes == 2)[0])
    docs[k // 5].spans["sc"].append(Span(docs[k // 5], k % 5 * 2, k % 5 * 2 + 2, label="A"))
    found = list(span_suspects(numpy.repeat(vectors, 2, axis=0), docs, "sc"))
    best = max(found, key=lambda item: item[2])
    assert (best[0], best[1][0]) == (k // 5, k % 5 * 2) and best[3:] == ("A", "not A")


def test_the_spans_of_a_text_do_not_vouch_for_each_other():
    vectors, classes = clusters(300)
    classes[:5] = 0
    vectors[:5] = vectors[numpy.flatnonzero(classes == 0)[5:10]]
    # What the spans of the first text have in common, and so would tell their wrong label.
    vectors = numpy.concatenate([vectors, numpy.zeros((300, 1), dtype="f")], axis=1)
    vectors[:5, 3] = 8
    classes[:5] = 1
    found = span_suspects(numpy.repeat(vectors, 2, axis=0), spans_of(range(60), classes), "sc")
    assert len([item for item in found if item[0] == 0]) == 5


def test_one_label_is_too_few_to_judge_by():
    with pytest.raises(ValueError, match="at least two labels"):
        held_out_probabilities(numpy.zeros((4, 2), dtype="f"), numpy.zeros(4, dtype=int), 2)


def sentence(rng, person=True, place=True):
    """A sentence with a person and a place, and a vector per token that tells what it is."""
    words = ["x", "Ann", "y", "New", "Town", "z"]
    doc = spacy.tokens.Doc(NLP.vocab, words=[w + str(rng.random())[2:5] for w in words])
    spans = [spacy.tokens.Span(doc, 1, 2, "PER")] * person
    spans += [spacy.tokens.Span(doc, 3, 5, "LOC")] * place
    doc.set_ents(spans)
    kinds = numpy.array([0, 1, 0, 2, 3, 0])
    noise = numpy.random.default_rng(rng.randrange(10**6)).normal(size=(6, 4)) / 4
    return doc, (numpy.eye(4)[kinds] + noise).astype("f")


def test_missing_spurious_shifted_and_relabeled_entities_are_found():
    rng = random.Random(0)
    docs, vectors = map(list, zip(*(sentence(rng) for _ in range(80)), strict=True))
    docs[0].set_ents([docs[0].ents[0]])
    docs[1].set_ents([*docs[1].ents, spacy.tokens.Span(docs[1], 5, 6, "LOC")])
    docs[2].set_ents([docs[2].ents[0], spacy.tokens.Span(docs[2], 4, 5, "LOC")])
    docs[3].set_ents([spacy.tokens.Span(docs[3], 1, 2, "LOC"), docs[3].ents[1]])
    found = sorted(entity_suspects(numpy.concatenate(vectors), docs), key=lambda x: -x[1].doubt)
    first = dict(found[:4])
    assert set(first) == {0, 1, 2, 3}
    assert not first[0].gold and first[0].suggested[0][:3] == (3, 5, "LOC")
    assert first[1].gold[0][:3] == (5, 6, "LOC") and not first[1].suggested
    assert first[2].gold[0][:3] == (4, 5, "LOC") and first[2].suggested[0][:3] == (3, 5, "LOC")
    assert first[3].gold[0][:3] == (1, 2, "LOC") and first[3].suggested[0][:3] == (1, 2, "PER")
    assert all(0.5 <= reading.doubt <= 1.0 for reading in first.values())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Reviews whose labels say the opposite now and then, and texts with entities."""
    folder = tmp_path_factory.mktemp("suspects") / "corpus"
    folder.mkdir()
    for split, size in (("train", 24), ("dev", 8)):
        docs = []
        for i in range(size):
            good = i % 2 == 0
            doc = NLP.make_doc(f"{(GOOD if good else BAD)[i // 2 % 4]} {i}")
            good = good != (i % 8 == 7)
            doc.cats = {"GOOD": float(good), "BAD": float(not good)}
            docs.append(doc)
        for text, entities in ENTITIES * 2:
            doc = NLP.make_doc(text)
            doc.set_ents([doc.char_span(*entity) for entity in entities])
            docs.append(doc)
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{split}.spacy")
    return folder


def test_suspects_name_their_place(corpus, tiny_encoder):
    found = find_suspects(corpus, encoder=str(tiny_encoder), device="cpu")
    assert [s.doubt for s in found] == sorted((s.doubt for s in found), reverse=True)
    for suspect in found:
        docs = list(DocBin().from_disk(corpus / f"{suspect.split}.spacy").get_docs(NLP.vocab))
        assert docs[suspect.text_number].text == suspect.text
    assert {suspect.kind for suspect in found} <= {"label", "entity"}


def test_the_command_writes_a_table_a_file_and_a_section(corpus, tiny_encoder, tmp_path):
    from spacy_reprtune.reporting.page import to_html
    from spacy_reprtune.reporting.report import make_report

    arguments = ["--encoder", tiny_encoder, "--device", "cpu", "--labels"]
    arguments += ["--output", tmp_path / "check.json", "--suspects", tmp_path / "suspects.jsonl"]
    result = CliRunner().invoke(app, ["reprtune", "check", *map(str, [corpus, *arguments])])
    rows = list(srsly.read_jsonl(tmp_path / "suspects.jsonl"))
    assert rows and "annotations may be wrong" in result.output
    saved = json.loads((tmp_path / "check.json").read_text())["suspects"]
    assert [row["doubt"] for row in saved] == pytest.approx([row["doubt"] for row in rows[:100]])
    assert [row["text"] for row in saved] == [row["text"] for row in rows[:100]]
    metrics, _, sections = make_report(tmp_path, corpus=tmp_path / "no", training=tmp_path / "no")
    page = to_html(sections, title="Report", problems=metrics.problems)
    assert "Doubtful annotations" in page and f"doubt {rows[0]['doubt']:.2f}" in page


def save_spans(folder, n=12):
    """A corpus of n texts of two labeled sentences, the first of which is wrong."""
    docs = []
    for k in range(n):
        first, second = (GOOD, BAD) if k % 2 else (BAD, GOOD)
        doc = NLP.make_doc(f"It was {first[k % 4]} {k}. It was {second[k % 3]}.")
        cut = next(token.i for token in doc if token.text == ".") + 1
        labels = ("GOOD", "BAD") if k % 2 != (k == 0) else ("BAD", "GOOD")
        places = zip(((0, cut), (cut, len(doc))), labels, strict=True)
        doc.spans["claims"] = [Span(doc, *place, label=label) for place, label in places]
        docs.append(doc)
    folder.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs).to_disk(folder / "train.spacy")
    return folder


def test_a_corpus_with_spans_only_is_judged_and_suspects_name_their_place(tmp_path, tiny_encoder):
    folder = save_spans(tmp_path / "corpus")
    arguments = ["--encoder", tiny_encoder, "--device", "cpu", "--labels"]
    arguments += ["--output", tmp_path / "check.json", "--suspects", tmp_path / "suspects.jsonl"]
    result = CliRunner().invoke(app, ["reprtune", "check", *map(str, [folder, *arguments])])
    rows = list(srsly.read_jsonl(tmp_path / "suspects.jsonl"))
    assert rows and {row["kind"] for row in rows} == {"span"}
    docs = list(DocBin().from_disk(folder / "train.spacy").get_docs(NLP.vocab))
    for row in rows:
        spans = docs[row["text_number"]].spans["claims"]
        place = row["start"], row["end"], row["gold"]
        assert place in {(s.start_char, s.end_char, s.label_) for s in spans}
    assert "annotations may be wrong" in result.output


def test_the_report_marks_the_span_in_question(tmp_path):
    from spacy_reprtune.reporting.page import to_html
    from spacy_reprtune.reporting.report import make_report

    row = {"kind": "span", "split": "dev", "text_number": 3, "doubt": 0.9, "gold": "GOOD"}
    row.update(suggested="BAD", text="It was dull. It was cold.", start=13, end=25)
    srsly.write_json(
        tmp_path / "check.json", {"corpus": "c", "splits": {}, "findings": [], "suspects": [row]}
    )
    metrics, _, sections = make_report(tmp_path, corpus=tmp_path / "no", training=tmp_path / "no")
    page = to_html(sections, title="Report", problems=metrics.problems)
    assert "<mark>It was cold.</mark>" in page and "GOOD → BAD" in page


def test_spans_of_a_single_text_are_left_out_beside_others(tmp_path, tiny_encoder):
    folder = save_spans(tmp_path, n=1)
    with pytest.raises(ValueError, match="no group of doc.spans has labels in two texts"):
        find_suspects(folder, encoder=str(tiny_encoder), device="cpu")
    [doc] = DocBin().from_disk(folder / "train.spacy").get_docs(NLP.vocab)
    docs = [doc, *(NLP.make_doc(text) for text in GOOD + BAD)]
    for k, own in enumerate(docs):
        own.cats = {"GOOD": float(k < 5), "BAD": float(k >= 5)}
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "train.spacy")
    found = find_suspects(folder, encoder=str(tiny_encoder), device="cpu")
    assert {suspect.kind for suspect in found} <= {"label"}


def test_a_corpus_without_annotation_is_an_error(tmp_path, tiny_encoder):
    DocBin(docs=[NLP.make_doc("a film")]).to_disk(tmp_path / "train.spacy")
    with pytest.raises(ValueError, match="has a label or an entity"):
        find_suspects(tmp_path, encoder=str(tiny_encoder))
