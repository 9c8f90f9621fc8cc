"""The annotated texts that a few-shot classifier knows. Its head is fitted to them, and they fill
up batches that have nothing to compare.
"""

import random
from typing import Callable, Dict, Iterable, List, Sequence, Tuple, Type

import numpy
from spacy.training import Example

from ..heads.contrastive import pair_masks
from .label_kinds import LabelKind

# Examples to gold values and which of them are annotated, both (n_examples, n_labels).
Gold = Callable[[Sequence[Example]], Tuple[numpy.ndarray, numpy.ndarray]]


class SupportSet:
    """Examples with different texts, in the order in which they came."""

    def __init__(self) -> None:
        """Start empty."""
        self._examples: Dict[str, Example] = {}

    def __reduce__(self) -> Tuple[Type["SupportSet"], Tuple[()]]:
        """The workers of `nlp.pipe` only predict: they get an empty one, and none of the texts."""
        return SupportSet, ()

    @property
    def examples(self) -> List[Example]:
        """RETURNS (List[Example]): The examples."""
        return list(self._examples.values())

    def add(self, examples: Iterable[Example]) -> None:
        """Add examples. A text that is in the set already gets its newer annotation.

        examples (Iterable[Example]): The examples.
        """
        for example in examples:
            self._examples[example.reference.text] = example

    def partners(
        self, batch: Sequence[Example], gold_of: Gold, rng: random.Random
    ) -> List[Example]:
        """Find texts to compare with those of a batch.

        batch (Sequence[Example]): The batch.
        gold_of (Callable): Returns the gold values of examples.
        rng (Random): Random state that the choice is made with.
        RETURNS (List[Example]): Nothing if the batch has positive and negative pairs. Otherwise,
            for each text of the batch, one that makes a pair of the kind that the batch lacks.
        """
        gold, known = gold_of(batch)
        inside = pair_masks(gold, known, gold, known)
        lacking = [kind for kind in (0, 1) if not _has_pairs(inside[kind])]
        if not lacking:
            return []
        texts = {eg.reference.text for eg in batch}
        others = [eg for eg in self._examples.values() if eg.reference.text not in texts]
        if not others:
            return []
        outside = pair_masks(gold, known, *gold_of(others))
        chosen: Dict[int, Example] = {}
        for kind in lacking:
            for row in outside[kind]:
                candidates = [i for i in numpy.flatnonzero(row).tolist() if i not in chosen]
                if candidates:
                    i = rng.choice(candidates)
                    chosen[i] = others[i]
        return list(chosen.values())

    def has_pairs(self, gold_of: Gold) -> Tuple[bool, bool]:
        """RETURNS (Tuple[bool, bool]): Whether there is any positive, any negative pair."""
        gold, known = gold_of(self.examples)
        # Different annotations are few, pairs of texts are many.
        kinds, counts = numpy.unique(numpy.hstack([gold, known]), axis=0, return_counts=True)
        gold, known = numpy.split(kinds, 2, axis=1)
        positive, negative = pair_masks(gold, known, gold, known)
        numpy.fill_diagonal(positive, positive.diagonal() & (counts > 1))
        return bool(positive.any()), bool(negative.any())


def unique_texts(examples: Iterable[Example], kind: LabelKind, name: str) -> List[Example]:
    """Keep one example per text.

    examples (Iterable[Example]): The examples.
    kind (LabelKind): Decides which annotations contradict each other. Values of different labels
        are put together.
    name (str): Name of the component, for errors.
    RETURNS (List[Example]): One example of each text, in the order of their first ones.
    RAISES (ValueError): Two annotations of a text contradict each other.
    """
    found: Dict[str, Example] = {}
    for example in examples:
        text = example.reference.text
        first = found.setdefault(text, example)
        cats, others = first.reference.cats, example.reference.cats
        if kind.contradict(cats, others):
            raise ValueError(
                f"The text {text[:60]!r} is in the training data of '{name}' with different "
                f"labels: {_answers(cats) or 'none'} and {_answers(others) or 'none'}. In a pair "
                "with itself it would be pulled together and pushed apart at once: keep one."
            )
        if others.keys() - cats.keys():
            both = Example(first.predicted, first.reference.copy())
            both.reference.cats = {**others, **cats}
            found[text] = both
    return list(found.values())


def _answers(cats: Dict[str, float]) -> List[str]:
    return sorted(label for label, value in cats.items() if value > 0)


def _has_pairs(mask: numpy.ndarray) -> bool:
    return bool((mask & ~numpy.eye(len(mask), dtype=bool)).any())
