import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_metrics import cats_predictions, ents_predictions, plain_scores

from spacy_reprtune.reporting import bootstrap
from spacy_reprtune.reporting.bootstrap import _auc, _draws, label_f, macro_auc, macro_f, micro_f
from spacy_reprtune.reporting.counts import Counts, count_cats, count_ents
from spacy_reprtune.reporting.predictions import CatsRow, Predictions, Row


def test_scores_of_the_documents_as_they_are_are_those_of_the_file():
    predictions = cats_predictions(0.7)
    scores, counts = plain_scores(predictions), count_cats(predictions)
    n_docs = len(predictions.rows)
    for statistic, expected in (
        (macro_f(counts), scores["cats_macro_f"]),
        (micro_f(counts), scores["cats_micro_f"]),
        (label_f(counts, "FAIR"), scores["cats_f_per_type"]["FAIR"]["f"]),
    ):
        sampled = bootstrap.bootstrap(n_docs, statistic)
        assert sampled.value == pytest.approx(expected, abs=1e-6)
        low, high = sampled.interval
        assert low < sampled.value < high
    counts = count_ents(ents_predictions())
    sampled = bootstrap.bootstrap(40, micro_f(counts))
    assert sampled.value == pytest.approx(plain_scores(ents_predictions())["ents_f"], abs=1e-6)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution():
    """For a share of independent documents the exact answer is known."""
    n_docs, share = 400, 0.8
    true = (numpy.arange(n_docs) < share * n_docs).astype("i")[:, None]
    counts = Counts(["A"], true, 1 - true, 1 - true)
    low, high = bootstrap.bootstrap(n_docs, micro_f(counts)).interval
    half = 1.96 * (share * (1 - share) / n_docs) ** 0.5
    assert low == pytest.approx(share - half, abs=0.006)
    assert high == pytest.approx(share + half, abs=0.006)


def test_draws_have_as_many_documents_as_there_are_and_repeat():
    first, second = (numpy.concatenate(list(_draws(50))) for _ in range(2))
    assert first.shape == (bootstrap.RESAMPLES, 50)
    assert (first.sum(1) == 50).all() and (first == second).all()


def test_a_label_that_is_nowhere_counts_as_zero_and_one_that_was_not_drawn_is_left_out():
    ones = numpy.array([[1, 0, 0], [0, 1, 0]], dtype="i")
    counts = Counts(["A", "B", "NOWHERE"], ones, 0 * ones, 0 * ones)
    weights = numpy.array([[1, 1], [2, 0]], dtype="f")
    assert macro_f(counts).score(weights).tolist() == pytest.approx([2 / 3, 1 / 2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans(), st.integers(0, 3)),
        min_size=2,
        max_size=20,
    )
)
def test_weighted_areas_are_those_of_scikit_learn(drawn):
    from sklearn.metrics import roc_auc_score

    scores, gold, weights = (numpy.array(column) for column in zip(*drawn, strict=True))
    repeated = numpy.repeat(numpy.arange(len(gold)), weights)
    area = _auc(scores, gold.astype(float), weights[None].astype("f"))[0]
    if len(set(gold[repeated].tolist())) == 2:
        assert area == pytest.approx(roc_auc_score(gold[repeated], scores[repeated]))
    else:
        assert numpy.isnan(area)


def test_values_that_are_not_known_are_no_part_of_an_area():
    rows = [
        Row("a", CatsRow([1.0, None], [0.9, 0.1])),
        Row("b", CatsRow([0.0, 1.0], [0.2, 0.8])),
        Row("c", CatsRow([None, 0.0], [1.0, 0.9])),
    ]
    statistic = macro_auc(Predictions(["A", "B"], False, 0.5, {}, rows))
    assert statistic.score(numpy.ones((1, 3), dtype="f")).tolist() == [0.5]


def test_a_label_without_yes_and_no_in_a_sample_is_no_part_of_its_mean_area():
    """A is drawn with yes and no in the first sample only, B in both; C has no yes anywhere."""
    rows = [
        Row("a", CatsRow([1.0, 1.0, 0.0], [0.9, 0.8, 0.1])),
        Row("b", CatsRow([0.0, 1.0, 0.0], [0.2, 0.7, 0.1])),
        Row("c", CatsRow([0.0, 0.0, 0.0], [0.1, 0.1, 0.1])),
    ]
    weights = numpy.array([[1, 1, 1], [0, 2, 1], [0, 3, 0]], dtype="f")
    both = macro_auc(Predictions(["A", "B"], False, 0.5, {}, [_first(row, 2) for row in rows]))
    numpy.testing.assert_allclose(both.score(weights), [1, 1, numpy.nan])
    with_c = macro_auc(Predictions(["A", "B", "C"], False, 0.5, {}, rows))
    numpy.testing.assert_allclose(with_c.score(weights), [1, 1, numpy.nan])
    only_c = Predictions(["C"], False, 0.5, {}, [Row("c", CatsRow([0.0], [0.1]))])
    assert bootstrap.bootstrap(1, macro_auc(only_c)).interval is None


def _first(row, n_labels):
    return Row(row.text, CatsRow(row.cats.gold[:n_labels], row.cats.scores[:n_labels]))


def test_f_of_a_label_that_was_not_drawn_is_not_known_and_no_part_of_the_interval():
    ones = numpy.zeros((20, 2), dtype="i")
    ones[0, 0] = 1
    counts = Counts(["RARE", "NOWHERE"], ones, 0 * ones, 0 * ones)
    weights = numpy.ones((2, 20), dtype="f")
    weights[1, 0] = 0
    numpy.testing.assert_allclose(label_f(counts, "RARE").score(weights), [1, numpy.nan])
    assert label_f(counts, "NOWHERE").score(weights).tolist() == [0, 0]
    # Once right of once, and never seen.
    rare = bootstrap.bootstrap(20, label_f(counts, "RARE"))
    assert rare.value == 1.0 and rare.interval == pytest.approx((0.207, 1.0), abs=1e-3)
    nowhere = bootstrap.bootstrap(20, label_f(counts, "NOWHERE"))
    assert nowhere.value == 0.0 and nowhere.interval == (0.0, 1.0)


def test_a_perfect_score_has_an_interval_with_a_width():
    """48 of 48: Wilson's interval, where every bootstrap sample has the score 1."""
    true = numpy.eye(2, dtype="i")[numpy.arange(48) % 2]
    counts = Counts(["A", "B"], true, 0 * true, 0 * true)
    for statistic in (micro_f(counts), macro_f(counts)):
        interval = bootstrap.bootstrap(48, statistic).interval
        assert interval == pytest.approx((0.926, 1.0), abs=5e-4)
    # 24 documents tell about one of the labels.
    low, high = bootstrap.bootstrap(48, label_f(counts, "A")).interval
    assert (low, high) == pytest.approx((0.862, 1.0), abs=5e-4)
    nothing = Counts(["A", "B"], 0 * true, true, true)
    interval = bootstrap.bootstrap(48, micro_f(nothing)).interval
    assert interval == pytest.approx((0.0, 0.074), abs=5e-4)
