"""An encoder without a sequence model: a table with one vector per piece, made from an encoder.

Each piece is encoded by itself, the vectors are reduced to their principal components, and frequent
pieces get less weight, as in Model2Vec (Tulkens & van Dongen 2024). The table is a transformers
model without blocks, so it is loaded, run, trained and saved like any other encoder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, Optional

import torch

from .module import CPU, EncoderSettings
from .static_model import StaticConfig, StaticTable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .pieces import PieceTokenizer

# Pieces that are encoded at once, each as a separate text.
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
            raise ValueError(
                f"unfreeze = {self.unfreeze!r}. A table has no blocks, so use 'all' or 'none'."
            )
        if self.width is not None and self.width < 1:
            raise ValueError(f"width = {self.width}. Use 1 or more, or null for the encoder's.")
        if self.sif is not None and not self.sif > 0.0:
            raise ValueError(f"sif = {self.sif}. Use a number above 0, or null for no weighting.")
        if not self.table_lr > 0.0:
            raise ValueError(f"table_lr = {self.table_lr}. Use a factor above 0.")

    def prepare(
        self, model: "PreTrainedModel", tokenizer: "PieceTokenizer", device: torch.device = CPU
    ) -> "PreTrainedModel":
        """Turn an encoder into a table.

        model (PreTrainedModel): The encoder. A table stays as it is.
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
    """Compute the vector of each piece as a text by itself: the mean over the piece and the special
    pieces around it.

    model (PreTrainedModel): The encoder, in evaluation mode.
    tokenizer (PieceTokenizer): Its tokenizer.
    device (device): Where to run it.
    RETURNS (Tensor): fp32, one row per row of the encoder's embedding, shape (n_pieces, width).
    """
    n_pieces = len(model.get_input_embeddings().weight)
    prefix, suffix = (torch.tensor([p]).long() for p in (tokenizer.prefix, tokenizer.suffix))
    model = model.to(device)
    rows = []
    for ids in torch.arange(n_pieces).split(TABLE_BATCH):
        before, after = (part.reshape(1, -1).expand(len(ids), -1) for part in (prefix, suffix))
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
        for equal weights. The frequency of a piece is estimated from its id by Zipf's law, because
        vocabularies are sorted by frequency.
    RETURNS (StaticTable): The table, in evaluation mode. Special pieces have a vector of zeros.
    """
    special = torch.tensor(sorted(set(tokenizer.tokenizer.all_special_ids))).long()
    ordinary = torch.ones(len(vectors), dtype=torch.bool)
    ordinary[special[special < len(vectors)]] = False
    centered = vectors.double() - vectors[ordinary].double().mean(0)
    # Eigenvectors come in ascending order of their eigenvalues.
    _, directions = torch.linalg.eigh(torch.cov(centered[ordinary].T).reshape(len(centered.T), -1))
    table = centered @ directions.flip(1)[:, : width or None]
    if sif is not None:
        ranks = torch.arange(len(vectors), dtype=torch.float64) + 2.0
        frequency = (1.0 / ranks) / (1.0 / ranks).sum()
        table *= (sif / (sif + frequency))[:, None]
    # Scaled to unit variance, so that learning rates mean the same for any encoder.
    table /= table[ordinary].std().clamp(min=1e-6)
    table[~ordinary] = 0.0
    made = StaticTable(StaticConfig(vocab_size=len(table), hidden_size=table.shape[1]))
    with torch.no_grad():
        made.vectors.weight.copy_(table)
    return made.float().eval()
