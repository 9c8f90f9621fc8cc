"""Token vectors from another component, in the form that a head reads."""

from dataclasses import dataclass
from typing import Dict, Iterator, List, Tuple

import numpy
import torch
from torch.nn.utils.rnn import pad_sequence

from .batches import WindowBatch
from .transfer import transfer
from .windows import batch_by_pieces

# Rows that are padded at once, to reduce docs to one vector each.
BATCH_ROWS = 16384


@dataclass
class TokenRows:
    """The vectors of the tokens of a batch of docs.

    vectors (Tensor): fp32, all tokens of all docs in order, shape (n_tokens, width).
    lengths (List[int]): Number of tokens of each doc; their sum is `n_tokens`.
    """

    vectors: torch.Tensor
    lengths: List[int]

    def __len__(self) -> int:
        return len(self.lengths)

    def encoded(self) -> Iterator[Tuple[WindowBatch, torch.Tensor]]:
        """Convert to the form of `Encoder.encode`: each doc is a window, and each token is a piece.

        YIELDS (Tuple[WindowBatch, Tensor]): Docs of about the same length, and their vectors,
            shape (n_docs, length, width). Docs without tokens are left out.
        """
        rows = self.vectors.split(self.lengths)
        lengths = numpy.asarray(self.lengths)
        device = self.vectors.device
        for group in batch_by_pieces(lengths, budget=BATCH_ROWS):
            group = group[lengths[group] > 0]
            if not len(group):
                continue
            vectors = pad_sequence([rows[i] for i in group], batch_first=True)
            columns = numpy.arange(vectors.shape[1])
            texts, keep = transfer([group, columns < lengths[group][:, None]], device)
            batch = WindowBatch(
                texts=texts,
                ids=keep,
                mask=keep,
                keep=keep,
                lengths=lengths[group].tolist(),
                keys=[],
            )
            yield batch, vectors


class ListenedEncoder(torch.nn.Module):
    """The encoder of a head that reads another component's vectors: a width, and no weights."""

    # Constant, because nothing is cached here and nothing trains.
    cache = None
    caches = caching = False

    def __init__(self, width: int, device: torch.device) -> None:
        """Stand in for an encoder.

        width (int): Width of its vectors.
        device (torch.device): Where the head runs.
        """
        super().__init__()
        self.width = width
        self.device = device

    def rate_factors(self) -> Dict[torch.nn.Parameter, float]:
        """RETURNS (Dict[Parameter, float]): Empty."""
        return {}

    def weights_changed(self) -> None:
        """Do nothing: there are no weights."""

    def begin_step(self, step: int) -> None:
        """Do nothing: there are no blocks to unfreeze."""
