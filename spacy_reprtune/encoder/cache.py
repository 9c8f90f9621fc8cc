"""A cache of the outputs of frozen blocks: computed once per text, kept in half precision."""

import hashlib
import json
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set, Tuple
from weakref import WeakValueDictionary

import torch

from .freezing import find_blocks
from .spill import Spill

logger = logging.getLogger("spacy")

_Key = Tuple[str, bytes]


@dataclass
class CacheStats:
    """The contents of a cache and how often they were used.

    entries (int): Windows in memory.
    memory_bytes, disk_bytes (int): Size of what is held.
    hits, misses (int): Lookups of windows that were found, and that were not.
    """

    entries: int
    memory_bytes: int
    disk_bytes: int
    hits: int
    misses: int

    @property
    def hit_rate(self) -> float:
        """RETURNS (float): Share of hits, 0.0 before the first lookup."""
        return self.hits / max(self.hits + self.misses, 1)


class PrefixCache:
    """Half-precision rows, each stored under a space and a key.

    A space names everything that the rows depend on besides the text: the weights below the cut,
    the cut, the precision, the pooling. So rows of other weights are never found, and all encoders
    of a process can share the cache. Rows within the byte budget are in memory. Beyond it, the
    least recently used rows are moved to the spill directory, or dropped if there is none.
    """

    def __init__(self, budget: int, directory: Optional[Path] = None) -> None:
        """Start empty, or with what the directory holds from earlier.

        budget (int): Bytes in memory.
        directory (Optional[Path]): Where to spill to, or None to drop what does not fit.
        """
        self.budget = budget
        self.spill = Spill(directory) if directory is not None else None
        self._rows: OrderedDict[_Key, torch.Tensor] = OrderedDict()
        self._spaces: Set[str] = set()
        self._nbytes = 0
        self._hits = 0
        self._misses = 0
        self._full = False
        self._process = os.getpid()

    @property
    def stats(self) -> CacheStats:
        """RETURNS (CacheStats): The contents, and hits and misses so far."""
        disk = self.spill.nbytes if self.spill else 0
        return CacheStats(len(self._rows), self._nbytes, disk, self._hits, self._misses)

    def get(
        self, space: str, keys: Sequence[bytes], dtype: torch.dtype, *, count: bool = True
    ) -> List[Optional[torch.Tensor]]:
        """Look up the rows of windows.

        space (str): See the class.
        keys (Sequence[bytes]): One per window.
        dtype (dtype): A 16-bit type, the one they were put in with.
        count (bool): Whether to count hits and misses.
        RETURNS (List[Optional[Tensor]]): Rows of shape (n_rows, width), or None for a window that
            is not in the cache. The rows must not be written to.
        """
        found = [self._get((space, key), dtype) for key in keys]
        if count:
            hits = sum(rows is not None for rows in found)
            self._hits += hits
            self._misses += len(keys) - hits
        return found

    def knows(self, space: str) -> bool:
        """RETURNS (bool): Whether the cache may hold rows of a space."""
        return space in self._spaces or (self.spill is not None and self.spill.holds(space))

    def put(self, space: str, keys: Sequence[bytes], rows: Sequence[torch.Tensor]) -> None:
        """Keep the rows of windows.

        space (str): See the class.
        keys (Sequence[bytes]): One per window.
        rows (Sequence[Tensor]): 16-bit rows on the CPU, each in memory of its own.
        """
        if os.getpid() != self._process:
            # In a worker of nlp.pipe, the rows would be lost when it ends.
            return
        self._spaces.add(space)
        for key, row in zip(keys, rows, strict=True):
            self._put((space, key), row)

    def rows(self) -> List[Tuple[_Key, torch.Tensor]]:
        """RETURNS (List[Tuple[Tuple[str, bytes], Tensor]]): The rows in memory with their space and
        key, least recently used first."""
        return list(self._rows.items())

    def clear(self) -> None:
        """Drop the rows in memory."""
        self._rows.clear()
        self._nbytes = 0

    def _get(self, key: _Key, dtype: torch.dtype) -> Optional[torch.Tensor]:
        rows = self._rows.get(key)
        if rows is not None:
            self._rows.move_to_end(key)
            return rows
        values = self.spill.read(*key) if self.spill else None
        if values is None:
            return None
        rows = torch.from_numpy(values.copy()).view(dtype)
        self._put(key, rows)
        return rows

    def _put(self, key: _Key, rows: torch.Tensor) -> None:
        previous = self._rows.pop(key, None)
        if previous is not None:
            self._nbytes -= previous.nbytes
        self._rows[key] = rows
        self._nbytes += rows.nbytes
        while self._nbytes > self.budget:
            (space, oldest), leaving = self._rows.popitem(last=False)
            self._nbytes -= leaving.nbytes
            if self.spill:
                self.spill.write(space, oldest, leaving.view(torch.uint16).numpy())
            elif not self._full:
                self._full = True
                logger.info(
                    "The outputs of frozen blocks take more than the %.0f MB of cache_mb; what "
                    "does not fit is computed again. Raise cache_mb, or set cache_dir.",
                    self.budget / 1e6,
                )


_CACHES: "WeakValueDictionary[Tuple[int, Optional[str]], PrefixCache]" = WeakValueDictionary()


def shared_cache(cache_mb: int, cache_dir: Optional[str]) -> PrefixCache:
    """Get the cache with these settings, of which a process has only one. Encoders with the same
    frozen blocks share their outputs, and all encoders share the memory budget. The cache lives as
    long as any encoder uses it.

    cache_mb (int): Memory budget in units of 1,000,000 bytes.
    cache_dir (Optional[str]): Where to spill to, or None.
    RETURNS (PrefixCache): The cache.
    """
    key = (cache_mb, None if cache_dir is None else str(Path(cache_dir).resolve()))
    cache = _CACHES.get(key)
    if cache is None or cache._process != os.getpid():
        cache = PrefixCache(cache_mb * 1_000_000, None if key[1] is None else Path(key[1]))
        _CACHES[key] = cache
    return cache


def prefix_digests(model: torch.nn.Module) -> List[str]:
    """Compute digests of an encoder's weights below each possible cut.

    model (PreTrainedModel): The encoder.
    RETURNS (List[str]): One for each number of blocks from 0 to all. The first covers the
        configuration and everything outside of the blocks; each of the others adds a block.
    """
    blocks = find_blocks(model)
    inside = {id(p) for block in blocks for p in block.parameters()}
    state: Dict[str, torch.Tensor] = dict(model.named_parameters())
    state.update(model.named_buffers())
    outside = {name: t for name, t in state.items() if id(t) not in inside}
    settings = model.config.to_dict()
    # Equal encoders share their entries, wherever they were loaded from.
    settings.pop("_name_or_path", None)
    settings.pop("transformers_version", None)
    digest = _digest(json.dumps(settings, sort_keys=True, default=str).encode(), outside)
    digests = [digest]
    for block in blocks:
        digest = _digest(digest.encode(), dict(block.named_parameters()))
        digests.append(digest)
    return digests


def _digest(start: bytes, tensors: Dict[str, torch.Tensor]) -> str:
    state = hashlib.blake2b(start, digest_size=12)
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return state.hexdigest()
