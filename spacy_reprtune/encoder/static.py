"""An encoder without a sequence model: a table with one vector per piece, made from an encoder.

Each piece passes the encoder by itself, the vectors are reduced to their principal components, and
frequent pieces get less weight, as in Model2Vec (Tulkens & van Dongen 2024). The table is a model
of transformers with no blocks, so it is loaded, run, trained and saved as any other encoder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, Optional

import torch

from .module import CPU, EncoderSettings
from .static_model import StaticConfig, StaticTable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .pieces import PieceTokenizer

# Pieces that pass the encoder at once, each as a text of its own.
TABLE_BATCH = 1024


@dataclass(frozen=True)
class StaticSettings(EncoderSettings):
    """The settings of `spacy_reprtune.StaticEncoder.v1`, whose docstring explains each."""

    reads_order = False
    width: Optional[int] = 256
    sif: Optional[float] = 1e-4
    table_lr: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unfreeze not in ("all", "none"):
            raise ValueError(f"unfreeze = {self.unfreeze!r}. A table has no blocks: 'all', 'none'.")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width = {self.width}. Use 1 or more, or null for the encoder's.")
        if self.sif is not None and not self.sif > 0.0:
            raise ValueError(f"sif = {self.sif}. Use a number above 0, or null for no weighting.")
        if not self.table_lr > 0.0:
            raise ValueError(f"table_lr = {self.table_lr}. Use a factor above 0.")

    def prepare(
        self, model: "PreTrainedModel", tokenizer: "PieceTokenizer", device: torch.device = CPU
    ) -> "PreTrainedModel":
        """Make the table of an encoder.

        model (PreTrainedModel): The encoder. A table that was made before stays as it is.
        tokenizer (PieceTokenizer): Its tokenizer.
        device (device): Where to run the encoder.
        RETURNS (PreTrainedModel): The table.
        """
        if isinstance(model, StaticTable):
            return model
        vectors = piece_vectors(model, tokenizer, device)
        return make_table(vectors, tokenizer, width=self.width, sif=self.sif)

    def rate_factors(self, model: "PreTrainedModel") -> "Dict[torch.nn.Parameter, float]":
        """RETURNS (Dict[Parameter, float]): Factor of each parameter's learning rate."""
        return dict.fromkeys(model.parameters(), self.table_lr)


@torch.no_grad()
def piece_vectors(
    model: "PreTrainedModel", tokenizer: "PieceTokenizer", device: torch.device = CPU
) -> torch.Tensor:
    """Compute the vector of each piece as a text by itself: the mean over it and the special
    pieces around it.

    model (PreTrainedModel): The encoder, in evaluation mode.
    tokenizer (PieceTokenizer): Its tokenizer.
    device (device): Where to run it.
    RETURNS (Tensor): fp32, one row per row of the encoder's embedding, shape (n_pieces, width).
    """
    n_pieces = model.get_input_embeddings().num_embeddings
    prefix, suffix = (torch.tensor([p]).long() for p in (tokenizer.prefix, tokenizer.suffix))
    model = model.to(device)
    rows = []
    for ids in torch.arange(n_pieces).split(TABLE_BATCH):
        around = (part.reshape(1, -1).expand(len(ids), -1) for part in (prefix, suffix))
        before, after = around
        batch = torch.cat([before, ids[:, None], after], 1).to(device)
        vectors = model(input_ids=batch, attention_mask=torch.ones_like(batch))[0]
        rows.append(vectors.float().mean(1).cpu())
    return torch.cat(rows)


def make_table(
    vectors: torch.Tensor,
    tokenizer: "PieceTokenizer",
    *,
    width: Optional[int],
    sif: Optional[float],
) -> StaticTable:
    """Reduce and weight the vectors of pieces.

    vectors (Tensor): One row per piece, shape (n_pieces, encoder_width).
    tokenizer (PieceTokenizer): The tokenizer.
    width (Optional[int]): How many principal components to keep; None, or more than there are,
        for all.
    sif (Optional[float]): The constant of smooth inverse frequency (Arora et al. 2017), or None
        for equal weights. The frequency of a piece is estimated from its number by Zipf's law:
        vocabularies are in order of frequency.
    RETURNS (StaticTable): The table, in evaluation mode. Special pieces have a vector of zeros.
    """
    special = torch.tensor(sorted(set(tokenizer.tokenizer.all_special_ids))).long()
    ordinary = torch.ones(len(vectors), dtype=torch.bool)
    ordinary[special[special < len(vectors)]] = False
    centered = vectors.double() - vectors[ordinary].double().mean(0)
    # Eigenvectors come in ascending order of their values.
    _, directions = torch.linalg.eigh(torch.cov(centered[ordinary].T).reshape(len(centered.T), -1))
    table = centered @ directions.flip(1)[:, : width or None]
    if sif is not None:
        ranks = torch.arange(len(vectors), dtype=torch.float64) + 2.0
        frequency = (1.0 / ranks) / (1.0 / ranks).sum()
        table *= (sif / (sif + frequency))[:, None]
    # Of unit variance, so that learning rates mean the same for any encoder.
    table /= table[ordinary].std().clamp(min=1e-6)
    table[~ordinary] = 0.0
    made = StaticTable(StaticConfig(vocab_size=len(table), hidden_size=table.shape[1]))
    with torch.no_grad():
        made.vectors.weight.copy_(table)
    return made.float().eval()
