"""Differences between families of encoders, read off a model rather than its name."""

from typing import Any, Optional

# Where neither the encoder nor its tokenizer names a limit (relative positions): BERT's.
DEFAULT_LIMIT = 512


def width_of(config: Any) -> int:
    """RETURNS (int): Width of the vectors of an encoder with this configuration."""
    return int(getattr(config, "hidden_size", None) or config.dim)


def piece_limit(model: Any, tokenizer_limit: Optional[int]) -> int:
    """Find out how many pieces an encoder takes at once.

    model (PreTrainedModel): The encoder; its weights are not read.
    tokenizer_limit (Optional[int]): The limit that its tokenizer names, if any. It counts where
        the encoder has none of its own.
    RETURNS (int): The number of pieces, special pieces included.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not positions or positions < 0:
        return tokenizer_limit or DEFAULT_LIMIT
    # RoBERTa and related families number positions from the padding piece on.
    for module in model.modules():
        if hasattr(module, "position_embeddings") and hasattr(module, "padding_idx"):
            return int(positions) - int(module.padding_idx) - 1
    return int(positions)


def local_reach(config: Any) -> Optional[int]:
    """RETURNS (Optional[int]): How many pieces away the blocks with local attention see, in a
    family whose code takes a mask for each kind of block (ModernBERT in transformers 5); None for
    all others."""
    kinds = getattr(config, "layer_types", None) or ()
    return int(config.sliding_window) if "sliding_attention" in kinds else None
