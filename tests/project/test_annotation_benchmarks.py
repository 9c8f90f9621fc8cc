"""The parts of the benchmarks of annotation help, on made-up vectors and a tiny encoder."""

import inspect
import random

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span

from benchmarks import annotation_help, common, docstring_sections, explanations, span_classifier
from benchmarks.data import LABELS, Texts


def groups(n, seed=0):
    rng = numpy.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    return (3 * numpy.eye(8)[classes] + rng.normal(size=(n, 8))).astype("f"), classes


@pytest.mark.parametrize("kind", ["random", "pair"])
def test_planted_labels_are_counted(kind):
    vectors, classes = groups(300)
    texts = [f"text {i}" for i in range(300)]
    found = annotation_help.planted_labels(vectors, texts, classes, list("ABC"), kind, 0.1, 0)
    assert 0.5 <= found <= 1.0


def test_so_many_entities_are_planted_as_were_asked_for():
    vocab = spacy.blank("en").vocab
    docs = []
    for _ in range(40):
        doc = Doc(vocab, words="a b c d e f".split())
        doc.set_ents([Span(doc, 1, 2, label="X"), Span(doc, 3, 5, label="Y")])
        docs.append(doc)
    before = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]
    planted = annotation_help.plant(docs, random.Random(0), share=0.25)
    changed = {
        i
        for i, doc in enumerate(docs)
        if [(e.start, e.end, e.label_) for e in doc.ents] != before[i]
    }
    assert len(planted) == 20 and {i for i, *_ in planted} == changed


@pytest.mark.parametrize("how", ["random", "margin", "next"])
def test_a_simulation_ends_when_the_head_is_good_enough(how):
    needed = annotation_help.simulate(groups(400), groups(100, seed=1), how, 0)["texts"]
    assert annotation_help.ROUND <= needed < 400


@pytest.fixture
def tiny(tiny_encoder, monkeypatch):
    for module in (common, explanations.common, span_classifier.common):
        monkeypatch.setattr(module, "ENCODER", str(tiny_encoder))


def test_the_peers_of_explanations_run(tiny):
    texts = Texts(["a great film", "a dull plot"] * 8, ["positive", "negative"] * 8)
    nlp = explanations.classifier(texts)
    doc = nlp("a great film")
    assert set(doc.cats) == {"positive", "negative"}
    weights = explanations.Attention()(doc)
    assert weights.shape == (3,) and 0 < weights.sum() < 1


@pytest.mark.parametrize("system", span_classifier.SYSTEMS)
def test_each_system_labels_each_sentence(tiny, system):
    docs = [[("a great film .", "positive"), ("a dull plot .", "negative")] * 6] * 2
    find = span_classifier.trained(system, docs, LABELS, 2, 0, 1e-4)
    labels = find(docs)
    assert len(labels) == 24 and set(labels) <= {"positive", "negative"}
    gold = [label for doc in docs for _, label in doc]
    assert 0.0 <= span_classifier.macro_f(labels, gold, LABELS) <= 1.0


def test_paragraphs_of_a_docstring_have_the_label_of_their_section():
    docstring = """Add two numbers.

    Longer than it has to be.

    Parameters
    ----------
    a : float
        The first of the two numbers.

    Returns
    -------
    total : float
        What both of them make together.

    Examples
    --------
    >>> add(1, 2)
    """
    assert list(docstring_sections._paragraphs(inspect.cleandoc(docstring))) == [
        ("Add two numbers.", "description"),
        ("Longer than it has to be.", "description"),
        ("The first of the two numbers.", "parameters"),
        ("What both of them make together.", "returns"),
    ]
