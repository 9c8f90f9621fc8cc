"""Run an encoder as a whole, or its frozen and its trainable blocks separately."""

import copy
from contextlib import contextmanager, nullcontext
from typing import Dict, Iterator, List, Optional, Tuple, Union

import torch

from .cache import PrefixCache
from .cpu import CheapAttentionDropout, prepare_for_cpu
from .freezing import find_block_list, find_blocks
from .packed import PackedRow, run
from .parts import Part, can_be_cut, output_tail
from .prefix import CachedPrefix, FixedPooling


class Passes:
    """Runs an encoder with and without gradient, in fp32 or in half precision.

    Weights are in fp32. With half precision, passes with gradient use autocast, and all others run
    in a half-precision copy, which is updated block by block. Below the cut no weight ever changes,
    so the output there is cached.
    """

    def __init__(self, model, dtype: Optional[torch.dtype]) -> None:
        """Prepare for a model.

        model (PreTrainedModel): The encoder, in evaluation mode.
        dtype (Optional[dtype]): Type to compute with, or None for fp32.
        """
        self.model = model
        self.dtype = dtype
        self.device = next(model.parameters()).device
        self.depth = len(find_blocks(model))
        self._parameters = list(model.parameters())
        self.trainable: List[torch.nn.Module] = [model]
        # Blocks below this one are frozen, and so is everything outside of blocks. None if nothing
        # can be cached.
        self.cut: Optional[int] = None
        self._forget()

    def freeze(self, trainable: List[torch.nn.Module]) -> None:
        """Note which modules train from now on.

        trainable (List[Module]): Result of `freeze`.
        """
        self.trainable = trainable
        self.cut = None
        self._parts.clear()
        self._prefix = None
        if trainable == [self.model]:
            return
        # Find the cut once, and in evaluation mode: a pass in training mode draws random numbers,
        # and the numbers that a step draws must not depend on what the cache holds.
        self.model.eval()
        # Blocks that share their weights can't be told apart, so there is no place to cut.
        if not self.depth:
            return
        self._tail = output_tail(self.model)
        cut = self.depth - len(trainable)
        if not trainable or (cut and can_be_cut(self.model, cut, self._tail)):
            self.cut = cut

    def changed(self) -> None:
        """Note that an optimizer has changed the trainable weights."""
        self._stale.update(dict.fromkeys(self.trainable))
        self._version = self._current_version()

    def whole(self, ids: torch.Tensor, windows: Union[torch.Tensor, PackedRow]) -> torch.Tensor:
        """Run all blocks.

        ids (Tensor): Piece ids, shape (n_rows, length).
        windows (Union[Tensor, PackedRow]): Their mask, or the packed row.
        RETURNS (Tensor): Vectors, shape (n_rows, length, width).
        """
        if not (torch.is_grad_enabled() and self.trainable):
            with torch.no_grad():
                return run(self._inference_model(), ids, windows)
        with self._training():
            return run(self.model, ids, windows)

    def above(
        self, ids: torch.Tensor, windows: Union[torch.Tensor, PackedRow], hidden: torch.Tensor
    ) -> torch.Tensor:
        """Run the blocks from the cut on.

        ids, windows (Tensor): See `whole`.
        hidden (Tensor): Result of `below` for them, shape (n_rows, length, width).
        RETURNS (Tensor): Vectors of the same shape.
        """
        if self.cut == self.depth:
            return hidden
        if not torch.is_grad_enabled():
            return self._part(self._inference_model(), self.cut, self.depth)(ids, windows, hidden)
        with self._training():
            return self._part(self.model, self.cut, self.depth)(ids, windows, hidden)

    @torch.no_grad()
    def below(
        self, batch, cache: Optional[PrefixCache], pooling: Optional[FixedPooling] = None
    ) -> torch.Tensor:
        """Run the frozen blocks, or look up their output in the cache.

        batch (WindowBatch): The windows.
        cache (Optional[PrefixCache]): Outputs of earlier passes, to read and to extend, or None.
        pooling (Optional[FixedPooling]): Pooling of the output, where no block is trainable.
        RETURNS (Tensor): Input of the block at the cut, shape (n_windows, length, width), or
            pooled windows, shape (n_windows, width).
        """
        self._check_version()
        found = None
        if cache is not None:
            if self._prefix is None:
                self._prefix = CachedPrefix(self.model, self.cut, self.dtype, self._run_below)
            found = self._prefix(batch, cache, pooling)
        if found is not None:
            return found
        hidden = self._run_below(batch.ids, batch.mask)
        return hidden if pooling is None else pooling.window_vectors(hidden, batch.keep)

    def _run_below(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        start: int = 0,
        hidden: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        return self._part(self._inference_model(fresh=False), start, self.cut)(ids, mask, hidden)

    def _part(self, model: torch.nn.Module, start: int, stop: int) -> Part:
        # Parts with gradient are made in training mode, and never from the copy.
        key = (torch.is_grad_enabled(), start, stop)
        if key not in self._parts:
            self._parts[key] = Part(model, start, stop, self._tail)
        return self._parts[key]

    @contextmanager
    def _training(self) -> Iterator[None]:
        autocast = torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype is not None
        )
        dropout = CheapAttentionDropout() if self.device.type == "cpu" else nullcontext()
        with autocast, dropout:
            yield

    def _inference_model(self, *, fresh: bool = True) -> torch.nn.Module:
        """Get the model or its half-precision copy, with up-to-date trainable blocks if `fresh`."""
        self._check_version()
        if self.dtype is None:
            return self.model
        if self._half is None or (fresh and self.model in self._stale):
            self._half = self._halved(self.model)
            self._stale.clear()
            self._parts.clear()
        if fresh and self._stale:
            blocks = find_blocks(self.model)
            copies = find_block_list(self._half)
            for block in self._stale:
                copies[blocks.index(block)] = self._halved(block)
            self._stale.clear()
            self._parts.clear()
        return self._half

    def _halved(self, module: torch.nn.Module) -> torch.nn.Module:
        half = copy.deepcopy(module).to(self.dtype).eval()
        # Rotary frequencies stay in fp32, as in training: rounded, they turn distant pieces by the
        # wrong angle.
        for name, buffer in module.named_buffers():
            owner, _, own_name = name.rpartition(".")
            if own_name.endswith("inv_freq"):
                setattr(half.get_submodule(owner), own_name, buffer.clone())
        if self.device.type == "cpu":
            prepare_for_cpu(half)
        return half

    def _current_version(self) -> int:
        # Loading weights increases a tensor's version. A fused optimizer does not: see `changed`.
        return sum(p._version for p in self._parameters)

    def _check_version(self) -> None:
        if self._version != self._current_version():
            self._forget()

    def _forget(self) -> None:
        self._version = self._current_version()
        self._half = None
        # The key says whether the part runs with gradient, its first block, and where it stops.
        self._parts: Dict[Tuple[bool, int, int], Part] = {}
        self._prefix: Optional[CachedPrefix] = None
        self._stale: dict = {}
