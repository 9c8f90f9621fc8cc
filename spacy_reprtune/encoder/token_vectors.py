"""A vector for each token: the mean of its pieces, each read where it is most central."""

from dataclasses import dataclass
from typing import Callable, Optional, Sequence

import numpy
import torch
from numpy.typing import NDArray

from .align import Alignment, align
from .module import Encoder
from .pieces import Pieces


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
        alignments = [
            align(text.starts, text.ends, piece.offsets, text.text)
            for text, piece in zip(texts, pieces, strict=True)
        ]
        return pool_tokens(self.encoder, pieces, alignments)


def pool_tokens(
    encoder: Encoder,
    pieces: Sequence[Pieces],
    alignments: Sequence[Alignment],
    *,
    project: Optional[Callable[[torch.Tensor], torch.Tensor]] = None,
    n_columns: Optional[int] = None,
) -> torch.Tensor:
    """Run an encoder and average over the pieces of each token.

    encoder (Encoder): The encoder.
    pieces (Sequence[Pieces]): The pieces of each text.
    alignments (Sequence[Alignment]): Which of them count for which token.
    project (Optional[Callable]): A linear map of fp32 piece vectors, applied before they are
        averaged: what is kept of a long text is as wide as its result. The vectors if None.
    n_columns (Optional[int]): Columns of that result; the encoder's width if None.
    RETURNS (Tensor): fp32 rows for all tokens of all texts in order, shape (n_tokens, n_columns);
        zeros for a token without a piece.
    """
    device, width = encoder.device, n_columns or encoder.width
    rows = _PieceRows(pieces, alignments, device)
    total = torch.zeros(rows.n_tokens, width, device=device)
    for batch, vectors in encoder.encode(pieces):
        window, column = torch.nonzero(batch.keep, as_tuple=True)
        piece = batch.first_piece[window] + column
        text = batch.texts[window]
        inside = (piece >= 0) & (piece < rows.n_pieces[text])
        window, column = window[inside], column[inside]
        flat = rows.piece_starts[text[inside]] + piece[inside]
        # A piece that reaches into several tokens counts for each.
        repeats = rows.pair_counts[flat]
        source = torch.repeat_interleave(torch.arange(len(flat), device=device), repeats)
        first = torch.repeat_interleave(rows.pair_starts[flat], repeats)
        ends = torch.cumsum(repeats, 0)
        within = torch.arange(len(source), device=device) - (ends - repeats)[source]
        tokens = rows.pair_tokens[first + within]
        found = vectors[window, column].float()
        found = found if project is None else project(found)
        # In place: a copy for each batch would be most of the work of a long stream.
        total.index_add_(0, tokens, found[source])
    return total / rows.token_pieces.clamp(min=1)[:, None]


class _PieceRows:
    """The pairs of pieces and tokens of a batch of texts, numbered through and sorted by piece."""

    def __init__(self, pieces, alignments: Sequence[Alignment], device) -> None:
        n_pieces = numpy.array([len(p) for p in pieces], dtype=numpy.int64)
        n_tokens = numpy.array([a.n_tokens for a in alignments], dtype=numpy.int64)
        piece_starts = numpy.cumsum(n_pieces) - n_pieces
        token_starts = numpy.cumsum(n_tokens) - n_tokens
        flat_pieces = numpy.concatenate(
            [a.pieces + s for a, s in zip(alignments, piece_starts, strict=True)]
        )
        flat_tokens = numpy.concatenate(
            [a.tokens + s for a, s in zip(alignments, token_starts, strict=True)]
        )
        order = numpy.argsort(flat_pieces, kind="stable")
        counts = numpy.bincount(flat_pieces, minlength=int(n_pieces.sum()))
        self.n_tokens = int(n_tokens.sum())

        def put(array: NDArray) -> torch.Tensor:
            return torch.from_numpy(numpy.ascontiguousarray(array, dtype=numpy.int64)).to(device)

        self.n_pieces = put(n_pieces)
        self.piece_starts = put(piece_starts)
        self.pair_tokens = put(flat_tokens[order])
        self.pair_counts = put(counts)
        self.pair_starts = put(numpy.cumsum(counts) - counts)
        self.token_pieces = put(numpy.bincount(flat_tokens, minlength=self.n_tokens))
