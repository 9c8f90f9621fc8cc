"""Batches with the same number of texts per label."""

import random
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, TypeVar

from spacy.util import registry

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")


@registry.batchers("spacy_reprtune.batch_by_class.v1")
def batch_by_class_v1(
    *,
    size: int,
    per_class: int = 4,
    seed: int = 0,
    get_labels: Optional[Callable[[Any], Iterable[str]]] = None,
) -> Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]:
    """Make batches of P labels with K texts each (Hermans et al. 2017, In Defense of the Triplet
    Loss, section 2), so that a contrastive loss has texts to pull together and to push apart.

    P is the number of labels that fit into `size` with `per_class` texts each; K is then as large
    as `size` allows. With fewer labels, each batch has all of them, and K grows. Labels take
    turns, and so do the texts of a label: rare labels come as often as frequent ones, and their
    texts are repeated. An epoch ends when as many texts have been drawn as there are.

    Texts without annotation are left out. A text with several labels counts for each of them.
    Texts that are annotated as having no label form a group of their own.

    size (int): The most texts per batch.
    per_class (int): The fewest texts per label in a batch. A label with fewer texts has all of them
        in it.
    seed (int): Seed of the order of labels and texts, together with the order of the corpus.
    get_labels (Optional[Callable[[Any], Iterable[str]]]): Function that returns the labels of an
        item; by default, the labels in its `doc.cats` with a value above 0.
    RETURNS (Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]): The batcher.
    RAISES (ValueError): `per_class` is below 2, or `size` has no room for two labels.
    """
    if per_class < 2 or size < 2 * per_class:
        raise ValueError(
            f"size = {size} and per_class = {per_class}: a batch needs at least two labels "
            "with two texts each, so use 2 or more for per_class, and at least twice that for size."
        )
    labels_of = get_labels or _labels

    def batch(items: Iterable[ItemT]) -> Iterator[List[ItemT]]:
        rng = random.Random(seed)
        groups: Dict[str, List[ItemT]] = {}
        texts: Set[int] = set()
        for item in items:
            for label in labels_of(item):
                groups.setdefault(label, []).append(item)
                texts.add(id(item))
        if not groups:
            return
        n_classes = min(len(groups), size // per_class)
        quota = size // n_classes
        turns = _turns(list(groups), n_classes, rng)
        queues = {
            label: _turns(range(len(group)), min(quota, len(group)), rng)
            for label, group in groups.items()
        }
        left = len(texts)
        while left > 0:
            chosen: Dict[int, ItemT] = {}
            for label in next(turns):
                for i in next(queues[label]):
                    item = groups[label][i]
                    # Another of its labels may have chosen it already.
                    chosen.setdefault(id(item), item)
            left -= len(chosen)
            yield list(chosen.values())

    return batch


def _turns(values: Sequence[ValueT], n: int, rng: random.Random) -> Iterator[List[ValueT]]:
    """Yield n different values at a time, in random order, each as often as the others."""
    stream, waiting = _endless(values, rng), []
    while True:
        found = dict.fromkeys(waiting)
        waiting = []
        while len(found) < n:
            value = next(stream)
            if value in found:
                # A value can come twice when one round ends and the next begins.
                waiting.append(value)
            else:
                found[value] = None
        yield list(found)


def _endless(values: Sequence[ValueT], rng: random.Random) -> Iterator[ValueT]:
    while True:
        yield from rng.sample(values, len(values))


def _labels(item: Any) -> List[str]:
    # An Example, or a Doc.
    cats = getattr(item, "reference", item).cats
    return [label for label, value in cats.items() if value > 0] or ([""] if cats else [])
