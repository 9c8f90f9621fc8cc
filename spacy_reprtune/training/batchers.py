"""Batches of texts of about the same length."""

import random
from itertools import islice
from typing import Any, Callable, Iterable, Iterator, List, Optional, TypeVar

from spacy.util import registry

ItemT = TypeVar("ItemT")


@registry.batchers("spacy_reprtune.batch_by_length.v1")
def batch_by_length_v1(
    *,
    size: int,
    buffer: int = 1024,
    seed: int = 0,
    get_length: Optional[Callable[[Any], int]] = None,
) -> Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]:
    """Batch texts of about the same length together, so that little is spent on padding.

    A buffer of texts in the order of the corpus is sorted by length and cut into batches, which
    come out in random order. Nothing is dropped, however long, and every batch but the last of
    a buffer has the full size.

    size (int): Texts in a batch.
    buffer (int): Texts to sort at once, rounded to whole batches. More means less padding; fewer,
        batches that are closer to a random draw.
    seed (int): Fixes the order of batches.
    get_length (Optional[Callable[[Any], int]]): Length of an item; characters of the text by
        default.
    RETURNS (Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]): The batcher.
    RAISES (ValueError): `size` or `buffer` is below 1.
    """
    if size < 1 or buffer < 1:
        raise ValueError(f"size = {size} and buffer = {buffer}: both must be 1 or more.")
    length = get_length or _text_length
    whole = max(1, buffer // size) * size

    def batch(items: Iterable[ItemT]) -> Iterator[List[ItemT]]:
        rng = random.Random(seed)
        items = iter(items)
        while block := list(islice(items, whole)):
            block.sort(key=length)
            starts = list(range(0, len(block), size))
            rng.shuffle(starts)
            for start in starts:
                yield block[start : start + size]

    return batch


def _text_length(item: Any) -> int:
    # An Example, a Doc, or whatever has a length.
    doc = getattr(item, "reference", item)
    text = getattr(doc, "text", doc)
    return len(text)
