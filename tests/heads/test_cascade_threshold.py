"""The threshold of a cascade."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune.heads.cascade import fit_threshold


def one_hot(right):
    """Decisions between two labels of which the first is right."""
    right = numpy.asarray(right, dtype="f")
    return numpy.stack([right, 1 - right], 1)


def fit(certainty, small, large, keep):
    gold = one_hot(numpy.ones(len(small)))
    known = numpy.ones_like(gold)
    certainty = numpy.asarray(certainty, dtype="f")
    return fit_threshold(certainty, one_hot(small), one_hot(large), gold, known, keep=keep)


def test_the_small_one_answers_up_to_its_first_costly_mistake():
    # Sure and right six times, then wrong where the large one is right.
    certainty = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.55, 0.51]
    found = fit(certainty, [1, 1, 1, 1, 1, 1, 0, 1, 1, 0], [1] * 10, keep=0.99)
    assert found.early == 0.6 and found.kept == 1.0
    assert 0.7 < found.threshold < 0.75
    assert fit(certainty, [1, 1, 1, 1, 1, 1, 0, 1, 1, 0], [1] * 10, keep=0.9).early == 0.9


def test_a_small_one_that_is_as_good_answers_everything():
    assert fit([0.9, 0.6, 0.7], [1, 0, 1], [1, 0, 1], keep=1.0) == (0.0, 1.0, 1.0)


def test_a_small_one_that_is_wrong_where_it_is_sure_answers_nothing():
    assert fit([0.9, 0.6, 0.7], [0, 1, 1], [1, 1, 1], keep=0.99).threshold is None


def test_texts_of_the_same_certainty_are_answered_by_the_same_one():
    found = fit([0.9, 0.9, 0.8, 0.8], [1, 1, 1, 0], [1, 1, 1, 1], keep=0.99)
    assert found.early == 0.5 and found.threshold == pytest.approx(0.85)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_what_is_reported_is_what_the_threshold_does(rows, keep):
    certainty, small, large = (numpy.array(column) for column in zip(*rows, strict=True))
    found = fit(certainty / 10, small, large, keep)
    early = certainty / 10 >= (2.0 if found.threshold is None else found.threshold)
    assert early.mean() == pytest.approx(found.early)
    if large.any():
        score = numpy.where(early, small, large).mean() / large.mean()
        assert score == pytest.approx(found.kept)
        assert score >= keep - 1e-9
