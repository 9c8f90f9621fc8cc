"""A linear head that is fitted instead of trained.

It is a logistic regression on the vectors of the unchanged encoder, a convex problem that L-BFGS
solves in seconds: the classic linear probe (Alain & Bengio 2017). It is also a good start for
fine-tuning, because a random head sends large gradients into the encoder and distorts what it knows
(Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features, section 4).
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# scikit-learn's C, the inverse of the regularization, from strong to weak regularization.
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
FOLDS = 3
MAX_ITERATIONS = 300


@dataclass
class Probe:
    """A fitted head.

    weight (ndarray): fp32, shape (n_labels, width).
    bias (ndarray): fp32, shape (n_labels,).
    strength (float): The C that was chosen, for vectors scaled to unit variance.
    score (float): Share of held-out gold values that it gets right, NaN if none were held out.
    """

    weight: NDArray
    bias: NDArray
    strength: float
    score: float


def fit_classes(
    vectors: NDArray,
    classes: NDArray,
    n_labels: int,
    *,
    weights: Optional[Sequence[float]] = None,
    strength: Optional[float] = None,
    scored: bool = False,
) -> Probe:
    """Fit a head with exclusive labels, whose logits go through a softmax.

    vectors (ndarray): fp32, shape (n, width).
    classes (ndarray): The label of each row, shape (n,).
    n_labels (int): Labels of the head. A label without examples gets a low constant logit.
    weights (Optional[Sequence[float]]): Weight of each label, or None for 1.
    strength (Optional[float]): The C to use, or None to choose it on held-out folds.
    scored (bool): Whether to score a given C on held-out folds as well.
    RETURNS (Probe): The head.
    RAISES (ValueError): Fewer than two different labels occur.
    """
    if len(numpy.unique(classes)) < 2:
        raise ValueError(
            "head_init = 'probe' needs annotated examples of at least two labels; set it to "
            "'random', or annotate more."
        )
    sample = None if weights is None else numpy.asarray(weights, dtype="f")[classes]
    scaled, mean, scale = _scale(vectors)
    strength, score = _choose([(scaled, classes, sample)], strength, scored)
    weight, bias = _solve(scaled, classes, sample, strength, n_labels)
    return _unscaled(weight, bias, mean, scale, strength, score)


def fit_independent(
    vectors: NDArray,
    gold: NDArray,
    known: NDArray,
    *,
    weights: Optional[Sequence[float]] = None,
    strength: Optional[float] = None,
    scored: bool = False,
) -> Probe:
    """Fit a head with independent labels, each logit through a sigmoid of its own.

    vectors (ndarray): fp32, shape (n, width).
    gold (ndarray): 0 or 1, shape (n, n_labels).
    known (ndarray): 1 where `gold` is annotated, shape (n, n_labels).
    weights (Optional[Sequence[float]]): Weight of the positive examples of each label.
    strength (Optional[float]): The C to use, or None to choose it on held-out folds.
    scored (bool): Whether to score a given C on held-out folds as well.
    RETURNS (Probe): The head. A label whose examples all have the same value gets a constant logit.
    """
    scaled, mean, scale = _scale(vectors)
    n_labels = gold.shape[1]
    problems = {}
    for label in range(n_labels):
        rows = numpy.flatnonzero(known[:, label])
        values = gold[rows, label].astype(numpy.int64)
        sample = None
        if weights is not None:
            sample = numpy.where(values == 1, weights[label], 1.0)
        if len(numpy.unique(values)) == 2:
            problems[label] = scaled[rows], values, sample
    weight = numpy.zeros((n_labels, vectors.shape[1]), dtype="f")
    # The share of positive examples of each label, smoothed by one positive and one negative one.
    rate = ((gold * known).sum(0) + 1) / (known.sum(0) + 2)
    bias = numpy.log(rate / (1 - rate)).astype("f")
    strength, score = _choose(list(problems.values()), strength, scored)
    for label, (rows, values, sample) in problems.items():
        both_weights, both_biases = _solve(rows, values, sample, strength, 2)
        weight[label] = both_weights[1] - both_weights[0]
        bias[label] = both_biases[1] - both_biases[0]
    return _unscaled(weight, bias, mean, scale, strength, score)


_Problem = Tuple[NDArray, NDArray, Optional[NDArray]]


def _scale(vectors: NDArray) -> Tuple[NDArray, NDArray, float]:
    """Center vectors, and scale them by one number, so that directions keep their proportions."""
    vectors = numpy.asarray(vectors, dtype="f")
    mean = vectors.mean(0)
    centered = vectors - mean
    scale = float(numpy.sqrt((centered**2).mean())) or 1.0
    return centered / scale, mean, scale


def _unscaled(
    weight: NDArray, bias: NDArray, mean: NDArray, scale: float, strength: float, score: float
) -> Probe:
    weight = (weight / scale).astype("f")
    return Probe(weight, (bias - weight @ mean).astype("f"), strength, score)


def _choose(problems: List[_Problem], given: Optional[float], scored: bool) -> Tuple[float, float]:
    """Choose the strength on held-out folds, and compute the share of correct answers there."""
    if given is not None and not scored:
        return given, float("nan")
    strengths = STRENGTHS if given is None else (given,)
    splits = []
    for vectors, classes, sample in problems:
        fold_of = spread_over_folds(classes, FOLDS)
        for fold in range(FOLDS):
            train, test = numpy.flatnonzero(fold_of != fold), numpy.flatnonzero(fold_of == fold)
            # A class that the other folds never saw says nothing about the strength.
            test = test[numpy.isin(classes[test], classes[train])]
            if len(numpy.unique(classes[train])) > 1 and len(test):
                picked = None if sample is None else sample[train]
                # A rough fit is enough to compare strengths.
                splits.append((vectors, classes, picked, train, test, _regression(tol=1e-3)))
    n_scored = sum(len(split[4]) for split in splits)
    # Too few examples for held-out folds: use the middle value and report no score.
    best = strengths[len(strengths) // 2], float("nan")
    lowest = numpy.inf
    # Weak regularization takes longest, so weaker values are tried only as long as they help.
    for strength in strengths if n_scored else ():
        loss, correct = 0.0, 0
        for vectors, classes, sample, train, test, model in splits:
            _fit(model, vectors[train], classes[train], sample, strength)
            logs = _log_probabilities(model, vectors[test])
            column = numpy.searchsorted(model.classes_, classes[test])
            loss -= logs[numpy.arange(len(test)), column].sum()
            correct += int((logs.argmax(1) == column).sum())
        if loss >= lowest:
            break
        lowest, best = loss, (strength, correct / n_scored)
    return best


def spread_over_folds(classes: NDArray, n_folds: int) -> NDArray[numpy.int64]:
    """RETURNS (NDArray[int64]): The fold of each example, shape (n,). Each class is spread as
    evenly as possible, however rare it is."""
    order = numpy.random.default_rng(0).permutation(len(classes))
    order = order[numpy.argsort(classes[order], kind="stable")]
    fold = numpy.empty(len(classes), dtype=numpy.int64)
    fold[order] = numpy.arange(len(classes)) % n_folds
    return fold


def _regression(tol: float = 1e-4) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MAX_ITERATIONS, tol=tol, warm_start=True)


def _fit(model: "LogisticRegression", vectors, classes, sample, strength: float) -> None:
    """Fit a model, starting from its present weights."""
    from sklearn.exceptions import ConvergenceWarning

    model.C = strength
    with warnings.catch_warnings():
        # Weights that have not fully converged are good enough to start from.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors, classes, sample_weight=sample)


def _log_probabilities(model: "LogisticRegression", vectors: NDArray) -> NDArray:
    logits = model.decision_function(vectors)
    if logits.ndim == 1:
        logits = numpy.stack([numpy.zeros_like(logits), logits], axis=1)
    logits = logits - logits.max(1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(1, keepdims=True))


def _solve(vectors, classes, sample, strength: float, n_labels: int) -> Tuple[NDArray, NDArray]:
    model = _regression()
    _fit(model, vectors, classes, sample, strength)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn gives one logit for two labels: half of it for each side.
        coefficients = numpy.concatenate([-coefficients, coefficients]) / 2
        intercepts = numpy.concatenate([-intercepts, intercepts]) / 2
    weight = numpy.zeros((n_labels, vectors.shape[1]), dtype="f")
    bias = numpy.full(n_labels, intercepts.mean() - numpy.log(2 * len(classes)), dtype="f")
    weight[model.classes_] = coefficients
    bias[model.classes_] = intercepts
    return weight, bias
