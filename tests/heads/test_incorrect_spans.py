"""The loss of spans that are known not to be entities."""

import itertools

import numpy
import pytest

from spacy_reprtune.heads.incorrect_spans import IncorrectSpan, incorrect_spans_loss
from spacy_reprtune.heads.losses import softmax
from spacy_reprtune.heads.tags import TagScheme

SPANS = [
    IncorrectSpan(numpy.array([1, 2]), 3, [0]),
    IncorrectSpan(numpy.array([3]), -1, [0, 1]),
    IncorrectSpan(numpy.array([0, 1, 2, 3]), -1, [1]),
]


def logits_of(scheme, seed=0):
    return numpy.random.default_rng(seed).normal(size=(4, len(scheme)))


@pytest.mark.parametrize("scheme", ["bilou", "bio"])
@pytest.mark.parametrize("span", SPANS)
def test_the_loss_is_that_of_all_tags_of_which_the_span_is_not_an_entity(scheme, span):
    scheme = TagScheme(["A", "B"], scheme)
    logits = logits_of(scheme)
    p = softmax(logits)
    mass = 0.0
    for tags in itertools.product(range(len(scheme)), repeat=4):
        hits = [
            all(tags[row] == own for row, own in zip(span.rows, wanted, strict=True))
            and (
                scheme.scheme == "bilou"
                or span.after < 0
                or not (scheme.continues[tags[3]] and scheme.label_of[tags[3]] == label)
            )
            for label in span.labels
            for wanted in [scheme.tags([(0, len(span.rows), label)], len(span.rows))]
        ]
        if not any(hits):
            mass += numpy.prod(p[numpy.arange(4), list(tags)])
    loss, _ = incorrect_spans_loss(logits, [span], scheme)
    assert loss == pytest.approx(-numpy.log(mass))


@pytest.mark.parametrize("scheme", ["bilou", "bio"])
def test_the_gradient_is_that_of_the_loss(scheme):
    scheme = TagScheme(["A", "B"], scheme)
    logits = logits_of(scheme, 1)
    _, gradient = incorrect_spans_loss(logits, SPANS, scheme)
    for cell in numpy.ndindex(logits.shape):
        step = numpy.zeros_like(logits)
        step[cell] = 1e-5
        above, below = (incorrect_spans_loss(logits + s, SPANS, scheme)[0] for s in (step, -step))
        assert gradient[cell] == pytest.approx((above - below) / 2e-5, abs=1e-6)


def test_a_span_that_is_certain_gives_a_finite_gradient():
    scheme = TagScheme(["A", "B"], "bilou")
    logits = numpy.zeros((4, len(scheme)))
    logits[numpy.arange(4), scheme.tags([(1, 3, 0)], 4)] = 500.0
    loss, gradient = incorrect_spans_loss(logits, SPANS[:1], scheme)
    assert numpy.isfinite(loss) and numpy.isfinite(gradient).all()
