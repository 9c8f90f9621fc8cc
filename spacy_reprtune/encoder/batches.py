"""From texts to batches of windows: numpy, whatever computes the vectors."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Sequence

import numpy
from numpy.typing import NDArray

from .pieces import Pieces, PieceTokenizer
from .windows import ReadPieces, Windows, batch_by_pieces, cut_windows

if TYPE_CHECKING:
    from .packed import PackedRow

# The most padding of a batch on a CPU, in pieces: beyond it, a second batch costs less than the
# padding does. A GPU computes both for about the price of the larger one.
CPU_PADDING = 100


@dataclass
class WindowBatch:
    """Windows of about the same length, ready for the encoder: tensors for torch, arrays for
    ONNX Runtime.

    texts (Tensor): Index of the text that each window belongs to, shape (n_windows,).
    ids, mask (Tensor): Piece ids with special pieces and padding, and 1 where there is a piece
        rather than padding, both int64 of shape (n_windows, length).
    keep (Tensor): True for the positions to be read from this window, shape (n_windows, length).
        Over all windows of a text they are its pieces once each, in order, between the first
        window's leading special pieces and the last one's closing special pieces.
    lengths (List[int]): Pieces of each window, special pieces included.
    keys (List[bytes]): Digests of what each window shows and keeps; empty while the encoder is
        not `caching`.
    first_piece (Optional[NDArray[int64]]): Index in its text of the piece at each window's position
        0, negative by the number of leading special pieces for a first window; on the host, shape
        (n_windows,).
    read (Optional[ReadPieces]): The pieces at the positions that are read; None where the vectors
        are those of tokens.
    row (Optional[PackedRow]): The same windows in one row, where the encoder computes them so.
    """

    texts: Any
    ids: Any
    mask: Any
    keep: Any
    lengths: List[int]
    keys: List[bytes]
    first_piece: Optional[NDArray] = None
    read: Optional[ReadPieces] = None
    row: "Optional[PackedRow]" = None


class TextReader:
    """Base class of what computes vectors of texts: it tokenizes, cuts windows and makes batches.

    tokenizer (PieceTokenizer): The tokenizer.
    settings (Any): Has `max_pieces`, `overlap` and `batch_pieces`, as `EncoderSettings`.
    window (int): The most pieces of a window, special pieces included.
    padding (Optional[int]): The most padding of a batch, in pieces; None for any.
    caching (bool): Whether batches have the keys of their windows.
    """

    tokenizer: PieceTokenizer
    settings: Any
    window: int
    padding: Optional[int]
    caching: bool

    def tokenize(
        self, texts: Sequence[str], *, offsets: bool = False, cached: bool = False
    ) -> List[Pieces]:
        """Turn texts, or with `max_pieces` their beginnings, into pieces; see `PieceTokenizer`."""
        pieces = self.tokenizer(texts, offsets=offsets, cached=cached)
        if self.settings.max_pieces is None:
            return pieces
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        n = max(1, self.settings.max_pieces - special)
        return [
            Pieces(p.ids[:n], None if p.offsets is None else p.offsets[:n]) if len(p) > n else p
            for p in pieces
        ]

    def windows(self, pieces: Sequence[Pieces]) -> Windows:
        """RETURNS (Windows): The windows of texts, as long as the settings and encoder allow."""
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        lengths = [len(p) for p in pieces]
        return cut_windows(lengths, size=self.window - special, overlap=self.settings.overlap)

    def batches(self, pieces: Sequence[Pieces]) -> Iterator[WindowBatch]:
        """Cut texts into windows and group these by length.

        pieces (Sequence[Pieces]): The pieces of each text.
        YIELDS (WindowBatch): Batches within the piece budget. The windows of a long text are
            spread over as many as they need.
        """
        windows = self.windows(pieces)
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        lengths = windows.lengths + special
        budget = self.settings.batch_pieces
        for group in batch_by_pieces(lengths, budget=budget, padding=self.padding):
            # A tokenizer without special pieces makes an empty window of an empty text.
            if lengths[group[-1]]:
                yield self.collate(pieces, windows, group[lengths[group] > 0])

    def collate(self, pieces: Sequence[Pieces], windows: Windows, group: NDArray) -> WindowBatch:
        """Put windows into one batch.

        pieces (Sequence[Pieces]): The pieces of each text.
        windows (Windows): All windows.
        group (NDArray[int64]): Indices of those in the batch.
        RETURNS (WindowBatch): The batch, of arrays.
        """
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        lead, special = len(prefix), len(prefix) + len(suffix)
        lengths = windows.lengths[group]
        longest = int(lengths.max()) + special
        ids = numpy.full((len(group), longest), self.tokenizer.pad_id, dtype=numpy.int64)
        if lead:
            ids[:, :lead] = prefix
        for row, w in enumerate(group):
            n = int(lengths[row])
            start = int(windows.starts[w])
            ids[row, lead : lead + n] = pieces[windows.texts[w]].ids[start : start + n]
            ids[row, lead + n : n + special] = suffix
        columns = numpy.arange(longest)
        mask = columns < (lengths + special)[:, None]
        # A first window also keeps its leading special pieces, a last one its closing ones.
        starts, ends = windows.starts[group], windows.ends[group]
        sizes = numpy.asarray([len(pieces[t]) for t in windows.texts[group]])
        low = numpy.where(starts == 0, 0, lead + windows.keep_starts[group] - starts)
        high = lead + windows.keep_ends[group] - starts
        high = numpy.where(ends == sizes, lengths + special, high)
        keep = (columns >= low[:, None]) & (columns < high[:, None])

        keys = []
        for row, n in enumerate(lengths + special) if self.caching else ():
            digest = hashlib.blake2b(ids[row, :n], digest_size=16)
            if high[row] - low[row] < n:
                digest.update(keep[row, :n])
            keys.append(digest.digest())

        texts = windows.texts[group]
        batch = WindowBatch(
            texts, ids, mask.astype(numpy.int64), keep, (lengths + special).tolist(), keys
        )
        batch.first_piece = starts - lead
        batch.read = ReadPieces.of(keep, texts, batch.first_piece, sizes)
        return batch
