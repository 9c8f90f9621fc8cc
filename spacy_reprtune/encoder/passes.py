"""The ways to run an encoder's weights: whole, or its frozen and its trainable blocks apart."""

import copy
from contextlib import contextmanager, nullcontext
from typing import Iterator, List, Optional, Protocol

import torch

from .cache import PrefixCache, prefix_digests
from .cpu import CheapAttentionDropout, prepare_for_cpu
from .freezing import find_block_list, find_blocks
from .parts import Part, can_be_cut, output_tail


class FixedPooling(Protocol):
    """A reduction of a window to one vector that has no weights."""

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): One row per window, shape (n_windows, width)."""


class Passes:
    """Runs an encoder with and without gradient, in fp32 or in half precision.

    Weights are in fp32. With half precision, steps with gradient autocast, and everything that
    needs none runs in a half-precision copy, which is kept in step with the weights block by
    block. Below the cut no weight ever changes, so what comes out there is kept in a cache.
    """

    def __init__(self, model, dtype: Optional[torch.dtype]) -> None:
        """Prepare for a model.

        model (PreTrainedModel): The encoder, in evaluation mode.
        dtype (Optional[dtype]): To compute in half precision, or None for fp32.
        """
        self.model = model
        self.dtype = dtype
        self.device = next(model.parameters()).device
        self.depth = len(find_blocks(model))
        self._parameters = list(model.parameters())
        self.trainable: List[torch.nn.Module] = [model]
        # Blocks below this are frozen, with all that is in no block; None where nothing is.
        self.cut: Optional[int] = None
        self._forget()

    def freeze(self, trainable: List[torch.nn.Module]) -> None:
        """Note what trains from now on.

        trainable (List[Module]): Result of `freeze`.
        """
        self.trainable = trainable
        self.cut = None
        self._above = self._above_half = self._below = None
        if trainable == [self.model]:
            return
        # Found out here, once, and in evaluation mode: a pass of a training model draws random
        # numbers, and those of a step must not depend on what the cache holds.
        self.model.eval()
        # Blocks that share their weights can't be told apart, so nothing is between them.
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

    def whole(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run all blocks.

        ids, mask (Tensor): Piece ids and mask, shape (n_windows, length).
        RETURNS (Tensor): Vectors, shape (n_windows, length, width).
        """
        if not (torch.is_grad_enabled() and self.trainable):
            with torch.no_grad():
                return self._inference_model()(input_ids=ids, attention_mask=mask)[0]
        with self._training():
            return self.model(input_ids=ids, attention_mask=mask)[0]

    def above(self, ids: torch.Tensor, mask: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Run the blocks from the cut on.

        ids, mask (Tensor): Piece ids and mask, shape (n_windows, length).
        hidden (Tensor): Result of `below` for them, shape (n_windows, length, width).
        RETURNS (Tensor): Vectors of the same shape.
        """
        if self.cut == self.depth:
            return hidden
        if not torch.is_grad_enabled():
            model = self._inference_model()
            if self._above_half is None:
                self._above_half = Part(model, self.cut, self.depth, self._tail)
            return self._above_half(ids, mask, hidden)
        if self._above is None:
            self._above = Part(self.model, self.cut, self.depth, self._tail)
        with self._training():
            return self._above(ids, mask, hidden)

    @torch.no_grad()
    def below(
        self, batch, cache: Optional[PrefixCache], pooling: Optional[FixedPooling] = None
    ) -> torch.Tensor:
        """Run the frozen blocks, or look up what they gave before.

        batch (WindowBatch): The windows.
        cache (Optional[PrefixCache]): Outputs of earlier passes, to read and to extend, or None.
        pooling (Optional[FixedPooling]): Pooling of the output, where no block is trainable.
        RETURNS (Tensor): Input of the block at the cut, shape (n_windows, length, width), or
            pooled windows, shape (n_windows, width).
        """
        self._check_version()
        if cache is None:
            hidden = self._run_below(batch.ids, batch.mask, 0, self.cut)
            return hidden if pooling is None else pooling.window_vectors(hidden, batch.keep)
        kept = self._kept_dtype(pooling)
        space = self._space(self.cut, pooling)
        rows = cache.get(space, batch.keys, kept)
        missing = [i for i, found in enumerate(rows) if found is None]
        if missing:
            values = self._compute(batch, missing, cache, pooling).to(kept).cpu()
            if not torch.isfinite(values).all():
                # Beyond the range of fp16: such texts are computed each time.
                return self.below(batch, None, pooling)
            sizes = [1] * len(missing)
            if pooling is None:
                sizes = [batch.lengths[i] for i in missing]
                values = torch.cat([v[:n] for v, n in zip(values, sizes, strict=True)])
            new = [r.clone() for r in values.split(sizes)]
            for i, row in zip(missing, new, strict=True):
                rows[i] = row
            cache.put(space, [batch.keys[i] for i in missing], new)
        return self._padded(rows, batch.mask) if pooling is None else self._stack(rows)

    def _compute(
        self,
        batch,
        missing: List[int],
        cache: PrefixCache,
        pooling: Optional[FixedPooling],
    ) -> torch.Tensor:
        index = torch.tensor(missing, device=self.device)
        ids, mask = batch.ids[index], batch.mask[index]
        start, hidden = self._nearest(batch, missing, cache, mask)
        if start < self.cut:
            hidden = self._run_below(ids, mask, start, self.cut, hidden)
        return hidden if pooling is None else pooling.window_vectors(hidden, batch.keep[index])

    def _nearest(self, batch, missing: List[int], cache: PrefixCache, mask: torch.Tensor):
        """The deepest cut below ours that the cache has all these windows of."""
        keys = [batch.keys[i] for i in missing]
        kept = self._kept_dtype(None)
        for cut in range(self.cut, 0, -1):
            space = self._space(cut, None)
            if not cache.knows(space):
                continue
            rows = cache.get(space, keys, kept, count=False)
            if all(row is not None for row in rows):
                return cut, self._padded(rows, mask)
        return 0, None

    def _stack(self, rows: List[torch.Tensor]) -> torch.Tensor:
        return torch.cat(rows).to(self.device, non_blocking=True).float()

    def _padded(self, rows: List[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        flat = torch.cat(rows).to(self.device, non_blocking=True).to(self.dtype or torch.float32)
        hidden = flat.new_zeros(*mask.shape, flat.shape[1])
        hidden[mask.bool()] = flat
        return hidden

    def _run_below(self, ids, mask, start, stop, hidden=None):
        model = self._inference_model(fresh=False)
        key = (start, stop)
        if self._below is None or self._below[0] != key:
            self._below = key, Part(model, start, stop, self._tail)
        return self._below[1](ids, mask, hidden)

    def _kept_dtype(self, pooling: Optional[FixedPooling]) -> torch.dtype:
        # What was computed in bf16 is kept as it is; all else in the 16 bits with more precision.
        return torch.float16 if self.dtype is None or pooling is not None else self.dtype

    def _space(self, cut: int, pooling: Optional[FixedPooling]) -> str:
        if self._digests is None:
            self._digests = prefix_digests(self.model)
        precision = "fp32" if self.dtype is None else str(self.dtype).rpartition(".")[2]
        # A subclass of a pooling is another pooling.
        kind = "pieces" if pooling is None else f"{type(pooling)}"
        return f"{self._digests[cut]}-{cut}-{precision}-{kind}"

    @contextmanager
    def _training(self) -> Iterator[None]:
        autocast = torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype is not None
        )
        dropout = CheapAttentionDropout() if self.device.type == "cpu" else nullcontext()
        with autocast, dropout:
            yield

    def _inference_model(self, *, fresh: bool = True) -> torch.nn.Module:
        """The model, or its copy in half precision; `fresh` if trainable blocks are going to be
        used as well."""
        self._check_version()
        if self.dtype is None:
            return self.model
        if self._half is None or (fresh and self.model in self._stale):
            self._half = self._halved(self.model)
            self._stale.clear()
            self._below = self._above_half = None
        if fresh and self._stale:
            blocks = find_blocks(self.model)
            copies = find_block_list(self._half)
            for block in self._stale:
                copies[blocks.index(block)] = self._halved(block)
            self._stale.clear()
            self._above_half = None
        return self._half

    def _halved(self, module: torch.nn.Module) -> torch.nn.Module:
        half = copy.deepcopy(module).to(self.dtype).eval()
        if self.device.type == "cpu":
            prepare_for_cpu(half)
        return half

    def _current_version(self) -> int:
        # Loading weights raises a tensor's version. A fused optimizer does not: see `changed`.
        return sum(p._version for p in self._parameters)

    def _check_version(self) -> None:
        if self._version != self._current_version():
            self._forget()

    def _forget(self) -> None:
        self._version = self._current_version()
        self._half = self._below = self._above = self._above_half = None
        self._digests: Optional[List[str]] = None
        self._stale: dict = {}
