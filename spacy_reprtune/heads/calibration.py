"""Calibrate probabilities with one temperature, fitted on held-out data.

Dividing logits by a temperature keeps their order, so predictions stay the same (Guo et al. 2017,
On Calibration of Modern Neural Networks, section 4.2).
"""

import math
from typing import Callable

import numpy
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
# Tolerance of log(temperature): the third digit of a temperature hardly changes a probability.
TOLERANCE = 0.002
BINS = 15


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Find the temperature with the lowest loss.

    loss (Callable[[float], float]): Negative log-likelihood of the gold values at a temperature;
        it has one minimum.
    RETURNS (float): The temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: loss(math.exp(log)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    return math.exp(found.x)


def binary_log_loss(probabilities: NDArray, correct: NDArray) -> float:
    """Compute the log loss of the probabilities that predictions are right.

    probabilities (ndarray): Shape (n,).
    correct (ndarray): Whether each prediction was right, shape (n,).
    RETURNS (float): The mean loss. Targets are smoothed as if there were one more right and one
        more wrong prediction, so that a few predictions that are all right do not lead to certainty
        (Platt 1999, section 2.2).
    """
    right = numpy.asarray(correct, dtype=bool)
    n_right = int(right.sum())
    target = numpy.where(right, (n_right + 1) / (n_right + 2), 1 / (len(right) - n_right + 2))
    safe = numpy.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-(target * numpy.log(safe) + (1 - target) * numpy.log1p(-safe)).mean())


def calibration_error(confidence: NDArray, correct: NDArray) -> float:
    """Compute the expected calibration error: the mean gap between confidence and accuracy, over 15
    bins of equal width (Naeini et al. 2015).

    confidence (ndarray): Probability of each prediction, shape (n,).
    correct (ndarray): Whether it was right, shape (n,).
    RETURNS (float): Between 0 and 1; 0.0 if there are no predictions.
    """
    if not len(confidence):
        return 0.0
    which = numpy.minimum((numpy.asarray(confidence) * BINS).astype(numpy.int64), BINS - 1)
    gap = numpy.bincount(which, numpy.asarray(confidence) - numpy.asarray(correct), BINS)
    return float(numpy.abs(gap).sum() / len(confidence))
