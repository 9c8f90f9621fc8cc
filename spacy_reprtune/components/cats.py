"""The gold values of `doc.cats`: read, checked, counted."""

from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.training import Example

ClassWeights = Optional[Union[str, Dict[str, float]]]


def read_cats(
    examples: Sequence[Example], labels: Sequence[str], *, exclusive: bool
) -> Tuple[NDArray, NDArray]:
    """Read gold values.

    examples (Sequence[Example]): The examples.
    labels (Sequence[str]): The labels of the columns.
    exclusive (bool): Whether one label is the answer for all of a text: with it the others are
        known to be wrong, and without one nothing is known.
    RETURNS (Tuple[ndarray, ndarray]): The values, and 1.0 where they are annotated, both fp32 of
        the shape (n_examples, n_labels).
    """
    gold = numpy.zeros((len(examples), len(labels)), dtype="f")
    known = numpy.zeros_like(gold)
    for i, example in enumerate(examples):
        cats = example.reference.cats
        for j, label in enumerate(labels):
            if label in cats:
                gold[i, j] = cats[label]
                known[i, j] = 1.0
    if exclusive:
        known = numpy.repeat(gold.max(1, keepdims=True), gold.shape[1], 1)
    return gold, known


def positive_labels(examples: Iterable[Example]) -> set:
    """RETURNS (Set[str]): The labels that are right for any of the examples."""
    return {label for eg in examples for label, value in eg.reference.cats.items() if value > 0}


def check_cats(examples: Iterable[Example], name: str, *, exclusive: bool) -> None:
    """Check gold values.

    examples (Iterable[Example]): The examples.
    name (str): Of the component, for the errors.
    exclusive (bool): Whether a text has exactly one label.
    RAISES (ValueError): Values other than 0 and 1, or several exclusive labels.
    """
    for example in examples:
        cats = example.reference.cats
        positive = [label for label, value in cats.items() if value == 1.0]
        wrong = {k: v for k, v in cats.items() if v not in (0.0, 1.0)}
        if wrong:
            raise ValueError(
                f"The gold values of doc.cats have to be 0 or 1 for '{name}', but "
                f"{_excerpt(example)} has {wrong}."
            )
        if exclusive and len(positive) > 1:
            raise ValueError(
                f"'{name}' has exclusive labels, but {_excerpt(example)} has several: "
                f"{', '.join(positive)}. Use reprtune_textcat_multilabel for such data."
            )


def check_weights(class_weights: ClassWeights) -> None:
    """Check the `class_weights` setting as far as that goes without labels.

    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced", a table, or None.
    RAISES (ValueError): It is none of these, or a weight is not above 0.
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
    name: str,
    *,
    exclusive: bool,
) -> Optional[List[float]]:
    """Work out the weight of each label.

    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced", a table, or None.
    examples (Iterable[Example]): The training examples.
    labels (Sequence[str]): The labels.
    name (str): Of the component, for the error.
    exclusive (bool): Whether a text has exactly one label.
    RETURNS (Optional[List[float]]): The weights, or None for none. "balanced" is scikit-learn's
        n / (k * n_c), with k kinds of answers to a question: one question over all labels where
        they are exclusive, and a yes-or-no question for each otherwise. A label that never occurs
        weighs 1.
    RAISES (ValueError): A table names a label that there is not.
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
        gold, known = read_cats([example], labels, exclusive=exclusive)
        positive += (gold * known)[0]
        annotated += known[0]
    kinds = len(labels) if exclusive else 2
    weights = annotated / (kinds * numpy.maximum(positive, 1.0))
    return numpy.where(positive > 0, weights, 1.0).tolist()


def _excerpt(example: Example) -> str:
    text = example.reference.text
    return f"the doc {text[:60]!r}" + ("…" if len(text) > 60 else "")
