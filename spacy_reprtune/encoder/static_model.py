"""The table of piece vectors as a transformers model, registered with the `Auto` classes."""

from typing import Any, Optional, Tuple

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from .load import MODEL_TYPE

# Rows are independent of each other, so this only bounds the memory of a batch.
WINDOW = 512


class StaticConfig(PretrainedConfig):
    """The configuration of a `StaticTable`."""

    model_type = MODEL_TYPE

    def __init__(self, vocab_size: int = 1, hidden_size: int = 1, **settings: Any) -> None:
        """Describe a table.

        vocab_size (int): Number of pieces.
        hidden_size (int): Width of the vectors.
        settings: Settings that every configuration of transformers has.
        """
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = 0
        self.max_position_embeddings = WINDOW
        settings.pop("num_hidden_layers", None)
        settings.pop("max_position_embeddings", None)
        super().__init__(**settings)


class StaticTable(PreTrainedModel):
    """One trainable vector per piece."""

    config_class = StaticConfig
    base_model_prefix = "table"

    def __init__(self, config: StaticConfig) -> None:
        """Make a table with random vectors.

        config (StaticConfig): Its sizes.
        """
        super().__init__(config)
        self.vectors = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor]:
        """RETURNS (Tuple[Tensor]): The vectors of the pieces, shape (n_windows, length, width)."""
        return (self.vectors(input_ids),)

    def get_input_embeddings(self) -> torch.nn.Module:
        """RETURNS (Module): The table."""
        return self.vectors

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        """Replace the table.

        value (Module): The new table.
        """
        self.vectors = value

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Do nothing: the vectors are copied from an encoder or loaded."""


def make_known() -> None:
    """Let the `Auto` classes of transformers build and load tables."""
    AutoConfig.register(MODEL_TYPE, StaticConfig, exist_ok=True)
    AutoModel.register(StaticConfig, StaticTable, exist_ok=True)
