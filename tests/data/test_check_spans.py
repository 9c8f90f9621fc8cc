"""Groups of `doc.spans` are annotation to `check`: counted, and checked for faults."""

import json

import pytest
from spacy.cli._util import app
from spacy.tokens import Span
from span_corpora import NLP, corpus, essay, nested, save, with_spans
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.check import check


def checked(docs, tmp_path, tiny_encoder):
    """The report, and the levels of what was found."""
    report = check(save(docs, tmp_path / "c"), encoder=str(tiny_encoder))
    return report, {f["code"]: f["level"] for f in report["findings"] if f["code"][:3] != "pie"}


def test_labeled_sentences_are_annotation_and_a_clean_corpus_has_no_fault(tmp_path, tiny_encoder):
    report, found = checked(corpus(essay), tmp_path, tiny_encoder)
    assert found == {} and report["entities"] == {} and report["labels"] == {}
    counts = {"train": 60, "dev": 50}
    assert report["spans"] == {
        "claims": {
            "labels": {"CLAIM": counts, "FACT": counts},
            "overlapping": 0,
            "sentences": 1.0,
            "exclusive": True,
        }
    }


def test_nested_spans_without_entities_are_a_note_about_the_recognizer(tmp_path, tiny_encoder):
    report, found = checked(corpus(nested), tmp_path, tiny_encoder)
    assert found == {"nested_entity": "note"} and report["entities"] == {}
    assert "overlapping = true" in report["findings"][0]["advice"]
    assert report["spans"]["ner"]["overlapping"] == 110
    assert report["spans"]["ner"]["sentences"] == 0.0


def test_spans_beside_entities_are_counted_and_their_overlaps_are_a_warning(tmp_path, tiny_encoder):
    docs = corpus(nested)
    for own in docs.values():
        for doc in own:
            doc.set_ents([doc.spans["ner"][0]])
    report, found = checked(docs, tmp_path, tiny_encoder)
    assert found["nested_entity"] == "warning"
    assert set(report["entities"]["labels"]) == {"COMPANY"}
    assert set(report["spans"]["ner"]["labels"]) == {"COMPANY", "PLACE"}


def test_a_sentence_with_two_labels_or_none_makes_labels_independent(tmp_path, tiny_encoder):
    for name, place in {"two": (0, 6, "FACT"), "none": (6, 8, "")}.items():
        docs = corpus(essay)
        doc = docs["train"][0]
        doc.spans["claims"].append(Span(doc, *place[:2], label=place[2]))
        doc.spans["claims"].append(Span(doc, 0, 6, label="CLAIM"))
        (tmp_path / name).mkdir()
        report, _ = checked(docs, tmp_path / name, tiny_encoder)
        assert not report["spans"]["claims"]["exclusive"]
        # A sentence does not overlap itself; (6, 8) is a part of one.
        assert report["spans"]["claims"]["overlapping"] == (name == "none")
        assert set(report["spans"]["claims"]["labels"]) == {"CLAIM", "FACT"}


def relabeled(docs, label, new):
    for doc in docs:
        spans = [
            Span(doc, s.start, s.end, label=new if s.label_ == label else s.label)
            for s in doc.spans["claims"]
        ]
        doc.spans["claims"] = spans


def unseen_label(c):
    relabeled(c["dev"][:1], "FACT", "OPINION")


def absent_label(c):
    relabeled(c["dev"], "FACT", "CLAIM")


def label_variants(c):
    for own in c.values():
        relabeled(own, "FACT", "claim")


def rare_span_label(c):
    for own in c.values():
        relabeled(own[:5], "FACT", "OPINION")


def no_span_annotation(c):
    c["train"].append(NLP.make_doc("Nothing is said of this one."))


FAULTS = [unseen_label, absent_label, label_variants, rare_span_label, no_span_annotation]


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_fault_among_spans_is_found(plant, tmp_path, tiny_encoder):
    docs = corpus(essay)
    plant(docs)
    _, found = checked(docs, tmp_path, tiny_encoder)
    assert found == {plant.__name__: "error" if plant is unseen_label else "warning"}


def test_an_empty_group_says_that_a_text_has_no_spans(tmp_path, tiny_encoder):
    docs = corpus(essay)
    docs["train"].append(with_spans("Nothing is said of this one.", "claims", []))
    assert checked(docs, tmp_path, tiny_encoder)[1] == {}


def test_only_empty_groups_are_nothing_to_learn_from(tmp_path, tiny_encoder):
    docs = corpus(essay)
    for own in docs.values():
        for doc in own:
            doc.spans["claims"] = []
    assert checked(docs, tmp_path, tiny_encoder)[1] == {"nothing_annotated": "error"}


def test_a_group_that_only_train_has_beside_entities_is_not_missed_in_dev(tmp_path, tiny_encoder):
    docs = corpus(nested, key="incorrect")
    for split, own in docs.items():
        for doc in own:
            doc.set_ents([doc.spans["incorrect"][0]])
            if split == "dev":
                del doc.spans["incorrect"]
    assert "absent_label" not in checked(docs, tmp_path, tiny_encoder)[1]


def test_the_table_of_the_command_and_the_report_show_the_counts(tmp_path, tiny_encoder):
    from spacy_reprtune.reporting.page import to_html
    from spacy_reprtune.reporting.report import make_report

    arguments = [save(corpus(essay), tmp_path / "c"), "-e", tiny_encoder]
    arguments += ["-o", tmp_path / "check.json"]
    done = CliRunner().invoke(app, ["reprtune", "check", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    [row] = [line.split() for line in done.output.splitlines() if "claims/FACT" in line]
    assert row == ["span", "claims/FACT", "60", "50"]
    assert json.loads((tmp_path / "check.json").read_text())["spans"]["claims"]
    metrics, _, sections = make_report(tmp_path, corpus=tmp_path / "no", training=tmp_path / "no")
    page = to_html(sections, title="Report", problems=metrics.problems)
    assert "spans in doc.spans[" in page and "FACT" in page
