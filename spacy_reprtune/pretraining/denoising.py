"""Texts restored from their vectors, without most of their pieces (Wang et al. 2021, TSDAE: Using
Transformer-based Sequential Denoising Auto-Encoder for Unsupervised Sentence Embedding Learning).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import torch

from ..bridge.device import configured_device
from ..encoder.families import width_of
from ..encoder.load import load_pretrained, resolve_encoder
from ..encoder.pieces import PieceTokenizer
from ..encoder.transfer import transfer
from .body import split_rows
from .head import projected_loss
from .masking import bits_of, hashed, seed_of, threshold
from .model import Change, Restorer
from .packing import Batch
from .settings import EncoderPart, MaskingPart

# Share of the pieces that are deleted, which Wang et al. found to be the best.
DELETED = 0.6
# Width of the decoder's attention heads, and how many times as wide its middle is: those of BERT.
HEAD_WIDTH, WIDER = 64, 4


@dataclass(frozen=True)
class Deleted:
    """A batch with fewer pieces, and the texts to restore.

    ids (Tensor): The pieces that are left, of all windows, shape (n_left,).
    lengths (List[int]): How many are left of each window, special ones included, ascending.
    rows (Tensor): For each text, the window that it is restored from, shape (n_windows,).
    labels (Tensor): The pieces of all texts without special ones, shape (n,).
    sizes (List[int]): Pieces of each text, ascending.
    """

    ids: torch.Tensor
    lengths: List[int]
    rows: torch.Tensor
    labels: torch.Tensor
    sizes: List[int]

    def to(self, device: torch.device) -> "Deleted":
        """RETURNS (Deleted): The batch on a device."""
        arrays = [self.ids.numpy(), self.rows.numpy(), self.labels.numpy()]
        ids, rows, labels = transfer(arrays, device)
        return Deleted(ids, self.lengths, rows, labels, self.sizes)


def delete(batch: Batch, *key: int) -> Deleted:
    """Delete pieces, but never all of a window.

    batch (Batch): The batch, without filling.
    *key (int): Numbers that select the pieces, such as seed and epoch.
    RETURNS (Deleted): What is left. Special pieces stay.
    """
    lengths = torch.tensor(batch.lengths)
    n = len(lengths)
    window = torch.arange(n).repeat_interleave(lengths)
    special = batch.index < 0
    chance = bits_of(hashed(batch.index, *key, 0)).masked_fill(special, -1)
    best = torch.full((n,), -1).scatter_reduce(0, window, chance, "amax")
    left = special | (chance >= threshold(DELETED)) | (chance == best[window])
    # Windows of one length go through the encoder together, so they are sorted again.
    counts = window[left].bincount(minlength=n)
    order = counts.argsort(stable=True)
    rows = order.argsort()
    by_length = rows[window[left]].argsort(stable=True)
    sizes = window[~special].bincount(minlength=n)
    return Deleted(
        ids=batch.ids[left][by_length],
        lengths=counts[order].tolist(),
        rows=rows,
        labels=batch.ids[~special],
        sizes=sizes.tolist(),
    )


class Decoder(torch.nn.Module):
    """One layer of a transformer that writes a text piece by piece: it sees the pieces before and
    the vector of the text.

    Its input and its output are tied to the encoder's embeddings, which it does not move: all that
    the encoder learns, it learns through the vector.
    """

    def __init__(self, table: torch.Tensor, width: int, limit: int) -> None:
        """Make a decoder with random weights.

        table (Tensor): The embeddings, shape (n_vocabulary, embedding width).
        width (int): Width of the vectors.
        limit (int): The most pieces of a text.
        """
        super().__init__()
        self.places = torch.nn.Parameter(0.02 * torch.randn(limit, width))
        self.inward = torch.nn.Linear(table.shape[1], width)
        self.layer = torch.nn.TransformerDecoderLayer(
            width,
            math.gcd(width, max(1, width // HEAD_WIDTH)),
            WIDER * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.norm = torch.nn.LayerNorm(width)
        self.outward = torch.nn.Linear(width, table.shape[1])
        self.bias = torch.nn.Parameter(torch.zeros(len(table)))

    def loss(
        self,
        vectors: torch.Tensor,
        labels: torch.Tensor,
        sizes: List[int],
        table: torch.Tensor,
        dtype: Optional[torch.dtype] = None,
    ) -> torch.Tensor:
        """Sum the cross entropy over the pieces of texts, each after the right ones before it.

        vectors (Tensor): Vectors of the texts, shape (n_texts, width).
        labels (Tensor): The pieces of all texts, shape (n,).
        sizes (List[int]): Pieces of each text, ascending.
        table (Tensor): The embeddings.
        dtype (Optional[dtype]): Type of the projection's products; None for the weights' own.
        RETURNS (Tensor): The sum, a scalar.
        """
        table = table.detach()
        groups = split_rows(list(table[labels].split(sizes)))
        states: List[torch.Tensor] = []
        for rows, memory in zip(groups, vectors.split(list(map(len, groups))), strict=True):
            # Padding is at the end, where nothing in front of it looks.
            pieces = torch.nn.utils.rnn.pad_sequence(rows, True)
            before = torch.nn.functional.pad(pieces[:, :-1], (0, 0, 1, 0))
            n = before.shape[1]
            later = torch.ones(n, n, dtype=torch.bool, device=table.device).triu(1)
            hidden = self.inward(before) + self.places[:n]
            hidden = self.layer(hidden, memory[:, None], tgt_mask=later, tgt_is_causal=True)
            states += [row[: len(own)] for row, own in zip(hidden, rows, strict=True)]
        hidden = self.outward(self.norm(torch.cat(states)))
        return projected_loss(hidden, table, self.bias, labels, dtype)

    def flops_per_piece(self, rate: float) -> float:
        """RETURNS (float): Operations per piece of the text; see `MaskedHead`. All pieces are
        projected."""
        parts = (self.inward, self.layer, self.outward)
        weights = [p for part in parts for p in part.parameters() if p.ndim > 1]
        return 6.0 * sum(map(torch.Tensor.numel, weights)) + 4.0 * (
            len(self.bias) * self.outward.out_features
        )


class Denoiser(Restorer):
    """Restores texts from their vectors: the mean over the pieces that are left."""

    encoded = 1.0 - DELETED

    def _make_head(self) -> Decoder:
        table = self.model.get_input_embeddings().weight
        return Decoder(table, width_of(self.model.config), self.limit).to(self.device)

    def noise(self, masking: MaskingPart) -> Callable[..., Deleted]:
        """See `Restorer`. The settings of masking do not matter."""
        return delete

    def loss(self, batch: Batch, damaged: Deleted) -> torch.Tensor:
        """See `Restorer`."""
        vectors = self.vectors(damaged.ids, damaged.lengths)[damaged.rows]
        table = self.model.get_input_embeddings().weight
        with self._precision():
            return self.head.loss(vectors, damaged.labels, damaged.sizes, table, self.dtype)

    def weights(self) -> Dict[str, torch.nn.Parameter]:
        """See `Restorer`."""
        own = {f"decoder.{name}": weight for name, weight in self.head.named_parameters()}
        return {**super().weights(), **own}


def load_denoiser(
    settings: EncoderPart, *, seed: int = 0, change: Optional[Change] = None
) -> Tuple[Denoiser, Path, bool]:
    """Load the encoder of a run, without a head it may have; see `model.load`.

    RETURNS (Tuple[Denoiser, Path, bool]): The model, the directory that it came from, and True: its
        decoder is new.
    """
    path = resolve_encoder(settings.name)
    tokenizer = PieceTokenizer.from_directory(path)
    model = load_pretrained(path)
    if change is not None:
        tokenizer = change(model, tokenizer)
    torch.manual_seed(seed_of(seed, 0xDEC0))
    return Denoiser(model, tokenizer, settings, configured_device(settings.device)), path, True
