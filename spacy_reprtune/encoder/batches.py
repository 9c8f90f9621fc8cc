"""From texts to batches of windows, in numpy, for encoders in torch and in ONNX Runtime."""

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
        Together, the windows of a text keep each of its pieces once, in order, between the leading
        special pieces of the first window and the closing special pieces of the last one.
    lengths (List[int]): Pieces of each window, special pieces included.
    keys (List[bytes]): A digest of each window's pieces and the positions it keeps; empty while the
        encoder is not `caching`.
    first_piece (Optional[NDArray[int64]]): Index in the text of the piece at position 0 of each
        window. In a text's first window, that is minus the number of leading special pieces. On the
        host, shape (n_windows,).
    read (Optional[ReadPieces]): The pieces at the positions that are read; None if the vectors are
        vectors of tokens.
    row (Optional[PackedRow]): The same windows in one row, if the encoder packs them.
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
    """Base class of encoders: it tokenizes texts, cuts them into windows, and makes batches.

    tokenizer (PieceTokenizer): The tokenizer.
    settings (Any): Has `max_pieces`, `overlap` and `batch_pieces`, as `EncoderSettings`.
    window (int): The most pieces of a window, special pieces included.
    padding (Optional[int]): The most padding of a batch, in pieces; None for any.
    caching (bool): Whether batches hold the keys of their windows.
    """

    tokenizer: PieceTokenizer
    settings: Any
    window: int
    padding: Optional[int]
    caching: bool

    def tokenize(
        self, texts: Sequence[str], *, offsets: bool = False, cached: bool = False
    ) -> List[Pieces]:
        """Turn texts into pieces, up to `max_pieces` of each; see `PieceTokenizer`."""
        pieces = self.tokenizer(texts, offsets=offsets, cached=cached)
        if self.settings.max_pieces is None:
            return pieces
        n = max(1, self.settings.max_pieces - self.tokenizer.n_special)
        return [
            Pieces(p.ids[:n], None if p.offsets is None else p.offsets[:n]) if len(p) > n else p
            for p in pieces
        ]

    def windows(self, pieces: Sequence[Pieces]) -> Windows:
        """RETURNS (Windows): The windows of texts, as long as the settings and encoder allow."""
        lengths = [len(p) for p in pieces]
        size = self.window - self.tokenizer.n_special
        return cut_windows(lengths, size=size, overlap=self.settings.overlap)

    def batches(self, pieces: Sequence[Pieces]) -> Iterator[WindowBatch]:
        """Cut texts into windows and group the windows by length.

        pieces (Sequence[Pieces]): The pieces of each text.
        YIELDS (WindowBatch): Batches within the piece budget. The windows of a long text are
            spread over as many batches as they need.
        """
        windows = self.windows(pieces)
        lengths = windows.lengths + self.tokenizer.n_special
        budget = self.settings.batch_pieces
        for group in batch_by_pieces(lengths, budget=budget, padding=self.padding):
            # A tokenizer without special pieces makes an empty window of an empty text.
            if lengths[group[-1]]:
                yield self.collate(pieces, windows, group[lengths[group] > 0])

    def collate(self, pieces: Sequence[Pieces], windows: Windows, group: NDArray) -> WindowBatch:
        """Put windows into one batch.

        pieces (Sequence[Pieces]): The pieces of each text.
        windows (Windows): All windows.
        group (NDArray[int64]): Indices of the windows in the batch.
        RETURNS (WindowBatch): The batch, of arrays.
        """
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        lead, special = len(prefix), self.tokenizer.n_special
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
        # A first window also keeps the leading special pieces, a last window the closing ones.
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

        texts, first_piece = windows.texts[group], starts - lead
        return WindowBatch(
            texts=texts,
            ids=ids,
            mask=mask.astype(numpy.int64),
            keep=keep,
            lengths=(lengths + special).tolist(),
            keys=keys,
            first_piece=first_piece,
            read=ReadPieces.of(keep, texts, first_piece, sizes),
        )
