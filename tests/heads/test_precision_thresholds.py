import math

import numpy
import pytest
from scipy.stats import beta

from spacy_reprtune.heads.thresholds import CONFIDENCE, fit_threshold


def sample(n, seed=0):
    """Predictions whose precision falls from 1 to a half with the score."""
    rng = numpy.random.default_rng(seed)
    scores = rng.random(n)
    return scores, rng.random(n) < 0.5 + scores / 2


def precision_from(threshold):
    """What the precision of `sample` really is from a threshold on."""
    return 0.5 + (1.0 + threshold) / 4


def test_the_promise_is_kept_in_at_least_95_of_100_draws():
    fits = [fit_threshold(*sample(400, seed), precision=0.85) for seed in range(200)]
    given = [fit.threshold for fit in fits if fit.threshold is not None]
    assert len(given) > 150
    broken = sum(precision_from(threshold) < 0.85 for threshold in given)
    assert broken <= (1.0 - CONFIDENCE) * len(fits)


def test_scores_that_say_nothing_get_no_threshold_in_most_draws():
    # All predictions are right as often as is just not enough.
    rng = numpy.random.default_rng(1)
    draws = [(rng.random(300), rng.random(300) < 0.899) for _ in range(200)]
    wrong = sum(fit_threshold(*draw, precision=0.9).threshold is not None for draw in draws)
    assert wrong <= (1.0 - CONFIDENCE) * len(draws)


def test_more_data_keeps_more_and_a_higher_precision_keeps_less():
    few, many = (fit_threshold(*sample(n), precision=0.85) for n in (400, 20_000))
    assert few.n_kept / few.n_all < many.n_kept / many.n_all < 0.61
    strict = fit_threshold(*sample(20_000), precision=0.95)
    assert strict.threshold > many.threshold
    assert strict.n_right / strict.n_kept > 0.95


def test_the_bound_is_that_of_clopper_and_pearson():
    scores, right = sample(2_000)
    fit = fit_threshold(scores, right, precision=0.85)
    kept = scores >= fit.threshold
    assert (kept.sum(), right[kept].sum()) == (fit.n_kept, fit.n_right)
    bound = beta.ppf(1 - CONFIDENCE, fit.n_right, fit.n_kept - fit.n_right + 1)
    assert 0.85 <= bound < fit.n_right / fit.n_kept


def test_where_everything_is_right_the_rule_of_three_decides():
    smallest = math.ceil(math.log(1 - CONFIDENCE) / math.log(0.95))
    enough, fewer = (
        fit_threshold(numpy.linspace(0.5, 1.0, n), numpy.ones(n), precision=0.95)
        for n in (smallest, smallest - 1)
    )
    assert enough.threshold == 0.0 and enough.n_kept == smallest == 59
    assert fewer.threshold is None and fewer.needed == 59


def test_predictions_of_one_score_are_kept_together():
    scores = numpy.repeat([0.9, 0.4], 200)
    right = numpy.concatenate([numpy.ones(200), numpy.zeros(200)])
    fit = fit_threshold(scores, right, precision=0.95)
    assert fit.n_kept == 200 and 0.4 < fit.threshold <= 0.9
    assert fit_threshold(numpy.full(400, 0.9), right, precision=0.95).threshold is None


def test_a_label_without_a_threshold_says_what_it_would_take():
    scores, right = numpy.linspace(0, 1, 100), numpy.arange(100) % 12 > 0
    fit = fit_threshold(scores, right, precision=0.9)
    assert fit.threshold is None and fit.n_right / fit.n_kept > 0.9
    again = numpy.tile(right[-fit.n_kept :], math.ceil(2 * fit.needed / fit.n_kept))
    assert fit_threshold(numpy.linspace(0, 1, len(again)), again, precision=0.9).threshold == 0.0
    assert fit_threshold(scores, numpy.arange(100) % 2, precision=0.9).needed is None


def test_nothing_is_fitted_to_no_prediction():
    fit = fit_threshold(numpy.zeros(0), numpy.zeros(0), precision=0.9)
    assert (fit.threshold, fit.n_all, fit.needed) == (None, 0, 29)


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_a_precision_out_of_range_is_named(precision):
    with pytest.raises(ValueError, match=f"precision = {precision}"):
        fit_threshold(*sample(100), precision=precision)
