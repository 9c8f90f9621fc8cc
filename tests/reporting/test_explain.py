"""Contributions add up to the score, reach the right tokens, and are drawn."""

import json

import numpy
import pytest
import spacy
import torch
from conftest import make_entity_examples, make_examples
from spacy.tokens import DocBin, Span
from spacy.training import Example
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.heads.attribution import STEPS, TracedEncoder
from spacy_reprtune.reporting.explain import explain, explain_errors
from spacy_reprtune.reporting.page import to_html
from spacy_reprtune.reporting.report import make_report
from spacy_reprtune.reporting.sections.explained import colored

LONG = "a great film , and the plot is bright . " * 12


@pytest.fixture(scope="module")
def pipeline(annotate_pipeline):
    return spacy.load(annotate_pipeline)


def log_odds(scores, label):
    return numpy.log(scores[label]) - numpy.log(sum(scores.values()) - scores[label])


@pytest.mark.parametrize("text", ["a great film", "an awful film , dull and cold", LONG])
def test_contributions_add_up_to_the_log_odds(textcat, text):
    doc = textcat(text)
    (found,) = explain(textcat, doc)
    assert found.label == max(doc.cats, key=doc.cats.get)
    assert found.score == doc.cats[found.label]
    assert "".join(found.tokens) == text
    # All pieces but the special ones are masked.
    pipe = textcat.get_pipe("textcat")
    with torch.no_grad():
        traced = TracedEncoder(pipe.encoder, torch.zeros(1))
        pieces = pipe.encoder.tokenize([text])
        pooled = pipe.head.pooling(traced.encode(pieces), 1)
        nothing = pipe.kind.probabilities(pipe.head.classify(pooled).numpy())[0]
    nothing = dict(zip(pipe.labels, nothing.tolist(), strict=True))
    expected = log_odds(doc.cats, found.label) - log_odds(nothing, found.label)
    assert found.contributions.sum() == pytest.approx(expected, abs=0.003)
    assert abs(expected) > 0.01


def test_a_token_of_an_entity_contributes_most(pipeline):
    doc = pipeline("lovely warm was in music 3")
    found = explain(pipeline, doc, component="ner")
    assert [doc[slice(*e.span)].text for e in found] == [ent.text for ent in doc.ents]
    for explanation in found:
        assert explanation.contributions.argmax() in range(*explanation.span)


def test_a_label_can_be_asked_for(pipeline):
    doc = pipeline("a great film")
    good, bad = (explain(pipeline, doc, label=label)[0] for label in ("GOOD", "BAD"))
    # Two labels: what speaks for one speaks against the other.
    numpy.testing.assert_allclose(good.contributions, -bad.contributions, atol=1e-5)


def test_nothing_but_the_batch_of_steps_runs(pipeline, monkeypatch):
    rows = []
    model = pipeline.get_pipe("textcat").encoder.model
    handle = model.register_forward_hook(
        lambda module, args, kwargs, output: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    doc = pipeline("a great film")
    rows.clear()
    explain(pipeline, doc, component="textcat")
    handle.remove()
    assert sum(rows) == STEPS <= 30


def test_explaining_changes_nothing(pipeline):
    before = pipeline("a great film").cats
    weights = list(pipeline.get_pipe("textcat").head.parameters())
    explain(pipeline, pipeline("a great film"))
    assert pipeline("a great film").cats == before
    assert all(weight.grad is None for weight in weights)


def test_empty_docs_and_white_space_have_no_contributions(pipeline):
    for text in ("", "  "):
        (found,) = explain(pipeline, pipeline(text), component="textcat")
        assert not found.contributions.any()


def test_heads_that_listen_are_explained(nlp, encoder_config):
    nlp.add_pipe("reprtune_encoder", config={"model": encoder_config()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": listener}
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    nlp.initialize(lambda: make_examples(nlp))
    (found,) = explain(nlp, nlp("a great film"))
    assert found.contributions.shape == (3,) and found.contributions.any()


def test_unknown_names_are_errors(pipeline):
    doc = pipeline("a great film")
    with pytest.raises(ValueError, match="no text classifier, entity recognizer or.*'tagger'"):
        explain(pipeline, doc, component="tagger")
    with pytest.raises(ValueError, match="no label 'FINE'. The labels are"):
        explain(pipeline, doc, label="FINE")


def test_errors_are_explained_and_drawn(annotate_pipeline, pipeline, tmp_path):
    docs = [eg.reference for eg in make_examples(pipeline)]
    for doc in docs:
        doc.cats = {label: 1.0 - value for label, value in doc.cats.items()}
    docs += [pipeline.make_doc(eg.reference.text) for eg in make_entity_examples(pipeline)]
    for doc in docs[-5:]:
        doc.set_ents([])
    path = tmp_path / "test.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    found = explain_errors(pipeline, docs, most=2)
    assert [item["component"] for item in found] == ["textcat", "textcat", "ner", "ner"]
    assert found[0]["score"] >= found[1]["score"] and found[2]["gold"] == "no entity"
    output = tmp_path / "metrics" / "mine.json"
    arguments = [str(annotate_pipeline), "--errors", str(path), "--n", "2", "-o", str(output)]
    done = CliRunner().invoke(reprtune_cli, ["explain", *arguments])
    assert done.exit_code == 0, done.output
    assert json.loads(output.read_text())["explanations"] == found
    (tmp_path / "metrics" / "check.json").write_text('{"splits": {}, "findings": []}')
    missing = tmp_path / "no"
    metrics, _, sections = make_report(output.parent, corpus=missing, training=missing)
    page = to_html(sections, title="Report", problems=metrics.problems)
    assert "Why the worst errors were made" in page and "--tone: var(--series-1)" in page


def test_the_command_explains_a_text(annotate_pipeline):
    run = CliRunner().invoke
    done = run(reprtune_cli, ["explain", str(annotate_pipeline), "a great film", "-l", "GOOD"])
    assert done.exit_code == 0 and "textcat: GOOD" in done.output and "film" in done.output
    done = run(reprtune_cli, ["explain", str(annotate_pipeline)])
    assert done.exit_code == 1 and "Give a TEXT" in done.output


def test_markup_in_a_text_is_escaped():
    html = colored(["<b> ", "x"], [1.0, -0.5], [0, 1])
    assert "<b>" not in html and "&lt;b&gt;" in html and 'class="span"' in html


@pytest.mark.parametrize("exclusive", [True, False])
def test_labels_of_spans_are_explained_and_so_are_errors(encoder_config, exclusive):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": encoder_config()}
    config = {"model": model, "spans_key": "claims", "exclusive": exclusive, "head_init": "probe"}
    nlp.add_pipe("reprtune_span_classifier", name="claims", config=config)
    texts = {"a lovely film .": "GOOD", "a dull film .": "BAD"}
    docs = [nlp.get_pipe("sentencizer")(nlp.make_doc(f"{a} {b}")) for a in texts for b in texts]
    for doc in docs:
        spans = [Span(doc, s.start, s.end, label=texts[s.text]) for s in doc.sents]
        doc.spans["claims"] = spans
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    doc = nlp("a lovely film . a dull film .")
    found = explain(nlp, doc)
    assert [(e.span, e.label) for e in found] == [((0, 4), "GOOD"), ((4, 8), "BAD")]
    scores = doc.spans["claims"].attrs["scores"]
    for explanation, score in zip(found, scores, strict=True):
        assert explanation.score == pytest.approx(score)
        inside = explanation.contributions[slice(*explanation.span)]
        assert inside.argmax() == 1 and inside[1] > 0
    assert not explain_errors(nlp, docs)
    wrong = docs[1].copy()
    wrong.spans["claims"] = [Span(wrong, 0, 4, label="BAD")]
    (error,) = explain_errors(nlp, [wrong])
    assert error["span"] == [0, 4] and error["label"] == "GOOD" and error["gold"] == "BAD"
    # Spans that nothing sets are those of the gold docs, as in an evaluation.
    nlp.remove_pipe("sentencizer")
    nlp.get_pipe("claims").spans = "given"
    assert explain_errors(nlp, [wrong]) == [error]
