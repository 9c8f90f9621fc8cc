"""The two kinds of labels of texts: exclusive and independent ones.

Arrays of gold values have the shape (n_texts, n_labels), fp32: `gold` holds 0 or 1, or a
probability if a component learns from soft labels; `known` holds 1 where the value is annotated.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Set, Tuple

import numpy
from numpy.typing import NDArray

from ..heads.losses import binary_cross_entropy, cross_entropy, sigmoid, softmax

if TYPE_CHECKING:
    from ..heads.probe import Probe

Cats = Dict[str, float]


class LabelKind(ABC):
    """The meaning of labels for gold values, probabilities, loss and head of a text classifier.

    exclusive (bool): Whether each text has exactly one label.
    """

    exclusive: bool

    @abstractmethod
    def check_labels(self, labels: Sequence[str], positive_label: Optional[str], name: str) -> None:
        """Check the labels of a component.

        labels (Sequence[str]): The labels.
        positive_label (Optional[str]): The label whose F-score is the score of the component.
        name (str): Name of the component, for errors.
        RAISES (ValueError): The labels are too few, or the positive one does not fit.
        """

    @abstractmethod
    def is_answered(self, cats: Cats) -> bool:
        """RETURNS (bool): Whether the gold values of a text can be scored."""

    @abstractmethod
    def contradict(self, cats: Cats, others: Cats) -> bool:
        """RETURNS (bool): Whether two annotations of a text can't both be right."""

    @abstractmethod
    def known(self, gold: NDArray, annotated: NDArray) -> NDArray:
        """RETURNS (ndarray): Where the gold values are known, given those that are annotated."""

    @abstractmethod
    def n_answers(self, n_labels: int) -> int:
        """RETURNS (int): The number of possible answers to a question. One of them is right."""

    @abstractmethod
    def probabilities(self, logits: NDArray) -> NDArray:
        """RETURNS (ndarray): Probabilities, in the shape of the logits."""

    @abstractmethod
    def decisions(self, probabilities: NDArray) -> NDArray:
        """RETURNS (ndarray): 1 for the labels that a text gets, else 0; fp32, the same shape."""

    @abstractmethod
    def certainty(self, probabilities: NDArray) -> NDArray:
        """RETURNS (ndarray): How sure of its decisions a classifier is, from 0 to 1, shape
        (n_texts,)."""

    @abstractmethod
    def loss(
        self,
        logits: NDArray,
        gold: NDArray,
        known: NDArray,
        *,
        weights: Optional[NDArray] = None,
        smoothing: float = 0.0,
    ) -> Tuple[float, NDArray]:
        """Compute the mean cross-entropy.

        logits, gold, known (ndarray): Shape (n_texts, n_labels).
        weights (Optional[ndarray]): Weights of the labels, shape (n_labels,), or None for 1.
        smoothing (float): Share of each target that is spread over all of its answers.
        RETURNS (Tuple[float, ndarray]): The loss, and its gradient in the shape of the logits.
        """

    @abstractmethod
    def confidences(
        self, scores: NDArray, gold: NDArray, known: NDArray
    ) -> Tuple[NDArray, NDArray]:
        """Find the probabilities that can be compared with gold values.

        scores, gold, known (ndarray): Shape (n_texts, n_labels).
        RETURNS (Tuple[ndarray, ndarray]): The probabilities, and whether each was right.
        """

    def loss_of_temperature(
        self, logits: NDArray, gold: NDArray, known: NDArray
    ) -> Optional[Callable[[float], float]]:
        """Prepare to fit the temperature to gold values.

        logits, gold, known (ndarray): Shape (n_texts, n_labels).
        RETURNS (Optional[Callable[[float], float]]): The cross-entropy at a temperature, or None
            if nothing is annotated.
        """
        if not known.any():
            return None
        # As if there were one more value of each kind, so that a few texts that are all right do
        # not lead to certainty.
        smoothing = 2.0 / (known.any(1).sum() + 2.0)
        return lambda temperature: self.loss(
            logits / temperature, gold, known, smoothing=smoothing
        )[0]

    @abstractmethod
    def fit_head(self, vectors: NDArray, gold: NDArray, known: NDArray, **settings: Any) -> "Probe":
        """Fit a head to vectors of texts.

        vectors (ndarray): Shape (n_texts, width).
        gold, known (ndarray): Shape (n_texts, n_labels). Some value of each text is known.
        **settings: `weights`, `strength` and `scored`: see `heads.probe.fit_classes`.
        RETURNS (Probe): The head.
        """


class Exclusive(LabelKind):
    """Exactly one label is right: the probabilities of a text add up to 1.

    If one label is known to be right, the others are known to be wrong; otherwise nothing is known.
    """

    exclusive = True

    def check_labels(self, labels: Sequence[str], positive_label: Optional[str], name: str) -> None:
        """See `LabelKind`. There are two or more labels; if there are two, one may be positive.

        RAISES (ValueError): The labels are too few, or the positive one is not one of two.
        """
        if len(labels) < 2:
            found = f"only the label '{labels[0]}'" if labels else "no labels"
            raise ValueError(
                f"'{name}' has {found}, and exclusive labels need at least two: with one, each "
                "text would get it. Annotate the other class as well, or use "
                "reprtune_textcat_multilabel for a single yes-or-no label."
            )
        if positive_label is None:
            return
        if positive_label not in labels:
            raise ValueError(
                f"positive_label = {positive_label!r} is not a label of '{name}' "
                f"({', '.join(labels)})."
            )
        if len(labels) != 2:
            raise ValueError(f"positive_label is for two labels; '{name}' has {len(labels)}.")

    def is_answered(self, cats: Cats) -> bool:
        """See `LabelKind`."""
        return any(value > 0 for value in cats.values())

    def contradict(self, cats: Cats, others: Cats) -> bool:
        """See `LabelKind`: {"A": 1} and {"B": 1} are two answers, although no key is in both."""
        return _differ(cats, others) or positive(cats) != positive(others)

    def known(self, gold: NDArray, annotated: NDArray) -> NDArray:
        """See `LabelKind`."""
        answered = (gold > 0).any(1, keepdims=True).astype("f")
        return numpy.repeat(answered, gold.shape[1], 1)

    def n_answers(self, n_labels: int) -> int:
        """See `LabelKind`: the labels are the answers to one question."""
        return n_labels

    def probabilities(self, logits: NDArray) -> NDArray:
        """See `LabelKind`."""
        return softmax(logits)

    def decisions(self, probabilities: NDArray) -> NDArray:
        """See `LabelKind`."""
        return numpy.eye(probabilities.shape[1], dtype="f")[probabilities.argmax(1)]

    def certainty(self, probabilities: NDArray) -> NDArray:
        """See `LabelKind`; the difference between the two highest probabilities. With many labels,
        it says better than the highest one where a small classifier needs no help."""
        return numpy.diff(numpy.partition(probabilities, -2)[:, -2:])[:, 0]

    def loss(
        self,
        logits: NDArray,
        gold: NDArray,
        known: NDArray,
        *,
        weights: Optional[NDArray] = None,
        smoothing: float = 0.0,
    ) -> Tuple[float, NDArray]:
        """See `LabelKind`; smoothing spreads a share of each target over all labels."""
        rows = numpy.flatnonzero(known.any(1))
        gradient = numpy.zeros_like(logits)
        if not len(rows):
            return 0.0, gradient
        loss, gradient[rows] = cross_entropy(
            logits[rows], gold[rows], weights=weights, smoothing=smoothing
        )
        return loss, gradient

    def confidences(
        self, scores: NDArray, gold: NDArray, known: NDArray
    ) -> Tuple[NDArray, NDArray]:
        """See `LabelKind`: the probability of the best label of each text."""
        rows = numpy.flatnonzero(known.any(1))
        best = scores[rows].argmax(1)
        return scores[rows, best], gold[rows].argmax(1) == best

    def fit_head(self, vectors: NDArray, gold: NDArray, known: NDArray, **settings: Any) -> "Probe":
        """See `LabelKind`: one regression for all labels."""
        from ..heads.probe import fit_classes

        return fit_classes(vectors, gold.argmax(1), gold.shape[1], **settings)


class Independent(LabelKind):
    """Any number of labels is right: each has a probability of its own."""

    exclusive = False

    def check_labels(self, labels: Sequence[str], positive_label: Optional[str], name: str) -> None:
        """See `LabelKind`.

        RAISES (ValueError): There is a positive label.
        """
        if positive_label is not None:
            raise ValueError(
                f"positive_label is for two exclusive labels; those of '{name}' are independent."
            )

    def is_answered(self, cats: Cats) -> bool:
        """See `LabelKind`."""
        return bool(cats)

    def contradict(self, cats: Cats, others: Cats) -> bool:
        """See `LabelKind`."""
        return _differ(cats, others)

    def known(self, gold: NDArray, annotated: NDArray) -> NDArray:
        """See `LabelKind`."""
        return annotated

    def n_answers(self, n_labels: int) -> int:
        """See `LabelKind`: each label is a question with the answers yes and no."""
        return 2

    def probabilities(self, logits: NDArray) -> NDArray:
        """See `LabelKind`."""
        return sigmoid(logits)

    def decisions(self, probabilities: NDArray) -> NDArray:
        """See `LabelKind`."""
        return (probabilities >= 0.5).astype("f")

    def certainty(self, probabilities: NDArray) -> NDArray:
        """See `LabelKind`; the probability that the least certain decision is right."""
        return numpy.maximum(probabilities, 1.0 - probabilities).min(1)

    def loss(
        self,
        logits: NDArray,
        gold: NDArray,
        known: NDArray,
        *,
        weights: Optional[NDArray] = None,
        smoothing: float = 0.0,
    ) -> Tuple[float, NDArray]:
        """See `LabelKind`; smoothing moves targets from 0 and 1 towards a half."""
        return binary_cross_entropy(logits, gold, known, weights=weights, smoothing=smoothing)

    def confidences(
        self, scores: NDArray, gold: NDArray, known: NDArray
    ) -> Tuple[NDArray, NDArray]:
        """See `LabelKind`: the probability of each label that is annotated."""
        return scores[known > 0], gold[known > 0] >= 0.5

    def fit_head(self, vectors: NDArray, gold: NDArray, known: NDArray, **settings: Any) -> "Probe":
        """See `LabelKind`: one regression per label."""
        from ..heads.probe import fit_independent

        return fit_independent(vectors, (gold >= 0.5).astype("f"), known, **settings)


def _differ(cats: Cats, others: Cats) -> bool:
    return any(cats[key] != others[key] for key in cats.keys() & others.keys())


def positive(cats: Cats) -> Set[str]:
    """RETURNS (Set[str]): The labels that are right."""
    return {label for label, value in cats.items() if value > 0}
