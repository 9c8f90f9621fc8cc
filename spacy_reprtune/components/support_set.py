"""The annotated texts that a few-shot classifier knows. Its head is fitted to them, and they
complete batches that have nothing to compare.
"""

import random
from typing import Callable, Dict, Iterable, List, Sequence, Tuple, Type

import numpy
from spacy.training import Example

from ..heads.contrastive import pair_masks, pairs_within
from .label_kinds import LabelKind, positive

# Takes examples, and returns gold values and 1 where they are known, both (n_examples, n_labels).
Gold = Callable[[Sequence[Example]], Tuple[numpy.ndarray, numpy.ndarray]]


class SupportSet:
    """Examples with different texts, in the order in which they came."""

    def __init__(self) -> None:
        """Start empty."""
        self._examples: Dict[str, Example] = {}

    def __reduce__(self) -> Tuple[Type["SupportSet"], Tuple[()]]:
        """Workers of `nlp.pipe` only predict, so they get an empty set, without any texts."""
        return SupportSet, ()

    @property
    def examples(self) -> List[Example]:
        """RETURNS (List[Example]): The examples."""
        return list(self._examples.values())

    def add(self, examples: Iterable[Example], kind: LabelKind) -> None:
        """Add examples. A text that is in the set already gets its newer annotation, and keeps that
        of other independent labels.

        examples (Iterable[Example]): The examples.
        kind (LabelKind): The kind of labels.
        """
        for example in examples:
            text = example.reference.text
            if not kind.exclusive and text in self._examples:
                before = self._examples[text].reference.cats
                if before.keys() - example.reference.cats.keys():
                    example = with_cats(example, {**before, **example.reference.cats})
            self._examples[text] = example

    def partners(
        self, batch: Sequence[Example], gold_of: Gold, rng: random.Random
    ) -> List[Example]:
        """Find texts to compare with the texts of a batch.

        batch (Sequence[Example]): The batch.
        gold_of (Callable): Returns the gold values of examples.
        rng (Random): Random state for the choice.
        RETURNS (List[Example]): Nothing if the batch has positive and negative pairs. Otherwise,
            for each text of the batch, a text to make a pair of the kind that the batch lacks.
        """
        gold, known = gold_of(batch)
        inside = pairs_within(gold, known)
        lacking = [kind for kind in (0, 1) if not inside[kind].any()]
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
        """RETURNS (Tuple[bool, bool]): Whether there is a positive, and whether there is a negative
        pair."""
        gold, known = gold_of(self.examples)
        # There are few different annotations, but many pairs of texts.
        kinds, counts = numpy.unique(numpy.hstack([gold, known]), axis=0, return_counts=True)
        gold, known = numpy.split(kinds, 2, axis=1)
        same, different = pair_masks(gold, known, gold, known)
        numpy.fill_diagonal(same, same.diagonal() & (counts > 1))
        return bool(same.any()), bool(different.any())


def unique_texts(examples: Iterable[Example], kind: LabelKind, name: str) -> List[Example]:
    """Keep one example per text.

    examples (Iterable[Example]): The examples.
    kind (LabelKind): Decides which annotations contradict each other. Values of different labels
        are merged.
    name (str): Name of the component, for errors.
    RETURNS (List[Example]): One example per text, in the order of first occurrence.
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
                f"labels: {sorted(positive(cats)) or 'none'} and "
                f"{sorted(positive(others)) or 'none'}. In a pair with itself it would be pulled "
                "together and pushed apart at once: keep one."
            )
        if others.keys() - cats.keys():
            found[text] = with_cats(first, {**others, **cats})
    return list(found.values())


def with_cats(example: Example, cats: Dict[str, float]) -> Example:
    """RETURNS (Example): The example with other gold values."""
    changed = Example(example.predicted, example.reference.copy())
    changed.reference.cats = cats
    return changed
