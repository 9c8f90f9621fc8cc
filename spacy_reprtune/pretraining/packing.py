"""Batches of whole documents with a fixed number of pieces, as a pure function of the seed."""

from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy
import torch
from numpy.typing import NDArray

from .corpus import Part

# How many of the next documents are tried for the last gap of a batch.
LOOK_AHEAD = 256


@dataclass(frozen=True)
class Batch:
    """Windows in one row, without padding, shortest first.

    ids (Tensor): Piece ids with special pieces, int64 of shape (n,).
    index (Tensor): Index of each piece in its part of the corpus, -1 for special pieces and
        filling; int64 of shape (n,).
    words (Tensor): Index of the first piece of the word that a piece belongs to; int64 of
        shape (n,).
    lengths (List[int]): Pieces of each window, ascending, then those of the filling.
    n_real (int): Number of pieces without the filling.
    """

    ids: torch.Tensor
    index: torch.Tensor
    words: torch.Tensor
    lengths: List[int]
    n_real: int


def cut_documents(part: Part, limit: int) -> NDArray[numpy.int64]:
    """Cut documents that are longer than the encoder. Every piece is in exactly one window.

    part (Part): The documents.
    limit (int): The most pieces of a window, special pieces not counted.
    RETURNS (NDArray[int64]): First piece and length of each window, shape (n_windows, 2). Windows
        begin at a word if one begins in the second half of what fits.
    """
    first, length = part.offsets[:-1], numpy.diff(part.offsets)
    long = length > limit
    whole = numpy.stack([first[~long], length[~long]], axis=1)[length[~long] > 0]
    cut: List[Tuple[int, int]] = []
    for start, end in zip(first[long], first[long] + length[long], strict=True):
        while end - start > limit:
            least = max(1, limit // 2)
            words = numpy.flatnonzero(part.starts[start + least : start + limit + 1])
            size = least + int(words[-1]) if len(words) else limit
            cut.append((int(start), size))
            start += size
        cut.append((int(start), int(end - start)))
    windows = numpy.concatenate([whole, numpy.array(cut, dtype=numpy.int64).reshape(-1, 2)])
    return windows[numpy.argsort(windows[:, 0], kind="stable")]


def pack(lengths: NDArray[numpy.int64], order: Sequence[int], budget: int) -> List[List[int]]:
    """Put each window into a batch.

    lengths (NDArray[int64]): Pieces of each window, special pieces included.
    order (Sequence[int]): The windows in order.
    budget (int): The most pieces of a batch. No window may be longer.
    RETURNS (List[List[int]]): The windows of each batch. A batch is filled in order until a
        window does not fit, then with the longest ones that fit among the next.
    """
    order = numpy.asarray(order)
    size = lengths[order]
    taken = numpy.zeros(len(order), dtype=bool)
    batches, position = [], 0
    while position < len(order):
        ahead = position + numpy.flatnonzero(~taken[position : position + budget])
        sums = numpy.cumsum(size[ahead])
        n = int(numpy.searchsorted(sums, budget, side="right"))
        chosen = list(ahead[:n])
        taken[ahead[:n]] = True
        room = budget - int(sums[n - 1])
        rest = ahead[n : n + LOOK_AHEAD]
        while len(rest := rest[(size[rest] <= room) & ~taken[rest]]):
            best = int(rest[numpy.argmax(size[rest])])
            chosen.append(best)
            taken[best] = True
            room -= int(size[best])
        batches.append([int(order[i]) for i in chosen])
        while position < len(order) and taken[position]:
            position += 1
    return batches


class Packer:
    """The batches of a part of the corpus, for each step of each epoch."""

    def __init__(
        self,
        part: Part,
        *,
        limit: int,
        prefix: List[int],
        suffix: List[int],
        batch_pieces: int,
        step_batches: int = 1,
        seed: int = 0,
        max_pieces: Optional[int] = None,
        fill: int = -1,
    ) -> None:
        """Prepare to pack.

        part (Part): The documents.
        limit (int): The most pieces that the encoder takes, special pieces included.
        prefix, suffix (List[int]): The special pieces around a window.
        batch_pieces (int): The most pieces of a batch.
        step_batches (int): Batches per step, over all processes.
        seed (int): Seed of the order.
        max_pieces (Optional[int]): Take windows at equal distances, with about this many pieces.
        fill (int): Piece that fills batches up to one static shape; -1 for no filling.
        RAISES (ValueError): A batch can't hold a window.
        """
        special = len(prefix) + len(suffix)
        limit = min(limit, batch_pieces)
        if limit <= special:
            raise ValueError(
                f"batch_pieces = {batch_pieces} holds no piece besides {special} special ones."
            )
        self.part = part
        self.windows = cut_documents(part, limit - special)
        if max_pieces is not None:
            self.windows = self.windows[:: -(-int(self.windows[:, 1].sum()) // max_pieces) or 1]
        self.lengths = self.windows[:, 1] + special
        self.prefix, self.suffix = prefix, suffix
        self.limit, self.batch_pieces, self.step_batches = limit, batch_pieces, step_batches
        self.seed, self.fill = seed, fill
        self._epoch, self._batches = -1, []  # type: int, List[List[int]]

    def epoch(self, epoch: int) -> List[List[int]]:
        """RETURNS (List[List[int]]): The windows of each batch of an epoch."""
        if epoch != self._epoch:
            random = numpy.random.Generator(numpy.random.Philox(key=[self.seed, epoch]))
            order = random.permutation(len(self.windows))
            self._epoch, self._batches = epoch, pack(self.lengths, order, self.batch_pieces)
        return self._batches

    def n_steps(self, epoch: int) -> int:
        """RETURNS (int): Steps of an epoch."""
        return -(-len(self.epoch(epoch)) // self.step_batches)

    def efficiency(self, epoch: int) -> float:
        """RETURNS (float): Pieces in the batches, as a share of what they could hold."""
        return float(self.lengths.sum()) / (len(self.epoch(epoch)) * self.batch_pieces)

    def step(
        self, epoch: int, step: int, rank: int = 0, world: int = 1
    ) -> Iterator[Tuple[int, Batch]]:
        """Make the batches that a process computes in a step.

        epoch, step (int): The epoch, and the step in it.
        rank, world (int): Rank of the process, and number of processes.
        YIELDS (Tuple[int, Batch]): Number of the batch in the epoch, and the batch.
        """
        first = step * self.step_batches
        batches = self.epoch(epoch)[first : first + self.step_batches]
        for k in range(rank, len(batches), world):
            yield first + k, self.collate(batches[k])

    def collate(self, chosen: Sequence[int]) -> Batch:
        """RETURNS (Batch): A batch of some windows."""
        chosen = sorted(chosen, key=lambda w: (self.lengths[w], w))
        special = len(self.prefix) + len(self.suffix)
        n_real = int(self.lengths[chosen].sum())
        n = self.batch_pieces if self.fill >= 0 else n_real
        # Filling is cut like a long document.
        filling = [min(self.limit, n - place) for place in range(n_real, n, self.limit)]
        ids, index, words = (numpy.full(n, -1, dtype=numpy.int64) for _ in range(3))
        ids[n_real:] = self.fill
        first, size = self.windows[chosen].T
        begins = numpy.cumsum(size + special) - size - special
        for i, piece in enumerate(self.prefix):
            ids[begins + i] = piece
        for i, piece in enumerate(self.suffix):
            ids[begins + len(self.prefix) + size + i] = piece
        # Each piece's place in its window, in the corpus, and in the batch.
        place = numpy.arange(size.sum()) - numpy.repeat(numpy.cumsum(size) - size, size)
        source = numpy.repeat(first, size) + place
        target = numpy.repeat(begins + len(self.prefix), size) + place
        ids[target], index[target] = self.part.pieces[source], source
        # The last start so far. A word that began in the previous window starts with this window.
        starts = self.part.starts[source].astype(bool) | (place == 0)
        begun = numpy.maximum.accumulate(numpy.where(starts, numpy.arange(len(place)), 0))
        words[target] = source[begun]
        lengths = [int(length) for length in self.lengths[chosen]] + filling
        return Batch(*map(torch.from_numpy, (ids, index, words)), lengths, n_real)
