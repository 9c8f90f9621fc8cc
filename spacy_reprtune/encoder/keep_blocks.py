"""Make a smaller encoder from some of the blocks of a larger one.

For a student, every second block of its teacher is a good start (Sanh et al. 2019, DistilBERT,
section 3).
"""

from typing import TYPE_CHECKING, Sequence

from .freezing import find_block_list
from .load import build_empty

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_keep_blocks(kept: Sequence[int]) -> None:
    """Check the `keep_blocks` setting as far as possible without the encoder.

    kept (Sequence[int]): Numbers of blocks, counted from 0.
    RAISES (ValueError): The list is empty, or not in order.
    """
    numbers = all(isinstance(k, int) and not isinstance(k, bool) and k >= 0 for k in kept)
    if not kept or not numbers or list(kept) != sorted(set(kept)):
        raise ValueError(
            f"keep_blocks = {list(kept)}. List the numbers of the blocks that stay, counted from 0 "
            "and in order, such as [0, 2, 4]; null keeps all."
        )


def keep_blocks(model: "PreTrainedModel", kept: Sequence[int]) -> None:
    """Remove all other blocks from an encoder, and from its configuration.

    model (PreTrainedModel): The bare encoder in evaluation mode, changed in place.
    kept (Sequence[int]): Numbers of the blocks that stay, counted from 0 and in order.
    RAISES (ValueError): A block is not there, the blocks can't be told apart, or the family does
        not build the same encoder from the changed configuration.
    """
    import torch

    blocks = find_block_list(model)
    family = type(model).__name__
    if blocks is None:
        raise ValueError(
            f"keep_blocks = {list(kept)}, but the blocks of {family} share their weights or are "
            "not in one list, so none can be removed. Set it to null."
        )
    if kept[-1] >= len(blocks):
        raise ValueError(
            f"keep_blocks = {list(kept)}, but the encoder has {len(blocks)} blocks, which are "
            f"numbered from 0 to {len(blocks) - 1}."
        )
    config = model.config
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and len(kinds) == len(blocks):
        config.layer_types = [kinds[k] for k in kept]
    chosen = [blocks[k] for k in kept]
    del blocks[:]
    blocks.extend(chosen)
    config.num_hidden_layers = len(chosen)
    # Some families treat blocks differently depending on their number. Once saved and loaded, such
    # an encoder would compute something else.
    ids = torch.arange(16).reshape(2, 8) % config.vocab_size
    mask = torch.ones_like(ids)
    again = build_empty(config.to_dict())
    fits = {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    if fits:
        again.load_state_dict(model.state_dict())
        with torch.no_grad():
            found, expected = (m(input_ids=ids, attention_mask=mask)[0] for m in (again, model))
        fits = torch.allclose(found, expected, atol=1e-4)
    if not fits:
        raise ValueError(
            f"keep_blocks = {list(kept)} can't be applied to {family}: its blocks depend on their "
            "position, so an encoder of only these blocks can't be saved. Set it to null."
        )
