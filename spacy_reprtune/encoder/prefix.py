"""Get the output of frozen blocks for a batch of windows, from the cache as far as possible."""

from typing import Callable, List, Optional, Protocol, Tuple

import torch

from .cache import PrefixCache, prefix_digests
from .transfer import transfer
from .windows import places_of


class FixedPooling(Protocol):
    """A reduction of a window to one vector that has no weights."""

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): One row per window, shape (n_windows, width)."""


class CachedPrefix:
    """Looks up earlier outputs of the blocks below a cut, and computes and stores the others."""

    def __init__(
        self,
        model: torch.nn.Module,
        cut: int,
        dtype: Optional[torch.dtype],
        run: Callable[..., torch.Tensor],
    ) -> None:
        """Prepare for an encoder whose weights below the cut stay as they are.

        model (PreTrainedModel): The encoder.
        cut (int): The first block above the prefix.
        dtype (Optional[dtype]): Type that the prefix is computed in, or None for fp32.
        run (Callable): Runs the blocks up to the cut, given piece ids, mask, the first block, and
            the input of that block (None for block 0).
        """
        self.cut = cut
        self.dtype = dtype
        self.run = run
        self.device = next(model.parameters()).device
        self._digests = prefix_digests(model)

    def __call__(
        self, batch, cache: PrefixCache, pooling: Optional[FixedPooling]
    ) -> Optional[torch.Tensor]:
        """Get the output for a batch.

        batch (WindowBatch): The windows.
        cache (PrefixCache): Outputs of earlier passes, to read and to extend.
        pooling (Optional[FixedPooling]): Pooling of the output, or None for all of its rows.
        RETURNS (Optional[Tensor]): Input of the block at the cut, shape (n_windows, length, width),
            or pooled windows, shape (n_windows, width); None if a value is beyond the range of the
            cache's 16-bit type.
        """
        kept = self._kept_dtype(pooling)
        space = self._space(self.cut, pooling)
        rows = cache.get(space, batch.keys, kept)
        missing = [i for i, found in enumerate(rows) if found is None]
        if missing:
            values = self._compute(batch, missing, cache, pooling).to(kept).cpu()
            if not torch.isfinite(values).all():
                return None
            sizes = [1] * len(missing)
            if pooling is None:
                sizes = [batch.lengths[i] for i in missing]
                values = torch.cat([v[:n] for v, n in zip(values, sizes, strict=True)])
            new = [r.clone() for r in values.split(sizes)]
            for i, row in zip(missing, new, strict=True):
                rows[i] = row
            cache.put(space, [batch.keys[i] for i in missing], new)
        if pooling is None:
            return self._padded(rows, batch.mask)
        return torch.cat(rows).to(self.device, non_blocking=True).float()

    def _compute(
        self,
        batch,
        missing: List[int],
        cache: PrefixCache,
        pooling: Optional[FixedPooling],
    ) -> torch.Tensor:
        index = torch.tensor(missing, device=self.device)
        ids, mask = batch.ids[index], batch.mask[index]
        start, hidden = self._nearest([batch.keys[i] for i in missing], cache, mask)
        if start < self.cut:
            hidden = self.run(ids, mask, start, hidden)
        return hidden if pooling is None else pooling.window_vectors(hidden, batch.keep[index])

    def _nearest(
        self, keys: List[bytes], cache: PrefixCache, mask: torch.Tensor
    ) -> Tuple[int, Optional[torch.Tensor]]:
        """Find the deepest cut up to ours for which the cache has all of these windows."""
        kept = self._kept_dtype(None)
        for cut in range(self.cut, 0, -1):
            space = self._space(cut, None)
            if not cache.knows(space):
                continue
            rows = cache.get(space, keys, kept, count=False)
            if all(row is not None for row in rows):
                return cut, self._padded(rows, mask)
        return 0, None

    def _padded(self, rows: List[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        flat = torch.cat(rows).to(self.device, non_blocking=True).to(self.dtype or torch.float32)
        # The host computes the places, because indexing with the mask would wait for the device.
        (places,) = transfer([places_of([len(row) for row in rows], mask.shape[1])], self.device)
        hidden = flat.new_zeros(mask.numel(), flat.shape[1]).index_copy_(0, places, flat)
        return hidden.view(*mask.shape, -1)

    def _kept_dtype(self, pooling: Optional[FixedPooling]) -> torch.dtype:
        # Results in bf16 are kept as they are, all others in the more precise of the 16-bit types.
        return torch.float16 if self.dtype is None or pooling is not None else self.dtype

    def _space(self, cut: int, pooling: Optional[FixedPooling]) -> str:
        precision = "fp32" if self.dtype is None else str(self.dtype).rpartition(".")[2]
        # A subclass of a pooling is another pooling.
        of = type(pooling)
        kind = "pieces" if pooling is None else f"{of.__module__}.{of.__qualname__}"
        return f"{self._digests[cut]}-{cut}-{precision}-{kind}"
