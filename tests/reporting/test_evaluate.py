import numpy
import pytest
import spacy
import srsly
from conftest import make_entity_examples, make_examples
from spacy.cli.evaluate import evaluate as spacy_evaluate
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.reporting import bootstrap
from spacy_reprtune.reporting.counts import confidence_cats, count_cats, count_ents
from spacy_reprtune.reporting.evaluate import evaluate
from spacy_reprtune.reporting.headline import headline, with_defined_areas
from spacy_reprtune.reporting.predictions import read_predictions


def save(nlp, docs, folder):
    """Write a pipeline and a corpus."""
    nlp.to_disk(folder / "model-best")
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "test.spacy")
    return str(folder / "model-best"), folder / "test.spacy"


def references(examples):
    return [example.reference for example in examples]


def ones(n_docs):
    return numpy.ones((1, n_docs), dtype="f")


def check_equal(model, corpus, tmp_path):
    """Both commands write the same keys and the same numbers but for the time it took."""
    theirs = spacy_evaluate(model, corpus, output=tmp_path / "spacy.json")
    done = CliRunner().invoke(
        reprtune_cli, ["evaluate", model, str(corpus), "--output", str(tmp_path / "ours.json")]
    )
    assert done.exit_code == 0, done.output
    ours, written = (srsly.read_json(tmp_path / f"{name}.json") for name in ("ours", "spacy"))
    run = ours.pop("run")
    assert list(ours) == list(written) == list(theirs)
    assert ours.pop("speed") > 0 and written.pop("speed") > 0
    assert ours == written
    assert run["docs"] > 0 and run["docs_per_second"] > 0 and run["model_mb"] > 0
    return ours, read_predictions(tmp_path / "ours.predictions.jsonl.gz")


def train(nlp, steps=20):
    for _ in range(steps):
        nlp.update(nlp.examples, sgd=nlp.optimizer)


def test_labels_are_scored_as_spacy_does_and_their_predictions_give_the_scores(textcat, tmp_path):
    train(textcat, 3)
    blank = spacy.blank("xx")
    unknown = blank.make_doc("nothing is known of this film")
    model, corpus = save(textcat, [*references(make_examples(blank)), unknown], tmp_path)
    scores, predictions = check_equal(model, corpus, tmp_path)
    assert predictions.exclusive and predictions.labels == ["BAD", "GOOD"]
    assert predictions.rows[-1].cats is None and len(predictions.rows) == 9
    counts = count_cats(predictions)
    assert bootstrap.macro_f(counts).score(ones(8))[0] == pytest.approx(scores["cats_macro_f"])
    assert bootstrap.micro_f(counts).score(ones(8))[0] == pytest.approx(scores["cats_micro_f"])
    from spacy_reprtune.heads.calibration import calibration_error

    error = calibration_error(*map(numpy.array, confidence_cats(predictions)))
    assert error == pytest.approx(scores["cats_ece"], abs=1e-4)


def test_independent_labels_with_gaps(nlp, model_config, tmp_path):
    nlp.add_pipe("reprtune_textcat_multilabel", config={"model": model_config(), "threshold": 0.4})
    nlp.initialize(lambda: make_examples(nlp))
    examples = make_examples(spacy.blank("xx"))
    for example in examples[:3]:
        del example.reference.cats["BAD"]
    examples[4].reference.cats = {}
    model, corpus = save(nlp, references(examples), tmp_path)
    scores, predictions = check_equal(model, corpus, tmp_path)
    assert not predictions.exclusive and predictions.threshold == 0.4
    assert predictions.rows[4].cats is None
    counts = count_cats(predictions)
    assert bootstrap.macro_f(counts).score(ones(7))[0] == pytest.approx(scores["cats_macro_f"])
    area = bootstrap.macro_auc(predictions).score(ones(7))[0]
    assert area == pytest.approx(scores["cats_macro_auc"])


def test_entities_are_counted_as_spacy_does(ner, tmp_path):
    train(ner, 8)
    blank = spacy.blank("xx")
    docs = references(make_entity_examples(blank))
    docs.append(blank.make_doc("music 1 in a film without annotation"))
    # Gold tokens that the tokenizer cuts elsewhere, and one that nobody annotated.
    odd = Doc(blank.vocab, ["music", "1-", "2", "and", "a", "scene", "of", "bright"])
    odd.set_ents([Span(odd, 0, 3, "MUSIC")], missing=[odd[4:8]])
    model, corpus = save(ner, [*docs, odd], tmp_path)
    scores, predictions = check_equal(model, corpus, tmp_path)
    counts = count_ents(predictions)
    assert predictions.rows[5].ents is None
    assert len(counts.true) == 6
    assert bootstrap.micro_f(counts).score(ones(6))[0] == pytest.approx(scores["ents_f"])
    for label, score in scores["ents_per_type"].items():
        assert bootstrap.label_f(counts, label).score(ones(6))[0] == pytest.approx(score["f"])
    found = [score for row in predictions.rows if row.ents for score in row.ents.scores]
    assert found and all(0 < score <= 1 for score in found)


def test_a_label_without_positives_is_left_out_of_the_mean_area(nlp, model_config, tmp_path):
    nlp.add_pipe("reprtune_textcat_multilabel", config={"model": model_config()})
    nlp.config["training"]["score_weights"] = {"cats_score": 0.0, "cats_macro_f": 1.0}
    nlp.initialize(lambda: make_examples(nlp))
    docs = references(make_examples(spacy.blank("xx")))
    for doc in docs:
        doc.cats["BAD"] = 0.0
    model, corpus = save(nlp, docs, tmp_path)
    scores, predictions = evaluate(model, corpus)
    assert scores["cats_auc_per_type"]["BAD"] is None
    assert scores["cats_macro_auc"] == scores["cats_auc_per_type"]["GOOD"] == scores["cats_score"]
    area = bootstrap.bootstrap(8, bootstrap.macro_auc(predictions))
    assert area.value == pytest.approx(scores["cats_macro_auc"])
    assert headline(scores) == ("macro F", scores["cats_macro_f"])
    # Files of `spacy evaluate` have the mean with a 0 and don't tell what was trained for.
    as_spacy = {**scores, "cats_score": 0.0, "cats_macro_auc": 0.0, "run": {}}
    assert headline(with_defined_areas(as_spacy)) == ("macro AUC", scores["cats_macro_auc"])


def test_stock_pipes_are_scored_and_kept_too(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("textcat")
    nlp.add_pipe("ner")
    examples = [*make_examples(nlp), *make_entity_examples(nlp)]
    nlp.initialize(lambda: examples)
    model, corpus = save(nlp, references(examples), tmp_path)
    _, predictions = check_equal(model, corpus, tmp_path)
    assert predictions.labels and len(predictions.rows) == 13
    assert all(score is None for row in predictions.rows if row.ents for score in row.ents.scores)


def test_old_predictions_never_stay_beside_new_scores(textcat, tmp_path):
    model, corpus = save(textcat, references(make_examples(spacy.blank("xx"))), tmp_path)
    old = tmp_path / "x.predictions.jsonl.gz"
    old.write_bytes(b"old")
    args = ["evaluate", model, str(corpus), "--output", str(tmp_path / "x.json")]
    assert CliRunner().invoke(reprtune_cli, args).exit_code == 0
    assert len(read_predictions(old).rows) == 8


def test_a_folder_of_parts_is_evaluated_as_one_file_is(textcat, tmp_path):
    docs = references(make_examples(spacy.blank("xx")))
    model, corpus = save(textcat, docs, tmp_path)
    parts = tmp_path / "parts.spacy"
    parts.mkdir()
    for k in range(2):
        DocBin(docs=docs[4 * k : 4 * k + 4]).to_disk(parts / f"{k:05}.spacy")
    args = ["evaluate", model, str(parts), "--output", str(tmp_path / "parts.json")]
    done = CliRunner().invoke(reprtune_cli, args)
    assert done.exit_code == 0, done.output
    found = srsly.read_json(tmp_path / "parts.json")
    whole, _ = evaluate(model, corpus)
    assert found["run"]["docs"] == 8
    assert found["cats_macro_f"] == pytest.approx(whole["cats_macro_f"])


def test_an_empty_corpus_is_a_clear_error(textcat, tmp_path):
    model, corpus = save(textcat, [], tmp_path)
    with pytest.raises(ValueError, match="no document to evaluate on"):
        evaluate(model, corpus)
    args = ["evaluate", model, str(corpus), "--output", str(tmp_path / "x.json")]
    assert CliRunner().invoke(reprtune_cli, args).exit_code == 1
    assert not (tmp_path / "x.json").exists()
