"""Texts that are copies of each other, or nearly so: MinHash over runs of words, in numpy.

Broder 1997, "On the resemblance and containment of documents". Two texts are near duplicates if
their runs of three words overlap (Jaccard) by more than a threshold. 64 minima estimate that
overlap to about 0.05, and cutting them into bands finds the pairs without comparing all.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Tuple

import numpy
from numpy.typing import NDArray

RUN = 3
MINIMA = 64
# Bands of four minima find 19 in 20 pairs at an overlap of 0.65, and nearly all at 0.8.
BAND = 4
# Of runs in common, from which on two texts are one text to a reader.
NEAR = 0.8
_PRIME = numpy.uint64((1 << 31) - 1)
_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """RETURNS (str): A text without case, punctuation and spacing: equal if the texts are."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip()


def hash_text(text: str) -> int:
    """RETURNS (int): 64 bits of a normalised text, the same in every process."""
    from .splits import stable_hash

    return stable_hash(text, 0)


@dataclass
class Signatures:
    """What is kept of many texts, instead of the texts.

    exact (NDArray[uint64]): A hash of each normalised text, shape (n_texts,).
    minima (NDArray[uint32]): Shape (n_texts, MINIMA).
    """

    exact: NDArray[numpy.uint64]
    minima: NDArray[numpy.uint32]

    def __len__(self) -> int:
        """RETURNS (int): The number of texts."""
        return len(self.exact)


class Signer:
    """Texts to signatures, in chunks: 264 bytes a text, whatever its length."""

    def __init__(self, chunk: int = 2000) -> None:
        """chunk (int): How many texts to keep until they become signatures together."""
        self.chunk = chunk
        self._texts: List[str] = []
        self._parts: List[Signatures] = []

    def add(self, text: str) -> None:
        """text (str): The next text."""
        self._texts.append(normalise(text))
        if len(self._texts) >= self.chunk:
            self._flush()

    def finish(self) -> Signatures:
        """RETURNS (Signatures): Those of all texts, in order."""
        if self._texts or not self._parts:
            self._flush()
        return Signatures(
            numpy.concatenate([part.exact for part in self._parts]),
            numpy.concatenate([part.minima for part in self._parts]),
        )

    def _flush(self) -> None:
        self._parts.append(sign(self._texts))
        self._texts = []


def sign(texts: Sequence[str]) -> Signatures:
    """Compute the signatures of normalised texts.

    texts (Sequence[str]): The texts.
    RETURNS (Signatures): In order.
    """
    exact = numpy.array([hash_text(text) for text in texts], dtype=numpy.uint64)
    if not texts:
        return Signatures(exact, numpy.zeros((0, MINIMA), dtype=numpy.uint32))
    # Seeded with a constant, so that signatures of two runs can be compared.
    rng = numpy.random.RandomState(0)
    factors = rng.randint(1, 1 << 31, size=MINIMA, dtype=numpy.int64).astype(numpy.uint64)
    offsets = rng.randint(0, 1 << 31, size=MINIMA, dtype=numpy.int64).astype(numpy.uint64)
    runs, starts = _hash_runs(texts)
    minima = numpy.empty((len(texts), MINIMA), dtype=numpy.uint32)
    for k in range(MINIMA):
        mixed = (runs * factors[k] + offsets[k]) % _PRIME
        minima[:, k] = numpy.minimum.reduceat(mixed, starts)
    return Signatures(exact, minima)


def bands(signatures: Signatures, rows: int = BAND) -> NDArray[numpy.uint64]:
    """Cut signatures into bands: texts that share a band may be near duplicates.

    signatures (Signatures): Of the texts.
    rows (int): Minima a band. More rows find only closer pairs.
    RETURNS (NDArray[uint64]): A key a band, shape (n_texts, MINIMA // rows).
    """
    minima = signatures.minima.astype(numpy.uint64).reshape(-1, MINIMA // rows, rows)
    keys = numpy.full(minima.shape[:2], 1469598103934665603, dtype=numpy.uint64)
    for k in range(rows):
        keys = (keys ^ minima[:, :, k]) * numpy.uint64(1099511628211)
    return keys ^ numpy.arange(minima.shape[1], dtype=numpy.uint64)


def near_pairs(signatures: Signatures, threshold: float = NEAR) -> Iterator[Tuple[int, int]]:
    """Find near duplicates. Exact ones are told from them by their hash, and left out.

    signatures (Signatures): Of the texts.
    threshold (float): The estimated overlap from which on a pair counts.
    YIELDS (Tuple[int, int]): Indices of two texts, the lower first, sorted, once each. In a band
        that many texts share, each is compared with the first.
    """
    keys = bands(signatures)
    found = set()
    for k in range(keys.shape[1]):
        order = numpy.argsort(keys[:, k], kind="stable")
        values = keys[order, k]
        first = numpy.flatnonzero(numpy.r_[True, values[1:] != values[:-1]])
        # Only bands with company: each text with the first one in its band.
        sizes = numpy.diff(numpy.r_[first, len(values)])
        leaders = numpy.repeat(order[first], sizes)
        pairs = numpy.stack([leaders, order], axis=1)[leaders != order]
        if not len(pairs):
            continue
        same = signatures.exact[pairs[:, 0]] == signatures.exact[pairs[:, 1]]
        pairs = pairs[~same]
        for part in numpy.array_split(pairs, max(1, len(pairs) // 100_000)):
            overlap = (signatures.minima[part[:, 0]] == signatures.minima[part[:, 1]]).mean(axis=1)
            found.update(map(tuple, numpy.sort(part[overlap >= threshold], axis=1).tolist()))
    yield from sorted(found)


def _hash_runs(texts: Sequence[str]) -> Tuple[NDArray[numpy.uint64], NDArray[numpy.int64]]:
    """Hashes of the runs of RUN words of all texts, one after the other, and where each begins."""
    words: List[int] = []
    lengths = []
    for text in texts:
        tokens = text.split(" ")
        words += [zlib.crc32(token.encode()) for token in tokens]
        lengths.append(len(tokens))
    hashes = numpy.array(words, dtype=numpy.uint64)
    ends = numpy.cumsum(lengths)
    begins = ends - lengths
    # A text shorter than a run is one run, so its last words are repeated by index.
    position = numpy.arange(len(hashes))
    last = numpy.repeat(ends, lengths) - 1
    runs = hashes.copy()
    for k in range(1, RUN):
        step = numpy.minimum(position + k, last)
        # Stirred after each word: in a mere sum, the last word would stay in the low bits.
        runs = (runs ^ (runs >> numpy.uint64(29))) * numpy.uint64(0xBF58476D1CE4E5B9) + hashes[step]
    runs = (runs ^ (runs >> numpy.uint64(32))) * numpy.uint64(0x94D049BB133111EB)
    # Of a longer text, the last runs are cut off, so they are no runs.
    whole = (position + RUN - 1 <= last) | (position == numpy.repeat(begins, lengths))
    kept = numpy.cumsum(whole)
    starts = kept[begins] - 1
    # The high half, because the low bits of such products are poor.
    return (runs[whole] >> numpy.uint64(33)), starts.astype(numpy.int64)
