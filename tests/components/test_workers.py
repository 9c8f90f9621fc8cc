"""Components reach the workers of `nlp.pipe`, also where these are not forked (Windows, macOS)."""

import pickle

import pytest
import spacy
from conftest import make_entity_examples, make_examples


def handed_over(nlp):
    """What a worker gets: the pipes, pickled."""
    nlp._components = [(n, pickle.loads(pickle.dumps(pipe))) for n, pipe in nlp._components]
    return nlp


@pytest.fixture(params=["reprtune_textcat", "reprtune_textcat_multilabel", "reprtune_setfit"])
def classifier(request, nlp, model_config, sentence_config):
    setfit = request.param == "reprtune_setfit"
    config = {"model": sentence_config() if setfit else model_config(hidden_width=4)}
    nlp.add_pipe(request.param, name="textcat", config=config)
    return nlp


@pytest.mark.parametrize("evaluated", [False, True])
def test_text_classifiers_predict_the_same_in_a_worker(classifier, evaluated):
    examples = make_examples(classifier)
    optimizer = classifier.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    classifier.update(examples, sgd=optimizer)
    if evaluated:
        classifier.evaluate(examples)
    before = classifier("a great film").cats
    assert handed_over(classifier)("a great film").cats == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("learned", [False, True])
def test_entity_recognizers_predict_the_same_in_a_worker(nlp, token_config, learned):
    model = token_config(learned_transitions=learned)
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model})
    examples = make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(5):
        nlp.update(examples, sgd=optimizer)
    texts = [eg.reference.text for eg in examples]
    before = [nlp(text).to_json()["ents"] for text in texts]
    again = handed_over(nlp)
    assert [again(text).to_json()["ents"] for text in texts] == before


def test_a_pipeline_without_weights_can_be_handed_over(nlp, model_config):
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    pipe = pickle.loads(pickle.dumps(nlp.get_pipe("textcat")))
    with pytest.raises(ValueError, match="no weights yet"):
        pipe(spacy.blank("xx").make_doc("a film"))
