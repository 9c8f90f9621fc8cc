"""Which blocks of an encoder train, and how the others are frozen."""

from typing import TYPE_CHECKING, Dict, List, Optional, Union

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Unfreeze = Union[int, str]


def check_unfreeze(unfreeze: Unfreeze) -> None:
    """Check the `unfreeze` setting as far as possible without the encoder.

    unfreeze (Union[int, str]): "all", "none" or a number of blocks.
    RAISES (ValueError): It has another value.
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
    RETURNS (List[Module]): The blocks, first to last; empty if they can't be told apart, because
        they share their weights, as in ALBERT, or are not in one list, as in Funnel and XLM.
    """
    return list(find_block_list(model) or [])


def find_block_list(model: "PreTrainedModel") -> "Optional[torch.nn.ModuleList]":
    """RETURNS (Optional[ModuleList]): The list that `find_blocks` reads, for replacing blocks."""
    import torch

    depth = getattr(model.config, "num_hidden_layers", None)
    for module in model.modules():
        lists = [m for m in module.children() if isinstance(m, torch.nn.ModuleList)]
        lists = [m for m in lists if len(m) == depth]
        if lists:
            # XLM has a list of attentions, another one of normalizations, and so on.
            return lists[0] if len(lists) == 1 else None
    return None


def freeze(model: "PreTrainedModel", unfreeze: Unfreeze) -> "List[torch.nn.Module]":
    """Let only the last blocks of an encoder train.

    With a number, the embeddings and whatever else lies outside of the blocks stay frozen, too,
    so that everything below the cut is a pure function of the text. Frozen means that no
    gradient is requested, so none is computed. `Encoder.train` keeps their dropout off as well.

    model (PreTrainedModel): The bare encoder, changed in place.
    unfreeze (Union[int, str]): "all", "none", or how many of the last blocks train.
    RETURNS (List[Module]): The modules that train.
    RAISES (ValueError): The encoder has fewer blocks, or they can't be told apart.
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
                "weights or are not in one list, so they train together or not at all: use 'all' "
                "or 'none'."
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


def stage(unfreeze: Unfreeze, depth: int, step: int, every: "Optional[int]") -> Unfreeze:
    """Find out what trains at a step of gradual unfreezing (Howard & Ruder 2018, ULMFiT, section
    3.3): at first only the head, then one more block from the top after every stage.

    unfreeze (Union[int, str]): The setting, which applies after the last stage.
    depth (int): Number of the encoder's blocks.
    step (int): Number of updates so far.
    every (Optional[int]): Updates per stage, or None to train all blocks from the start.
    RETURNS (Union[int, str]): The blocks that train now.
    """
    if every is None or unfreeze in ("none", 0):
        return unfreeze
    blocks = step // every
    if unfreeze == "all":
        # The embeddings come last, as a stage of their own.
        return min(blocks, depth) if blocks <= depth else "all"
    return min(blocks, int(unfreeze))


def rate_factors(model: "PreTrainedModel", decay: float) -> "Dict[torch.nn.Parameter, float]":
    """Lower the learning rate from block to block, from the top down (Howard & Ruder 2018, section
    3.1).

    model (PreTrainedModel): The bare encoder.
    decay (float): Learning rate of a block as a fraction of the rate of the block above it.
    RETURNS (Dict[Parameter, float]): A factor for each parameter: 1.0 for the last block, a
        further `decay` for each block below it, and one more for the embeddings. Parameters
        outside of both (a closing normalization) have 1.0.
    """
    blocks = find_blocks(model)
    factors = dict.fromkeys(model.parameters(), 1.0)
    table = model.get_input_embeddings()
    for child in model.children():
        if any(module is table for module in child.modules()):
            factors.update((p, decay ** len(blocks)) for p in child.parameters())
    for i, block in enumerate(reversed(blocks)):
        factors.update((p, decay**i) for p in block.parameters())
    return factors


def reinitialize_last(model: "PreTrainedModel", n_blocks: int) -> None:
    """Give the last blocks new random weights, as before pretraining (Zhang et al. 2021,
    Revisiting Few-sample BERT Fine-tuning, section 5).

    model (PreTrainedModel): The bare encoder, changed in place.
    n_blocks (int): Number of blocks.
    RAISES (ValueError): The encoder has fewer blocks.
    """
    blocks = find_blocks(model)
    if n_blocks > len(blocks):
        raise ValueError(
            f"reinit_last = {n_blocks}, but there are {len(blocks)} blocks. Use at most that many."
        )
    for block in blocks[len(blocks) - n_blocks :]:
        for parameter in block.parameters():
            # transformers 5 marks the weights that it has loaded, and would skip them.
            vars(parameter).pop("_is_hf_initialized", None)
        block.apply(model._init_weights)
