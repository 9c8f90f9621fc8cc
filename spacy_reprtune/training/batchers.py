"""Batches of texts of about the same length."""

import random
from itertools import islice
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, TypeVar

from spacy.util import registry

ItemT = TypeVar("ItemT")
Lengths = Callable[[Sequence[str]], List[int]]


@registry.batchers("spacy_reprtune.batch_by_length.v1")
def batch_by_length_v1(
    *,
    size: int,
    buffer: int = 1024,
    seed: int = 0,
    encoder: Optional[str] = None,
) -> Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]:
    """Batch texts of about the same length together, so that little time is spent on padding.

    A buffer of texts in the order of the corpus is sorted by length and cut into batches, which
    are returned in random order. No text is dropped, however long, and every batch except the last
    of a buffer has the full size.

    size (int): Texts per batch.
    buffer (int): Texts to sort at once, rounded to whole batches. More texts mean less padding;
        with fewer, batches are closer to a random draw.
    seed (int): Seed of the order of the batches.
    encoder (Optional[str]): Name of the encoder whose word pieces are counted, as in
        `spacy_reprtune.Encoder.v1`, or null to count characters. Pieces determine the padding: on
        single sentences, batches by characters have a fifth padding, batches by pieces a fiftieth.
    RETURNS (Callable[[Iterable[ItemT]], Iterator[List[ItemT]]]): The batcher.
    RAISES (ValueError): `size` or `buffer` is below 1. The encoder is resolved with the first
        batch, which raises the errors of `resolve_encoder`.
    """
    if size < 1 or buffer < 1:
        raise ValueError(f"size = {size} and buffer = {buffer}: both must be 1 or more.")
    count: Lengths = _count_characters if encoder is None else _PieceCounter(encoder)
    whole = max(1, buffer // size) * size

    def batch(items: Iterable[ItemT]) -> Iterator[List[ItemT]]:
        rng = random.Random(seed)
        items = iter(items)
        while block := list(islice(items, whole)):
            lengths = count([_text(item) for item in block])
            order = sorted(range(len(block)), key=lengths.__getitem__)
            starts = list(range(0, len(block), size))
            rng.shuffle(starts)
            for start in starts:
                yield [block[i] for i in order[start : start + size]]

    return batch


class _PieceCounter:
    """Counts the word pieces of texts, and remembers them for the next epoch."""

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder
        self._tokenizer: Any = None

    def __call__(self, texts: Sequence[str]) -> List[int]:
        if self._tokenizer is None:
            from ..encoder.load import resolve_encoder
            from ..encoder.pieces import PieceTokenizer

            self._tokenizer = PieceTokenizer.from_directory(resolve_encoder(self.encoder))
        return [len(pieces) for pieces in self._tokenizer(texts, cached=True)]


def _count_characters(texts: Sequence[str]) -> List[int]:
    return [len(text) for text in texts]


def _text(item: Any) -> str:
    # An item is an Example, a Doc or a text.
    doc = getattr(item, "reference", item)
    return getattr(doc, "text", doc)
