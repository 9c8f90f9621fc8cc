"""Some consecutive blocks of an encoder of any family, run by themselves."""

import threading
from typing import Any, Dict, List, Optional, Tuple, Union

import torch

from .freezing import find_blocks
from .packed import PackedRow, run
from .shell import make_shell

Tail = Optional[Tuple[None, ...]]


class Part:
    """The blocks of an encoder from one cut to another.

    It runs in a shell of the model, where the blocks below the part pass on the given hidden states
    and the block above it ends the pass.
    """

    def __init__(self, model: torch.nn.Module, start: int, stop: int, tail: Tail = None) -> None:
        """Cut a part out of an encoder.

        model (PreTrainedModel): The encoder. It is not changed, and its weights are not copied.
        start (int): The first block of the part. With 0, the part includes the embeddings.
        stop (int): The block after the part's last one. With the number of blocks, the part
            ends in the encoder's own output.
        tail (Tail): Result of `output_tail`, for a part that does not start at 0.
        """
        blocks = find_blocks(model)
        self._given = threading.local()
        replaced: Dict[torch.nn.Module, torch.nn.Module] = {
            block: _Skipped(block, self._given, tail) for block in blocks[:start]
        }
        if stop < len(blocks):
            replaced[blocks[stop]] = _End(blocks[stop])
        self._shell = make_shell(model, replaced)

    def __call__(
        self,
        ids: torch.Tensor,
        windows: Union[torch.Tensor, PackedRow],
        hidden: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Run the part.

        ids (Tensor): Piece ids, shape (n_rows, length).
        windows (Union[Tensor, PackedRow]): Their mask, or the packed row.
        hidden (Optional[Tensor]): Input of block `start`, shape (n_rows, length, width); not
            needed if `start` is 0.
        RETURNS (Tensor): Input of block `stop`, or the encoder's output; the same shape.
        """
        self._given.hidden = hidden
        try:
            return run(self._shell, ids, windows)
        except _Reached as reached:
            return reached.hidden
        finally:
            self._given.hidden = None


def output_tail(model: torch.nn.Module) -> Tail:
    """Find out how an encoder's blocks return their hidden states.

    model (PreTrainedModel): The encoder, in evaluation mode.
    RETURNS (Tail): The rest of the tuple that a block returns, after the hidden states (all None,
        because nothing else is asked for), or None if a block returns only a tensor.
    """
    seen: List[Any] = []
    handle = find_blocks(model)[0].register_forward_hook(lambda _, args, out: seen.append(out))
    ids = torch.ones(1, 4, dtype=torch.int64, device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        handle.remove()
    # Some encoders call the forward methods of their blocks, which no hook sees.
    return (None,) * (len(seen[0]) - 1) if seen and isinstance(seen[0], tuple) else None


def can_be_cut(model: torch.nn.Module, cut: int, tail: Tail) -> bool:
    """Find out whether an encoder gives the same results in two parts as in one.

    model (PreTrainedModel): The encoder, in evaluation mode.
    cut (int): The first block of the second part.
    tail (Tail): Result of `output_tail`.
    RETURNS (bool): Whether it does for a few sample pieces.
    """
    device = next(model.parameters()).device
    ids = torch.arange(16, device=device).reshape(2, 8) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        try:
            whole = model(input_ids=ids, attention_mask=mask)[0]
            hidden = Part(model, 0, cut)(ids, mask)
            # Longformer pads its hidden states, and the cache holds those of the pieces only.
            if hidden.shape[:2] != ids.shape:
                return False
            parts = Part(model, cut, len(find_blocks(model)), tail)(ids, mask, hidden)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return False
    return torch.allclose(whole[mask.bool()], parts[mask.bool()], atol=1e-5)


class _Reached(Exception):
    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _StandIn(torch.nn.Module):
    """Takes the place of a block and has its attributes."""

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
