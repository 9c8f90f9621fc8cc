"""Texts that are copies of each other, or nearly so: words, runs of words, and MinHash in numpy.

Broder 1997, "On the resemblance and containment of documents". Two texts are near copies if their
runs of three words overlap (Jaccard) by more than a threshold. 64 minima estimate that overlap to
about 0.05, and cutting them into bands finds the pairs without comparing all.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Sequence, Tuple, TypeVar

import numpy
from numpy.typing import NDArray

RUN = 3
MINIMA = 64
# Bands of four minima find 19 in 20 pairs at an overlap of 0.65, and nearly all at 0.8.
BAND = 4
# Share of runs in common above which two texts are one text to a reader.
NEAR = 0.8
_PRIME = numpy.uint64((1 << 31) - 1)
_WORD = re.compile(r"\w+")
_T = TypeVar("_T")


def words_of(text: str) -> List[str]:
    """RETURNS (List[str]): The words of a text, without case, punctuation and spacing."""
    return _WORD.findall(text.casefold())


def normalize(text: str) -> str:
    """RETURNS (str): The words of a text with spaces between; a text without words as it is."""
    return " ".join(words_of(text)) or text.strip()


def copy_groups(texts: Iterable[str]) -> NDArray[numpy.int64]:
    """RETURNS (NDArray[int64]): A number for each text, the same for copies, shape (n_texts,)."""
    numbers: Dict[str, int] = {}
    found = [numbers.setdefault(normalize(text), len(numbers)) for text in texts]
    return numpy.array(found, dtype=numpy.int64)


def runs_of(words: Sequence[_T], length: int) -> List[Tuple[_T, ...]]:
    """List the runs of consecutive words by which copied passages are found.

    words (Sequence): The words of a text, or numbers that stand for them.
    length (int): Words per run.
    RETURNS (List[Tuple]): All runs in order; a text that is shorter is one run.
    """
    if len(words) < length:
        return [tuple(words)]
    return list(zip(*(words[k:] for k in range(length)), strict=False))


def stable_hash(text: str, seed: int) -> int:
    """Compute a hash that is the same in every process, unlike `hash`.

    text (str): What to hash.
    seed (int): Another seed gives another order of hashes.
    RETURNS (int): 64 bits.
    """
    digest = hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@dataclass
class Signatures:
    """What is kept of many texts instead of the texts themselves.

    exact (NDArray[uint64]): Hash of each normalized text, shape (n_texts,).
    minima (NDArray[uint32]): Minima of the hashed runs, shape (n_texts, MINIMA).
    """

    exact: NDArray[numpy.uint64]
    minima: NDArray[numpy.uint32]

    def __len__(self) -> int:
        """RETURNS (int): The number of texts."""
        return len(self.exact)


class Signer:
    """Turns texts into signatures, in chunks: 264 bytes per text, whatever its length."""

    def __init__(self, chunk: int = 2000) -> None:
        """chunk (int): Number of texts that become signatures together."""
        self.chunk = chunk
        self._texts: List[str] = []
        self._parts: List[Signatures] = []

    def add(self, text: str) -> None:
        """text (str): Next text."""
        self._texts.append(normalize(text))
        if len(self._texts) >= self.chunk:
            self._flush()

    def finish(self) -> Signatures:
        """RETURNS (Signatures): Signatures of all texts, in order."""
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
    """Compute the signatures of normalized texts.

    texts (Sequence[str]): Texts, as `normalize` returns them.
    RETURNS (Signatures): One per text, in order.
    """
    exact = numpy.array([stable_hash(text, 0) for text in texts], dtype=numpy.uint64)
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
    """Cut signatures into bands: texts that share a band may be near copies.

    signatures (Signatures): Signatures of the texts.
    rows (int): Minima per band. More rows find only closer pairs.
    RETURNS (NDArray[uint64]): One key per band, shape (n_texts, MINIMA // rows).
    """
    minima = signatures.minima.astype(numpy.uint64).reshape(-1, MINIMA // rows, rows)
    keys = numpy.full(minima.shape[:2], 1469598103934665603, dtype=numpy.uint64)
    for k in range(rows):
        keys = (keys ^ minima[:, :, k]) * numpy.uint64(1099511628211)
    return keys ^ numpy.arange(minima.shape[1], dtype=numpy.uint64)


def near_pairs(signatures: Signatures) -> Iterator[Tuple[int, int]]:
    """Find near copies. Exact copies have equal hashes and are left out.

    signatures (Signatures): Signatures of the texts.
    YIELDS (Tuple[int, int]): Indices of two texts, the lower first, sorted, each pair once. In a
        band that many texts share, each is compared with the first.
    """
    keys = bands(signatures)
    found = set()
    for k in range(keys.shape[1]):
        order = numpy.argsort(keys[:, k], kind="stable")
        values = keys[order, k]
        first = numpy.flatnonzero(numpy.r_[True, values[1:] != values[:-1]])
        # Pair each text with the first one in its band.
        sizes = numpy.diff(numpy.r_[first, len(values)])
        leaders = numpy.repeat(order[first], sizes)
        pairs = numpy.stack([leaders, order], axis=1)[leaders != order]
        if not len(pairs):
            continue
        same = signatures.exact[pairs[:, 0]] == signatures.exact[pairs[:, 1]]
        pairs = pairs[~same]
        for part in numpy.array_split(pairs, max(1, len(pairs) // 100_000)):
            overlap = (signatures.minima[part[:, 0]] == signatures.minima[part[:, 1]]).mean(axis=1)
            found.update(map(tuple, numpy.sort(part[overlap >= NEAR], axis=1).tolist()))
    yield from sorted(found)


def _hash_runs(texts: Sequence[str]) -> Tuple[NDArray[numpy.uint64], NDArray[numpy.int64]]:
    """Hash the runs of RUN words of all texts, and say where those of each text begin."""
    words: List[int] = []
    lengths = []
    for text in texts:
        tokens = text.split(" ")
        words += [zlib.crc32(token.encode()) for token in tokens]
        lengths.append(len(tokens))
    hashes = numpy.array(words, dtype=numpy.uint64)
    ends = numpy.cumsum(lengths)
    begins = ends - lengths
    # A text that is shorter than a run counts as one run: its last word is repeated by index.
    position = numpy.arange(len(hashes))
    last = numpy.repeat(ends, lengths) - 1
    runs = hashes.copy()
    for k in range(1, RUN):
        step = numpy.minimum(position + k, last)
        # Mix after each word: in a mere sum, the last word would stay in the low bits.
        runs = (runs ^ (runs >> numpy.uint64(29))) * numpy.uint64(0xBF58476D1CE4E5B9) + hashes[step]
    runs = (runs ^ (runs >> numpy.uint64(32))) * numpy.uint64(0x94D049BB133111EB)
    # The last positions of a longer text begin no whole run.
    whole = (position + RUN - 1 <= last) | (position == numpy.repeat(begins, lengths))
    kept = numpy.cumsum(whole)
    starts = kept[begins] - 1
    # Take the high half, because the low bits of such products are poor.
    return (runs[whole] >> numpy.uint64(33)), starts.astype(numpy.int64)
