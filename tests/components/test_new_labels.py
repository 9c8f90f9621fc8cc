"""Labels that are added to a trained component: the head grows."""

import numpy
import pytest
import spacy
from conftest import make_entity_examples, make_examples
from spacy.training import Example

TEXT = "a great film"


def heads(pipe):
    return pipe.head.output.weight.detach().numpy(), pipe.head.output.bias.detach().numpy()


@pytest.mark.parametrize("factory", ["reprtune_textcat", "reprtune_textcat_multilabel"])
def test_a_loaded_text_classifier_learns_a_label_that_is_added(
    factory, nlp, model_config, tmp_path
):
    config = {"model": model_config(), "class_weights": "balanced"}
    nlp.add_pipe(factory, name="textcat", config=config)
    nlp.initialize(lambda: make_examples(nlp)).learn_rate = 0.01
    before = nlp(TEXT).cats
    nlp.to_disk(tmp_path / "before")
    again = spacy.load(tmp_path / "before")
    pipe = again.get_pipe("textcat")
    old_weight, old_bias = (rows.copy() for rows in heads(pipe))
    assert (pipe.add_label("LATE"), pipe.add_label("LATE")) == (1, 0)
    weight, bias = heads(pipe)
    assert (weight[:2] == old_weight).all() and (bias[:2] == old_bias).all()
    cats = again(TEXT).cats
    assert cats["LATE"] < 0.05
    assert all(abs(cats[label] - before[label]) < 0.05 for label in before)
    late = {label: float(label == "LATE") for label in pipe.labels}
    examples = [Example.from_dict(again.make_doc("music music"), {"cats": late})]
    optimizer = again.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(40):
        again.update(examples, sgd=optimizer)
    assert again("music music").cats["LATE"] > 0.9
    again.to_disk(tmp_path / "after")
    assert spacy.load(tmp_path / "after")("music music").cats == again("music music").cats


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("labels", [["ACTOR"], ["ACTOR", "MUSIC"]])
def test_a_recognizer_scores_the_tags_of_earlier_labels_as_before(
    labels, learned, shared, nlp, token_config
):
    config = {
        "model": token_config(learned_transitions=learned),
        "shared_positions": shared,
    }
    pipe = nlp.add_pipe("reprtune_ner", name="ner", config=config)
    nlp.config["initialize"]["components"]["ner"] = {"labels": labels}
    examples = make_entity_examples(nlp)
    examples = [eg for eg in examples if pipe.gold_labels([eg]) <= set(labels)]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 1e-4
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)

    def logits():
        scores = pipe.model.predict([eg.reference for eg in examples])
        return pipe.tags.logits(scores.logits), pipe._transitions(scores)

    before, transitions = logits()
    pipe.add_label("LATE")
    after, grown = logits()
    n_tags = before.shape[1]
    numpy.testing.assert_allclose(after[:, :n_tags], before, rtol=1e-5, atol=1e-6)
    assert after.shape[1] == len(pipe.tags) == n_tags + 4
    if learned:
        numpy.testing.assert_allclose(grown[:n_tags, :n_tags], transitions, atol=1e-7)


def test_a_loaded_recognizer_learns_a_label_that_is_added(ner, tmp_path):
    for _ in range(40):
        ner.update(ner.examples, sgd=ner.optimizer)
    before = [(ent.text, ent.label_) for ent in ner(ner.examples[0].text).ents]
    ner.to_disk(tmp_path / "before")
    again = spacy.load(tmp_path / "before")
    again.get_pipe("ner").add_label("LATE")
    assert [(ent.text, ent.label_) for ent in again(ner.examples[0].text).ents] == before
    new = Example.from_dict(again.make_doc("this film is cold"), {"entities": [(5, 9, "LATE")]})
    optimizer = again.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(60):
        again.update([new, *make_entity_examples(again)], sgd=optimizer)
    assert [(ent.text, ent.label_) for ent in again("this film is cold").ents] == [("film", "LATE")]
    again.to_disk(tmp_path / "after")
    doc = spacy.load(tmp_path / "after")("this film is cold")
    assert [ent.label_ for ent in doc.ents] == ["LATE"]


def test_a_head_that_listens_grows_as_well(nlp, encoder_config):
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder_config()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": listener}
    pipe = nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 1e-4
    nlp.update(examples, sgd=optimizer)
    pipe.add_label("LATE")
    nlp.update(examples, sgd=optimizer)
    assert set(nlp(TEXT).cats) == {"GOOD", "BAD", "LATE"}
    copy = spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert copy(TEXT).cats == nlp(TEXT).cats


def test_a_head_that_is_fitted_to_few_texts_asks_for_texts_of_a_new_label(nlp, sentence_config):
    pipe = nlp.add_pipe("reprtune_setfit", config={"model": sentence_config()})
    nlp.initialize(lambda: make_examples(nlp))
    with pytest.raises(ValueError, match="'LATE'.*initialize it again"):
        pipe.add_label("LATE")
    assert "LATE" not in pipe.labels


@pytest.mark.parametrize("fixture", ["textcat", "ner"])
def test_an_error_that_is_handled_gives_the_doc_back(fixture, request):
    nlp = request.getfixturevalue(fixture)
    pipe = nlp.get_pipe(fixture)
    failed = []
    pipe.predict = None
    nlp.set_error_handler(lambda name, proc, docs, error: failed.append((name, docs[0].text)))
    assert nlp("a film").text == "a film"
    assert failed == [(fixture, "a film")]
    assert list(nlp.pipe(["a film"])) == []
