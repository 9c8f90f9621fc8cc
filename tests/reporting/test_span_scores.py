"""Scores and predictions of spans: evaluated, kept, reported, and on the card."""

import warnings

import numpy
import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.components.entities import group_scores
from spacy_reprtune.reporting.bootstrap import bootstrap, micro_f
from spacy_reprtune.reporting.card import render_card
from spacy_reprtune.reporting.card_facts import add_scores, read_pipeline
from spacy_reprtune.reporting.counts import NONE, confusion_ents, count_ents, kinds_of_ents
from spacy_reprtune.reporting.evaluate import _spans_row
from spacy_reprtune.reporting.explain import explain
from spacy_reprtune.reporting.headline import span_keys
from spacy_reprtune.reporting.predictions import (
    EntsRow,
    Predictions,
    Row,
    of_kind,
    read_predictions,
)

SENTENCES = {"a lovely warm film .": "GOOD", "cold and dull music .": "BAD"}
NESTED = [(0, 5, "FILM"), (1, 3, "MOOD"), (4, 5, "FILM")]


def gold_doc(nlp, texts):
    words = [text.split() for text in texts]
    starts = [i == 0 for own in words for i in range(len(own))]
    doc = Doc(nlp.vocab, [word for own in words for word in own], sent_starts=starts)
    pairs = zip(doc.sents, texts, strict=True)
    doc.spans["claims"] = [Span(doc, s.start, s.end, label=SENTENCES[t]) for s, t in pairs]
    return doc


def run(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(reprtune_cli, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def trained(nlp, docs, folder):
    """Train a little, and save the pipeline and its test set."""
    spacy.util.fix_random_seed(0)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.0005
    for _ in range(4):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder / "model")
    DocBin(docs=docs).to_disk(folder / "test.spacy")
    return folder / "model"


@pytest.fixture(scope="module")
def classified(encoder_config, tmp_path_factory):
    """An evaluated classifier of sentences, which has left one of them out in its test set."""
    folder = tmp_path_factory.mktemp("classified")
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": encoder_config()}
    settings = {"model": model, "spans_key": "claims"}
    nlp.add_pipe("reprtune_span_classifier", name="claims", config=settings)
    first, second = SENTENCES
    docs = [gold_doc(nlp, texts) for texts in ([first, second], [second, first], [first, first])]
    docs[2].spans["claims"] = [docs[2].spans["claims"][0]]
    trained(nlp, docs, folder)
    scores = folder / "metrics" / "claims.json"
    output = run("evaluate", folder / "model", folder / "test.spacy", "--output", scores)
    (folder / "output.txt").write_text(output)
    return folder


@pytest.fixture(scope="module")
def nested(encoder_config, tmp_path_factory):
    """An evaluated recognizer of nested entities."""
    folder = tmp_path_factory.mktemp("nested")
    nlp = spacy.blank("xx")
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": encoder_config()}
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model, "overlapping": True})
    doc = nlp.make_doc("a lovely warm film .")
    doc.spans["ner"] = [Span(doc, *entity) for entity in NESTED]
    trained(nlp, [doc] * 4, folder)
    run("evaluate", folder / "model", folder / "test.spacy", "-o", folder / "metrics" / "ner.json")
    return folder


def test_the_command_prints_and_keeps_the_spans_that_are_scored(classified):
    scores = srsly.read_json(classified / "metrics" / "claims.json")
    assert (
        f"span F (claims) {scores['spans_claims_f']:.3f}" in (classified / "output.txt").read_text()
    )
    kept = read_predictions(classified / "metrics" / "claims.predictions.jsonl.gz")
    assert [len(row.spans["claims"].gold) for row in kept.rows] == [2, 2, 1]
    # The sentence that nobody annotated is predicted, but does not count.
    assert [len(row.spans["claims"].found) for row in kept.rows] == [2, 2, 1]
    assert all(0 < score <= 1 for row in kept.rows for score in row.spans["claims"].scores)
    counts = count_ents(of_kind(kept, "spans_claims"))
    value = bootstrap(len(counts.true), micro_f(counts)).value
    assert value == pytest.approx(scores["spans_claims_f"])


def test_entities_that_overlap_are_kept_as_entities(nested):
    scores = srsly.read_json(nested / "metrics" / "ner.json")
    kept = read_predictions(nested / "metrics" / "ner.predictions.jsonl.gz")
    assert len(kept.rows[0].ents.gold) == 3 and not kept.rows[0].spans
    counts = count_ents(kept)
    value = bootstrap(len(counts.true), micro_f(counts)).value
    assert value == pytest.approx(scores["ents_f"])


def test_the_report_has_spans_beside_entities(classified, nested, tmp_path):
    for folder in (classified, nested):
        for path in (folder / "metrics").iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    page = tmp_path / "report.md"
    run("report", tmp_path, "--markdown", page)
    text = page.read_text()
    assert "Spans in claims: F per label" in text and "Entities: F per label" in text
    assert "Spans in claims: kinds of errors" in text and "Spans in ner" not in text
    value = srsly.read_json(tmp_path / "claims.json")["spans_claims_f"]
    assert f"claims has span F {value:.3f} on 3 documents" in text


def test_the_card_shows_where_spans_are_and_how_good_they_are(classified, nested):
    card = classified / "model" / "README.md"
    run("card", classified / "model", "--metrics", classified / "metrics" / "claims.json")
    text = card.read_text()
    assert 'print(doc.spans["claims"])' in text and "token-classification" in text
    scores = srsly.read_json(classified / "metrics" / "claims.json")
    assert f"| span F (claims) | {scores['spans_claims_f']:.3f} | " in text
    assert "| `GOOD` (claims) | " in text
    run("card", nested / "model", "--metrics", nested / "metrics" / "ner.json")
    text = (nested / "model" / "README.md").read_text()
    assert 'print(doc.spans["ner"])' in text and "| entity F | " in text
    assert "span F" not in text


def test_scores_of_spans_with_other_labels_are_not_put_on_a_card(classified, tmp_path):
    scores = srsly.read_json(classified / "metrics" / "claims.json")
    wrong = {"OTHER": {"p": 1.0, "r": 1.0, "f": 1.0}}
    srsly.write_json(tmp_path / "s.json", {**scores, "spans_claims_per_type": wrong})
    with pytest.raises(ValueError, match="belongs to another pipeline"):
        add_scores(read_pipeline(classified / "model"), tmp_path / "s.json")


def test_an_evaluation_without_any_annotation_says_so(classified, tmp_path):
    nlp = spacy.blank("xx")
    doc = nlp.make_doc("a film .")
    doc.spans["other"] = [Span(doc, 0, 3, label="GOOD")]
    DocBin(docs=[doc]).to_disk(tmp_path / "plain.spacy")
    output = run(
        "evaluate", classified / "model", tmp_path / "plain.spacy", "-o", tmp_path / "x.json"
    )
    assert "Nothing was scored" in output and "they have doc.spans['other']" in output
    assert "Nothing was scored" not in (classified / "output.txt").read_text()


def test_spans_with_several_labels_are_compared_label_by_label():
    gold = [(0, 3, "A"), (0, 3, "B"), (4, 6, "A")]
    found = [(0, 3, "B"), (0, 3, "C"), (7, 9, "A")]
    rows = [Row("x" * 10, ents=EntsRow(gold, found, [0.5] * 3))]
    assert confusion_ents(Predictions(rows=rows)) == {
        ("B", "B"): 1,
        ("A", "C"): 1,
        ("A", NONE): 1,
        (NONE, "A"): 1,
    }


def test_an_entity_is_missed_although_one_inside_of_it_is_found():
    gold, found = [(0, 9, "ORG"), (0, 4, "PLACE")], [(0, 4, "PLACE")]
    rows = [Row("x" * 10, ents=EntsRow(gold, found, [0.5]))]
    kinds = kinds_of_ents(Predictions(rows=rows))
    assert kinds["missed"] == 1 and kinds["right"] == 1 and sum(kinds.values()) == 2


def test_scores_that_belong_to_other_spans_are_left_out(classified, tmp_path):
    nlp = spacy.load(classified / "model")
    gold = nlp("a lovely warm film . cold and dull music .")
    scores = {"scores": numpy.array([0.9, 0.8])}
    kept = [gold.spans["claims"][1]]
    gold.spans["claims"] = SpanGroup(gold, name="claims", attrs=scores, spans=kept)
    examples = [Example(nlp.make_doc(gold.text), gold)]
    assert nlp.evaluate(examples)["spans_claims_f"] == 1.0
    (doc,) = nlp.pipe([gold.text])
    doc.spans["claims"].append(Span(doc, 0, 1, label="GOOD"))
    found = explain(nlp, doc)
    assert len(found) == 3 and all(explanation.score == 0.0 for explanation in found)
    doc.spans["claims"].attrs["scores"] = None
    assert group_scores(doc.spans["claims"]) == [None] * 3
    (one,) = nlp.get_pipe("claims").scored_examples([Example(doc, gold)])
    assert _spans_row(one, "claims").scores == [None]


def test_equal_spans_count_once_and_empty_ones_not_at_all():
    nlp = spacy.blank("xx")
    gold = nlp.make_doc("cold and dull music")
    gold.spans["sc"] = [Span(gold, 0, 2, label="A"), Span(gold, 1, 1, label="A")]
    doc = nlp.make_doc(gold.text)
    doc.spans["sc"] = [Span(doc, 0, 2, label="A")] * 2
    row = _spans_row(Example(doc, gold), "sc")
    assert row.gold == row.found == [(0, 8, "A")] and row.scores == [None]


def test_two_groups_with_the_same_scores_are_both_shown():
    per_type = {"A": {"p": 0.0, "r": 0.0, "f": 0.0}}
    scores = {"ents_f": 0.0, "ents_per_type": per_type, "spans_ner_f": 0.0, "spans_sc_f": 0.0}
    scores.update(spans_ner_per_type=per_type, spans_sc_per_type=per_type)
    assert span_keys({**scores, "run": {"overlapping": "ner"}}) == ["sc"]
    assert span_keys({**scores, "run": {"overlapping": None}}) == ["ner", "sc"]


def test_labels_of_two_groups_are_told_apart_on_a_card(classified, tmp_path):
    scores = srsly.read_json(classified / "metrics" / "claims.json")
    other = {"spans_a|b_f": 0.5, "spans_a|b_per_type": scores["spans_claims_per_type"]}
    srsly.write_json(tmp_path / "s.json", {**scores, **other})
    facts = read_pipeline(classified / "model")
    add_scores(facts, tmp_path / "s.json")
    text = render_card(facts)
    assert r"| `GOOD` (a\|b) |" in text and "| `GOOD` (claims) |" in text
    assert r"| span F (a\|b) | 0.500 |" in text
