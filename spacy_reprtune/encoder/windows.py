"""Cut long texts into windows of word pieces, and group windows into batches by padded size."""

from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence

import numpy
from numpy.typing import NDArray


@dataclass
class Windows:
    """Windows over the pieces of several texts. All arrays have the shape (n_windows,).

    texts (NDArray[int64]): Index of the text that the window belongs to.
    starts, ends (NDArray[int64]): The pieces it covers, special pieces not counted.
    keep_starts, keep_ends (NDArray[int64]): The pieces that are read from this window: those
        that no other window of the text has closer to its center.
    """

    texts: NDArray[numpy.int64]
    starts: NDArray[numpy.int64]
    ends: NDArray[numpy.int64]
    keep_starts: NDArray[numpy.int64]
    keep_ends: NDArray[numpy.int64]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """RETURNS (NDArray[int64]): Pieces in each window, without special pieces."""
        return self.ends - self.starts


@dataclass
class ReadPieces:
    """The pieces that are read from a batch of windows, special pieces not counted. All arrays
    have the shape (n_read,) and are in the host's memory.

    texts (NDArray[int64]): Index of the text that the piece belongs to.
    pieces (NDArray[int64]): Index of the piece in its text.
    places (NDArray[int64]): Its place in the padded rows of the batch, counted row by row.
    """

    texts: NDArray[numpy.int64]
    pieces: NDArray[numpy.int64]
    places: NDArray[numpy.int64]

    @classmethod
    def of(cls, keep: NDArray, texts: NDArray, first: NDArray, sizes: NDArray) -> "ReadPieces":
        """Find out which pieces are read.

        keep (NDArray[bool]): The positions that are read, shape (n_windows, length).
        texts (NDArray[int64]): The text of each window, shape (n_windows,).
        first (NDArray[int64]): Index in the text of the piece at position 0 of each window,
            negative if that is a special piece, shape (n_windows,).
        sizes (NDArray[int64]): Number of pieces in the text of each window, shape (n_windows,).
        RETURNS (ReadPieces): The pieces, window by window.
        """
        window, column = numpy.nonzero(keep)
        piece = first[window] + column
        inside = (piece >= 0) & (piece < sizes[window])
        window, column = window[inside], column[inside]
        return cls(texts[window], piece[inside], window * keep.shape[1] + column)


def places_of(lengths: Sequence[int], width: int) -> NDArray[numpy.int64]:
    """RETURNS (NDArray[int64]): The places of all pieces in padded rows, counted row by row, given
    the number of pieces in each row and the padded length; shape (n_pieces,)."""
    inside = numpy.arange(width) < numpy.asarray(lengths, dtype=numpy.int64)[:, None]
    return numpy.flatnonzero(inside)


def cut_windows(n_pieces: Sequence[int], *, size: int, overlap: int = 0) -> Windows:
    """Cut texts into windows. A text that fits becomes one window. A longer one gets as few windows
    as possible, all of about the same length, so that none is a stub without context.

    n_pieces (Sequence[int]): Pieces of each text. An empty text is one empty window.
    size (int): Pieces that a window may hold, special pieces not counted.
    overlap (int): Pieces that neighboring windows share at least.
    RETURNS (Windows): Sorted by text, then position. A text's keep ranges partition its pieces.
    """
    total = numpy.asarray(n_pieces, dtype=numpy.int64)
    step = size - overlap
    counts = numpy.maximum(1, -(-(total - overlap) // step))
    texts = numpy.repeat(numpy.arange(len(total)), counts)
    firsts = numpy.cumsum(counts) - counts
    index = numpy.arange(len(texts)) - numpy.repeat(firsts, counts)
    count, length = counts[texts], total[texts]
    # Windows of equal width, with starts spread evenly over the rest of the text.
    width = numpy.where(count > 1, -(-(length + (count - 1) * overlap) // count), length)
    starts = numpy.where(count > 1, index * (length - width) // numpy.maximum(count - 1, 1), 0)
    ends = starts + width
    # The seam between two windows is the middle of what they share.
    keep_starts, keep_ends = starts.copy(), ends.copy()
    later = numpy.flatnonzero(index > 0)
    seams = (starts[later] + ends[later - 1]) // 2
    keep_starts[later] = seams
    keep_ends[later - 1] = seams
    return Windows(texts, starts, ends, keep_starts, keep_ends)


def batch_by_pieces(
    lengths: NDArray, *, budget: int, padding: Optional[int] = None
) -> Iterator[NDArray]:
    """Group items of similar length, so that a group's padded size stays within a budget.

    lengths (NDArray): Pieces of each item, shape (n_items,).
    budget (int): The most that rows times the longest row of a group may be. A longer item is a
        group by itself.
    padding (Optional[int]): The most padding that a group may have, in pieces; None for any.
    YIELDS (NDArray[int64]): Indices of a group's items, the shortest first. Each item is in
        exactly one group.
    """
    order = numpy.argsort(lengths, kind="stable")
    group: List[int] = []
    pieces = 0
    for i in order:
        length = int(lengths[i])
        padded = (len(group) + 1) * max(length, 1)
        too_sparse = padding is not None and padded - (pieces + length) > padding
        if group and (padded > budget or too_sparse):
            yield numpy.asarray(group)
            group, pieces = [], 0
        group.append(int(i))
        pieces += length
    if group:
        yield numpy.asarray(group)
