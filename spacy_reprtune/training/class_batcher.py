"""Batches with the same number of texts of each label."""

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
    """Batch P labels with K texts each (Hermans et al. 2017, In Defense of the Triplet Loss,
    section 2), so that each batch of a contrastive loss has texts to draw together and to push
    apart.

    P is as many labels as get `per_class` texts each within `size`; K is what fits then. With
    fewer labels than that, all of them are in each batch, and K grows. Labels take turns, and so
    do the texts of a label: rare labels come as often as frequent ones, with their texts
    repeated. An epoch has as many batches as it takes to draw as many texts as there are.

    Texts without any annotation are left out. Of a text with several labels each counts; texts
    that are annotated to have none are a group like a label.

    size (int): The most texts in a batch.
    per_class (int): The fewest texts of a label that are worth a place in a batch. A label that
        has fewer brings those.
    seed (int): Fixes which texts of a label come first, with the order of the corpus.
    get_labels (Optional[Callable[[Any], Iterable[str]]]): Labels of an item; those of its
        `doc.cats` with a value above 0 by default.
    RETURNS (Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]): The batcher.
    RAISES (ValueError): `per_class` is below 2, or two labels do not fit into `size`.
    """
    if per_class < 2 or size < 2 * per_class:
        raise ValueError(
            f"size = {size} and per_class = {per_class}: a batch needs two labels with two texts "
            "each at least, so use 2 or more for per_class, and twice that or more for size."
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
                    # Of several labels, one has brought it already.
                    chosen.setdefault(id(item), item)
            left -= len(chosen)
            yield list(chosen.values())

    return batch


def _turns(values: Sequence[ValueT], n: int, rng: random.Random) -> Iterator[List[ValueT]]:
    """So many different values at a time, in random order, each as often as the others."""
    stream, waiting = _endless(values, rng), []
    while True:
        found = dict.fromkeys(waiting)
        waiting = []
        while len(found) < n:
            value = next(stream)
            if value in found:
                # Where one round ends and the next begins, a value can come twice.
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
