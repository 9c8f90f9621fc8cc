import numpy
import pytest

from spacy_reprtune.heads.calibration import (
    binary_log_loss,
    calibration_error,
    fit_temperature,
)


def test_the_temperature_of_the_lowest_loss_is_found():
    for best in (0.06, 0.5, 1.0, 3.0, 19.0):
        found = fit_temperature(lambda t, best=best: abs(numpy.log(t / best)))
        assert found == pytest.approx(best, rel=0.002)
    assert fit_temperature(lambda t: t) == pytest.approx(0.05, rel=0.002)
    assert fit_temperature(lambda t: -t) == pytest.approx(20.0, rel=0.002)


def test_logits_that_are_three_times_too_large_are_found_out():
    random = numpy.random.default_rng(0)
    logits = random.normal(size=20_000) * 2
    correct = random.random(len(logits)) < 1 / (1 + numpy.exp(-logits))

    def probability(temperature):
        return 1 / (1 + numpy.exp(-3 * logits / temperature))

    found = fit_temperature(lambda t: binary_log_loss(probability(t), correct))
    assert found == pytest.approx(3.0, rel=0.05)
    before = calibration_error(probability(1.0), correct)
    assert calibration_error(probability(found), correct) < 0.02 < 0.08 < before


def test_a_few_predictions_that_are_all_right_do_not_ask_for_certainty():
    correct = numpy.ones(5, dtype=bool)
    losses = [binary_log_loss(numpy.full(5, p), correct) for p in (0.5, 6 / 7, 0.999999)]
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = numpy.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    correct = numpy.array([1, 1, 1, 0, 1, 0, 1, 0])
    # Bins of a fifteenth: one holds 0.95 and 1.0, one 0.55, one 0.
    expected = (abs(0.95 * 4 + 1.0 - 4) + abs(1.1 - 1) + 0.0) / 8
    assert calibration_error(confidence, correct) == pytest.approx(expected)
    assert calibration_error(numpy.zeros(0), numpy.zeros(0)) == 0.0
