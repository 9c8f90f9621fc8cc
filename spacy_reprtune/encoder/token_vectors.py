"""Compute the vector of each token: the mean of its pieces, each read where it is most central."""

from typing import Callable, Optional, Sequence

import torch

from .align import Alignment, Pairs, TokenSpans, align_all
from .module import Encoder
from .pieces import Pieces
from .transfer import transfer


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
        averaged, so that only its results have to be kept for a long text; None for no map.
    n_columns (Optional[int]): Columns of its results; the encoder's width if None.
    RETURNS (Tensor): fp32 rows for all tokens of all texts in order, shape (n_tokens, n_columns);
        zeros for a token without a piece.
    """
    device, width = encoder.device, n_columns or encoder.width
    pairs = Pairs(pieces, alignment)
    total = torch.zeros(alignment.n_tokens, width, device=device)
    for batch, vectors in encoder.encode(pieces):
        # The host works out which rows are read, so that it never waits for the device.
        source, tokens = pairs.of(batch.read)
        places, source, tokens = transfer([batch.read.places, source, tokens], device)
        found = read_rows(vectors, places)
        add_rows(total, found if project is None else project(found), source, tokens)
    (counts,) = transfer([alignment.lengths], device)
    return mean_of(total, counts)


def read_rows(vectors: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """RETURNS (Tensor): The vectors at places of padded rows, fp32, shape (n_read, width)."""
    return vectors.flatten(0, 1).index_select(0, places).float()


def add_rows(
    total: torch.Tensor, rows: torch.Tensor, source: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """RETURNS (Tensor): The sums of tokens, with `rows[source]` added to `tokens` in place. On a
    long stream, a copy for each batch would be most of the work."""
    return total.index_add_(0, tokens, rows[source])


def mean_of(total: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """RETURNS (Tensor): The means of tokens, given their sums and their numbers of pieces."""
    return total / counts.clamp(min=1)[:, None]
