"""Read, check and count the gold values of `doc.cats`."""

from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.training import Example

from .label_kinds import LabelKind

ClassWeights = Optional[Union[str, Dict[str, float]]]
# How far the sum of exclusive probabilities may be from 1, because they may have been rounded.
TOLERANCE = 0.02


def read_cats(
    examples: Sequence[Example], labels: Sequence[str], kind: LabelKind
) -> Tuple[NDArray, NDArray]:
    """Read gold values.

    examples (Sequence[Example]): The examples.
    labels (Sequence[str]): The labels of the columns.
    kind (LabelKind): Decides what is known of a text beyond its annotation.
    RETURNS (Tuple[ndarray, ndarray]): The values, and 1.0 where they are known, both fp32 of the
        shape (n_examples, n_labels).
    """
    gold = numpy.zeros((len(examples), len(labels)), dtype="f")
    annotated = numpy.zeros_like(gold)
    for i, example in enumerate(examples):
        cats = example.reference.cats
        for j, label in enumerate(labels):
            if label in cats:
                gold[i, j] = cats[label]
                annotated[i, j] = 1.0
    return gold, kind.known(gold, annotated)


def positive_labels(examples: Iterable[Example]) -> Set[str]:
    """RETURNS (Set[str]): The labels that are right for any of the examples."""
    return {label for eg in examples for label, value in eg.reference.cats.items() if value > 0}


def check_cats(
    examples: Iterable[Example],
    labels: Sequence[str],
    kind: LabelKind,
    name: str,
    *,
    soft: bool = False,
) -> None:
    """Check gold values.

    examples (Iterable[Example]): The examples.
    labels (Sequence[str]): The labels of the component, because others may be those of another
        classifier. If there are none yet, all values are checked.
    kind (LabelKind): Decides whether a text may have several labels.
    name (str): Name of the component, for errors.
    soft (bool): Whether probabilities are allowed.
    RAISES (ValueError): Values other than 0 and 1, or with `soft` outside of the range between
        them; several exclusive labels, or probabilities of them that don't add up to 1.
    """
    for example in examples:
        cats = own_cats(example, labels) if labels else example.reference.cats
        if soft:
            _check_soft(example, cats, kind, name)
            continue
        positive = [label for label, value in cats.items() if value == 1.0]
        wrong = {k: v for k, v in cats.items() if v not in (0.0, 1.0)}
        if wrong:
            raise ValueError(
                f"The gold values of doc.cats have to be 0 or 1 for '{name}', but "
                f"{_excerpt(example)} has {wrong}. To learn from probabilities, such as another "
                "model's, set soft_labels to true."
            )
        if kind.exclusive and len(positive) > 1:
            raise ValueError(
                f"'{name}' has exclusive labels, but {_excerpt(example)} has several: "
                f"{', '.join(positive)}. Use reprtune_textcat_multilabel for such data."
            )


def own_cats(example: Example, labels: Sequence[str]) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): The gold values of some labels."""
    return {label: value for label, value in example.reference.cats.items() if label in labels}


def check_weights(class_weights: ClassWeights) -> None:
    """Check the `class_weights` setting as far as possible without labels.

    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced", a table, or None.
    RAISES (ValueError): The setting is something else, or a weight is not above 0.
    """
    if isinstance(class_weights, str) and class_weights != "balanced":
        raise ValueError(
            f"class_weights = {class_weights!r}. Use 'balanced', a table of label and weight, or "
            "null."
        )
    if isinstance(class_weights, dict) and any(not w > 0 for w in class_weights.values()):
        raise ValueError(f"class_weights have to be above 0, but are {class_weights}.")


def label_weights(
    class_weights: ClassWeights,
    examples: Iterable[Example],
    labels: Sequence[str],
    kind: LabelKind,
    name: str,
) -> Optional[List[float]]:
    """Work out the weight of each label.

    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced", a table, or None.
    examples (Iterable[Example]): The training examples.
    labels (Sequence[str]): The labels.
    kind (LabelKind): Decides what a question is: one over all labels, or one per label.
    name (str): Name of the component, for errors.
    RETURNS (Optional[List[float]]): The weights, or None for 1. "balanced" is scikit-learn's
        n / (k * n_c), with k possible answers to a question. A label that never occurs weighs 1.
    RAISES (ValueError): A table names a label that the component does not have.
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, dict):
        unknown = set(class_weights) - set(labels)
        if unknown:
            raise ValueError(
                f"class_weights of '{name}' names labels that it does not have: "
                f"{', '.join(sorted(unknown))}. It has {', '.join(labels)}."
            )
        return [class_weights.get(label, 1.0) for label in labels]
    positive, annotated = numpy.zeros((2, len(labels)))
    for example in examples:
        gold, known = read_cats([example], labels, kind)
        positive += (gold * known)[0]
        annotated += known[0]
    n_answers = kind.n_answers(len(labels))
    weights = annotated / (n_answers * numpy.maximum(positive, 1.0))
    return numpy.where(positive > 0, weights, 1.0).tolist()


def hard_labels(example: Example, labels: Sequence[str], kind: LabelKind) -> Example:
    """Turn the probabilities of an example into decisions, because scorers compare decisions.

    example (Example): The example.
    labels (Sequence[str]): The labels of the component.
    kind (LabelKind): Decides whether a text may have several labels.
    RETURNS (Example): The same predicted doc, with a reference whose values are 0 or 1 for these
        labels.
    """
    cats = own_cats(example, labels)
    if all(value in (0.0, 1.0) for value in cats.values()):
        return example
    best = max(cats, key=cats.__getitem__)
    reference = example.reference.copy()
    reference.cats.update(
        (label, float(label == best if kind.exclusive else value >= 0.5))
        for label, value in cats.items()
    )
    return Example(example.predicted, reference)


def _check_soft(example: Example, cats: Dict[str, float], kind: LabelKind, name: str) -> None:
    wrong = {label: value for label, value in cats.items() if not 0.0 <= value <= 1.0}
    if wrong:
        raise ValueError(
            f"The soft labels of doc.cats have to be from 0 to 1 for '{name}', but "
            f"{_excerpt(example)} has {wrong}."
        )
    total = sum(cats.values())
    # Zeros for all labels mean that nothing is known.
    if kind.exclusive and total > 0 and abs(total - 1.0) > TOLERANCE:
        raise ValueError(
            f"The soft labels of '{name}' are exclusive and have to add up to 1, but those of "
            f"{_excerpt(example)} add up to {total:.3f}: {cats}."
        )


def _excerpt(example: Example) -> str:
    text = example.reference.text
    return f"the doc {text[:60]!r}" + ("…" if len(text) > 60 else "")
