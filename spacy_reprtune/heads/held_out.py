"""Out-of-fold probabilities of labels: from heads that never saw the example.

An annotation that a head fitted to the other annotations finds improbable is probably wrong
(Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels").
"""

from typing import Optional, Sequence

import numpy
from numpy.typing import NDArray

from .losses import softmax
from .probe import fit_classes, spread_over_folds

FOLDS = 5
# The most rows on which the regularization is chosen. With more, the same value wins.
CHOSEN_ROWS = 3000


def held_out_probabilities(
    vectors: NDArray,
    classes: NDArray,
    n_labels: int,
    *,
    groups: Optional[NDArray] = None,
    rows: Optional[NDArray] = None,
    weights: Optional[Sequence[float]] = None,
) -> NDArray:
    """Compute probabilities of exclusive labels with heads fitted to the other folds.

    vectors (ndarray): fp32, shape (n, width).
    classes (ndarray): The label of each row, shape (n,); below 0 if it is unknown.
    n_labels (int): Number of labels.
    groups (Optional[ndarray]): The group of each row, shape (n,), or None if rows are independent.
        A group stays in one fold.
    rows (Optional[ndarray]): The rows to fit heads to, or None for all whose label is known.
    weights (Optional[Sequence[float]]): Weight of each label in the fit, or None for 1.
    RETURNS (ndarray): fp32, shape (n, n_labels).
    RAISES (ValueError): There are fewer than two labels or groups.
    """
    fitted = numpy.flatnonzero(classes >= 0) if rows is None else rows
    if len(numpy.unique(classes[fitted])) < 2:
        raise ValueError("Held-out probabilities need annotated examples of at least two labels.")
    sample = fitted
    if len(fitted) > CHOSEN_ROWS:
        sample = numpy.random.default_rng(0).choice(fitted, CHOSEN_ROWS, replace=False)
        # All labels are in it, however rare.
        rare = [fitted[classes[fitted] == label][:FOLDS] for label in numpy.unique(classes[fitted])]
        sample = numpy.concatenate([sample, numpy.setdiff1d(numpy.concatenate(rare), sample)])
    strength = fit_classes(vectors[sample], classes[sample], n_labels, weights=weights).strength
    fold_of = folds_of(classes, groups)
    probabilities = numpy.full((len(vectors), n_labels), 1 / n_labels, dtype="f")
    for fold in numpy.unique(fold_of):
        train = fitted[fold_of[fitted] != fold]
        test = numpy.flatnonzero(fold_of == fold)
        if len(numpy.unique(classes[train])) < 2:
            continue
        head = fit_classes(
            vectors[train], classes[train], n_labels, weights=weights, strength=strength
        )
        probabilities[test] = softmax(vectors[test] @ head.weight.T + head.bias)
    return probabilities


def folds_of(classes: NDArray, groups: Optional[NDArray]) -> NDArray[numpy.int64]:
    """RETURNS (NDArray[int64]): The fold of each row, given its label and its group. Each label is
    spread as evenly as groups allow."""
    groups = numpy.arange(len(classes)) if groups is None else groups
    _, first, group_of = numpy.unique(groups, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise ValueError("Held-out probabilities need at least two different texts.")
    return spread_over_folds(classes[first], min(FOLDS, len(first)))[group_of]
