"""A vector for each token: the mean of its pieces, each read where it is most central."""

from dataclasses import dataclass
from typing import Callable, Optional, Sequence, Tuple

import numpy
import torch
from numpy.typing import NDArray

from .align import Alignment, align
from .module import Encoder
from .pieces import Pieces
from .transfer import transfer
from .windows import ReadPieces


@dataclass
class TokenSpans:
    """A text and where its tokens are.

    text (str): The text.
    starts, ends (NDArray): First character of each token and the one after its last, ascending,
        shape (n_tokens,).
    """

    text: str
    starts: NDArray
    ends: NDArray


class TokenVectors(torch.nn.Module):
    """An encoder with the mean over each token's pieces on top; no weights of its own."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout_rate = 0.0

    def forward(self, texts: Sequence[TokenSpans]) -> torch.Tensor:
        """Compute the vectors.

        texts (Sequence[TokenSpans]): The texts with their tokens.
        RETURNS (Tensor): fp32 rows for all tokens of all texts in order, shape (n_tokens, width);
            zeros for a token without a piece.
        """
        pieces = self.encoder.tokenize([t.text for t in texts], offsets=True, cached=self.training)
        return pool_tokens(self.encoder, pieces, align_all(texts, pieces))


def align_all(texts: Sequence[TokenSpans], pieces: Sequence[Pieces]) -> Alignment:
    """Align the tokens and pieces of several texts at once, which for short texts takes a fraction
    of the time of aligning one after the other.

    texts (Sequence[TokenSpans]): The texts with their tokens.
    pieces (Sequence[Pieces]): The pieces of each, with offsets.
    RETURNS (Alignment): The pairs, with tokens and pieces numbered through all texts.
    """
    # As if there was one text, with a line break between any two.
    sizes = numpy.array([len(text.text) + 1 for text in texts], dtype=numpy.int64)
    begins = numpy.cumsum(sizes) - sizes
    of_tokens = numpy.repeat(begins, [len(text.starts) for text in texts])
    of_pieces = numpy.repeat(begins, [len(own) for own in pieces])
    return align(
        numpy.concatenate([text.starts for text in texts]) + of_tokens,
        numpy.concatenate([text.ends for text in texts]) + of_tokens,
        numpy.concatenate([own.offsets for own in pieces]) + of_pieces[:, None],
        "\n".join(text.text for text in texts),
    )


def pool_tokens(
    encoder: Encoder,
    pieces: Sequence[Pieces],
    alignment: Alignment,
    *,
    project: Optional[Callable[[torch.Tensor], torch.Tensor]] = None,
    n_columns: Optional[int] = None,
) -> torch.Tensor:
    """Run an encoder and average over the pieces of each token.

    encoder (Encoder): The encoder.
    pieces (Sequence[Pieces]): The pieces of each text.
    alignment (Alignment): Which of them count for which token, see `align_all`.
    project (Optional[Callable]): A linear map of fp32 piece vectors, applied before they are
        averaged: what is kept of a long text is as wide as its result. The vectors if None.
    n_columns (Optional[int]): Columns of that result; the encoder's width if None.
    RETURNS (Tensor): fp32 rows for all tokens of all texts in order, shape (n_tokens, n_columns);
        zeros for a token without a piece.
    """
    device, width = encoder.device, n_columns or encoder.width
    pairs = _Pairs(pieces, alignment)
    total = torch.zeros(alignment.n_tokens, width, device=device)
    for batch, vectors in encoder.encode(pieces):
        # Which rows are read is worked out by the host, so that it never waits for the device.
        source, tokens = pairs.of(batch.read)
        places, source, tokens = transfer([batch.read.places, source, tokens], device)
        found = vectors.flatten(0, 1).index_select(0, places).float()
        found = found if project is None else project(found)
        # In place: a copy for each batch would be most of the work of a long stream.
        total.index_add_(0, tokens, found[source])
    (counts,) = transfer([alignment.lengths], device)
    return total / counts.clamp(min=1)[:, None]


class _Pairs:
    """The pairs of pieces and tokens of a batch of texts, sorted by piece."""

    def __init__(self, pieces: Sequence[Pieces], alignment: Alignment) -> None:
        n_pieces = numpy.array([len(own) for own in pieces], dtype=numpy.int64)
        self._piece_starts = numpy.cumsum(n_pieces) - n_pieces
        self._tokens = alignment.tokens[numpy.argsort(alignment.pieces, kind="stable")]
        self._counts = numpy.bincount(alignment.pieces, minlength=int(n_pieces.sum()))
        self._starts = numpy.cumsum(self._counts) - self._counts

    def of(self, read: ReadPieces) -> Tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
        """RETURNS (Tuple[NDArray[int64], NDArray[int64]]): The pairs of the pieces that are read
        from a batch: which of these pieces, and which token. A piece that reaches into several
        tokens has a pair with each."""
        flat = self._piece_starts[read.texts] + read.pieces
        repeats = self._counts[flat]
        source = numpy.repeat(numpy.arange(len(flat)), repeats)
        # The k-th pair of a piece is its first pair plus k.
        within = numpy.arange(len(source)) - numpy.repeat(numpy.cumsum(repeats) - repeats, repeats)
        return source, self._tokens[numpy.repeat(self._starts[flat], repeats) + within]
