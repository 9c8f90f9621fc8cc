"""A run of an encoder's blocks by itself, for whatever family the encoder is of."""

import copy
import threading
from typing import Any, List, Optional, Tuple

import torch

from .freezing import find_blocks

Tail = Optional[Tuple[None, ...]]


class Part:
    """The blocks of an encoder from one cut to another.

    The code around the blocks (masks, positions, relative or rotary embeddings, a last
    normalization) is the family's own: it runs as it is, in a copy of the model's shell that
    shares every weight and in which the blocks below the part hand on the given hidden states
    and the block above it ends the pass. So nothing here knows about families.
    """

    def __init__(self, model: torch.nn.Module, start: int, stop: int, tail: Tail = None) -> None:
        """Cut a part out of an encoder.

        model (PreTrainedModel): The encoder. It is not changed, and its weights are not copied.
        start (int): The first block of the part. 0 stands for the embeddings and that block.
        stop (int): The block after the part's last one. With the number of blocks, the part
            ends in the encoder's own output.
        tail (Tail): Result of `output_tail`, for a part that does not start at 0.
        """
        blocks = find_blocks(model)
        self._given = threading.local()
        replaced: List[Any] = list(blocks)
        if start:
            for i in range(start):
                replaced[i] = _Skipped(blocks[i], self._given, tail)
        if stop < len(blocks):
            replaced[stop] = _End(blocks[stop])
        self.start, self.stop = start, stop
        self._shell = _share(model, blocks, replaced)

    def __call__(
        self, ids: torch.Tensor, mask: torch.Tensor, hidden: Optional[torch.Tensor] = None
    ) -> torch.Tensor:
        """Run the part.

        ids, mask (Tensor): Piece ids and mask, shape (n_windows, length).
        hidden (Optional[Tensor]): Input of block `start`, shape (n_windows, length, width); not
            needed where that is 0.
        RETURNS (Tensor): Input of block `stop`, or the encoder's output; the same shape.
        """
        self._given.hidden = hidden
        try:
            return self._shell(input_ids=ids, attention_mask=mask)[0]
        except _Reached as reached:
            return reached.hidden
        finally:
            self._given.hidden = None


def output_tail(model: torch.nn.Module) -> Tail:
    """Find out how an encoder's blocks return their hidden states.

    model (PreTrainedModel): The encoder, in evaluation mode.
    RETURNS (Tail): What follows the hidden states in the tuple that a block returns (nothing but
        None, as none of it is asked for), or None where a block returns only a tensor.
    """
    seen: List[Any] = []
    handle = find_blocks(model)[0].register_forward_hook(lambda _, args, out: seen.append(out))
    ids = torch.ones(1, 4, dtype=torch.int64, device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        handle.remove()
    return (None,) * (len(seen[0]) - 1) if isinstance(seen[0], tuple) else None


def can_be_cut(model: torch.nn.Module, cut: int, tail: Tail) -> bool:
    """Find out whether an encoder gives the same in two parts as in one.

    model (PreTrainedModel): The encoder, in evaluation mode.
    cut (int): The first block of the second part.
    tail (Tail): Result of `output_tail`.
    RETURNS (bool): Whether it does, tried on a few pieces.
    """
    device = next(model.parameters()).device
    ids = torch.arange(16, device=device).reshape(2, 8) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        try:
            whole = model(input_ids=ids, attention_mask=mask)[0]
            hidden = Part(model, 0, cut)(ids, mask)
            parts = Part(model, cut, len(find_blocks(model)), tail)(ids, mask, hidden)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return False
    return torch.allclose(whole[mask.bool()], parts[mask.bool()], atol=1e-5)


class _Reached(Exception):
    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _StandIn(torch.nn.Module):
    """In the place of a block; whoever asks it for an attribute gets the block's."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        # Not as a submodule: its weights don't belong to the shell.
        self.__dict__["block"] = block

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["block"], name)


class _Skipped(_StandIn):
    def __init__(self, block: torch.nn.Module, given: threading.local, tail: Tail) -> None:
        super().__init__(block)
        self.__dict__.update(given=given, tail=tail)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        given = self.__dict__["given"].hidden
        tail = self.__dict__["tail"]
        return given if tail is None else (given, *tail)


class _End(_StandIn):
    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise _Reached(hidden)


def _share(model: torch.nn.Module, blocks: List[Any], replaced: List[Any]) -> torch.nn.Module:
    """Copy the modules that lead to the blocks; everything else is the same object in both."""
    ids = {id(block) for block in blocks}
    memo = {id(model.config): model.config}
    memo.update((id(p), p) for p in model.parameters())
    memo.update((id(b), b) for b in model.buffers())
    for module in model.modules():
        if not any(id(inner) in ids for inner in module.modules()):
            memo[id(module)] = module
    memo.update((id(block), new) for block, new in zip(blocks, replaced, strict=True))
    return copy.deepcopy(model, memo)
