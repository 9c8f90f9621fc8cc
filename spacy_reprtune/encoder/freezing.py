"""Which blocks of an encoder train, and how the others are held still."""

from typing import TYPE_CHECKING, List, Optional, Union

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Unfreeze = Union[str, int]


def check_unfreeze(unfreeze: Unfreeze) -> None:
    """Check the `unfreeze` setting as far as that goes without the encoder.

    unfreeze (Union[str, int]): "all", "none" or a number of blocks.
    RAISES (ValueError): It is none of these.
    """
    number = isinstance(unfreeze, int) and not isinstance(unfreeze, bool)
    if unfreeze in ("all", "none") or (number and unfreeze >= 0):
        return
    raise ValueError(
        f"unfreeze = {unfreeze!r}. Use 'all', 'none', or how many of the last blocks are to train."
    )


def find_blocks(model: "PreTrainedModel") -> "List[torch.nn.Module]":
    """Find the encoder's blocks in its module tree.

    model (PreTrainedModel): The bare encoder.
    RETURNS (List[Module]): The blocks, first to last; empty where they share their weights, as
        in ALBERT, and therefore can't be told apart.
    """
    return list(find_block_list(model) or [])


def find_block_list(model: "PreTrainedModel") -> "Optional[torch.nn.ModuleList]":
    """RETURNS (Optional[ModuleList]): The list that `find_blocks` reads, for replacing blocks."""
    import torch

    depth = getattr(model.config, "num_hidden_layers", None)
    lists = (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth)
    return next(lists, None)


def freeze(model: "PreTrainedModel", unfreeze: Unfreeze) -> "List[torch.nn.Module]":
    """Let only the last blocks of an encoder train.

    With a number, the embeddings and whatever else lies outside of the blocks stay frozen, too,
    so that all below the cut is a pure function of the text. To freeze means here: no gradient
    is asked for, so none is computed; `set_training` then keeps the dropout off as well.

    model (PreTrainedModel): The bare encoder, changed in place.
    unfreeze (Union[str, int]): "all", "none", or how many of the last blocks train.
    RETURNS (List[Module]): The modules that train.
    RAISES (ValueError): There are fewer blocks than that.
    """
    check_unfreeze(unfreeze)
    if unfreeze == "all":
        trainable = [model]
    elif unfreeze in ("none", 0):
        trainable = []
    else:
        blocks = find_blocks(model)
        if not blocks:
            raise ValueError(
                f"unfreeze = {unfreeze}, but the blocks of {type(model).__name__} share their "
                "weights, so they train together or not at all: use 'all' or 'none'."
            )
        if unfreeze > len(blocks):
            raise ValueError(
                f"unfreeze = {unfreeze}, but the encoder has only {len(blocks)} blocks. Use a "
                f"number from 0 to {len(blocks)}, 'none', or 'all' to train the embeddings as well."
            )
        trainable = blocks[len(blocks) - unfreeze :]
    model.requires_grad_(False)
    for module in trainable:
        module.requires_grad_(True)
    return trainable


def set_training(
    model: "PreTrainedModel", trainable: "List[torch.nn.Module]", training: bool
) -> None:
    """Switch the trainable blocks between training and evaluation; the frozen ones stay in
    evaluation mode, without dropout.

    model (PreTrainedModel): The bare encoder.
    trainable (List[Module]): What `freeze` returned.
    training (bool): Whether the next pass is a training step.
    """
    model.eval()
    if training:
        for module in trainable:
            module.train()
