"""A batch that is started ahead of time has the output that it would have had in its turn."""

from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
from conftest import make_examples

from spacy_reprtune.bridge import ahead as module_under_test

TEXTS = ["a great film", "dull and cold", "", "an awful film", "lovely and warm"]


@pytest.fixture
def behind(monkeypatch):
    """As on a CUDA device, which computes while the host goes on."""
    monkeypatch.setattr(module_under_test, "runs_behind", lambda device: True)


@pytest.fixture(scope="module")
def textcat(model_config):
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    examples = make_examples(nlp)
    nlp.optimizer = nlp.initialize(lambda: examples)
    return nlp


@pytest.fixture
def passes(textcat, monkeypatch):
    """The number of texts of each pass of the module."""
    module, seen = textcat.get_pipe("textcat").head, []
    forward = module.forward
    monkeypatch.setattr(module, "forward", lambda texts: seen.append(len(texts)) or forward(texts))
    return seen


def cats(docs):
    return [list(doc.cats.values()) for doc in docs]


def test_a_stream_is_predicted_once_and_as_text_by_text(behind, textcat, passes):
    expected = cats(map(textcat, TEXTS))
    del passes[:]
    found = cats(textcat.pipe(TEXTS, batch_size=2))
    numpy.testing.assert_allclose(found, expected, atol=1e-6)
    assert passes == [2, 2, 1]


def test_the_next_batch_is_started_before_a_doc_is_handed_on(behind, textcat, passes):
    stream = textcat.pipe(TEXTS, batch_size=2)
    next(stream)
    assert passes == [2, 2]
    stream.close()
    assert not textcat.get_pipe("textcat").shim.ahead._started


def test_on_a_cpu_nothing_is_started(textcat, passes):
    next(textcat.pipe(TEXTS, batch_size=2))
    assert passes == [2]


def test_another_prediction_in_between_gets_its_own_output(behind, textcat):
    expected = cats(map(textcat, TEXTS))
    for k, doc in enumerate(textcat.pipe(TEXTS, batch_size=2)):
        other = textcat(TEXTS[-1 - k])
        numpy.testing.assert_allclose(
            cats([doc, other]), [expected[k], expected[-1 - k]], atol=1e-6
        )


def test_another_thread_predicts_while_a_batch_is_started(behind, textcat, monkeypatch):
    expected = cats(map(textcat, TEXTS))
    module, others = textcat.get_pipe("textcat").head, []
    forward = module.forward

    def meanwhile(texts):
        if len(texts) == 2:
            others.extend(other.map(textcat, TEXTS[-1:]))
        return forward(texts)

    monkeypatch.setattr(module, "forward", meanwhile)
    with ThreadPoolExecutor(1) as other:
        found = cats(textcat.pipe(TEXTS, batch_size=2))
    numpy.testing.assert_allclose(found, expected, atol=1e-6)
    numpy.testing.assert_allclose(cats(others), expected[-1:] * 2, atol=1e-6)


def test_changed_weights_are_used_for_what_was_started_with_others(behind, textcat):
    head = textcat.get_pipe("textcat").head
    stream = textcat.pipe(TEXTS[:2], batch_size=1)
    next(stream)
    weight, bias = numpy.zeros((2, 16), dtype="f"), numpy.array([9.0, 0.0], dtype="f")
    head.set_output(weight, bias)
    assert max(next(stream).cats.values()) > 0.99


def test_docs_that_a_stream_gave_before_it_failed_are_annotated(behind, textcat):
    def texts():
        yield from TEXTS[:2]
        raise OSError("the disk is gone")

    stream = textcat.pipe(texts(), batch_size=1)
    assert len(next(stream).cats) == 2
    assert len(next(stream).cats) == 2
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_a_batch_that_fails_is_handled_in_its_turn(behind, textcat, monkeypatch):
    head, failed = textcat.get_pipe("textcat").head, []
    forward = head.forward

    def fails(texts):
        if "dull and cold" in texts:
            raise RuntimeError("out of memory")
        return forward(texts)

    monkeypatch.setattr(head, "forward", fails)
    pipe = textcat.get_pipe("textcat")
    pipe.set_error_handler(lambda name, proc, docs, error: failed.extend(d.text for d in docs))
    found = [doc.text for doc in textcat.pipe(TEXTS, batch_size=1)]
    assert failed == ["dull and cold"] and found == [t for t in TEXTS if t not in failed]


def test_entities_are_those_of_one_doc_at_a_time(behind, ner):
    texts = [eg.reference.text for eg in ner.examples]
    for _ in range(20):
        ner.update(ner.examples, sgd=ner.optimizer)
    expected = [[(e.start, e.end, e.label_) for e in ner(text).ents] for text in texts]
    found = [
        [(e.start, e.end, e.label_) for e in doc.ents] for doc in ner.pipe(texts, batch_size=2)
    ]
    assert found == expected and any(found)
