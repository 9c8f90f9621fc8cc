"""Files of half-precision rows that no longer fit into memory."""

import logging
import os
import uuid
from io import FileIO
from pathlib import Path
from typing import Dict, Optional, Tuple

import numpy
from numpy.typing import NDArray

logger = logging.getLogger("spacy")

# Written after the rows themselves, so that an index never names missing rows.
_RECORD = numpy.dtype([("key", "S32"), ("start", "<u8"), ("rows", "<u4"), ("width", "<u4")])
_ITEM = 2


class Spill:
    """A directory of memory-mapped files with arrays of 16-bit values.

    Each writer has files of its own, named after the space of their entries, and readers use all
    files. So processes can share a directory, and a later one finds what an earlier one left. If
    writing fails (a full disk, a deleted directory), that is logged once, and nothing is written
    from then on.
    """

    def __init__(self, directory: Path) -> None:
        """Choose a directory.

        directory (Path): The directory. It is created and read when it is first needed.
        """
        self.directory = directory
        self.broken = False
        self.nbytes = 0
        self._writers: Dict[str, _Writer] = {}
        self._entries: Dict[str, Dict[bytes, Tuple[Path, int, int, int]]] = {}
        self._maps: Dict[Path, NDArray] = {}
        self._process = os.getpid()

    def has(self, space: str, key: bytes) -> bool:
        """RETURNS (bool): Whether there is an entry with this key."""
        return key in self._space(space)

    def holds(self, space: str) -> bool:
        """RETURNS (bool): Whether there is any entry of a space."""
        return bool(self._space(space))

    def read(self, space: str, key: bytes) -> Optional[NDArray]:
        """Read an entry.

        space (str): The space that it belongs to, part of the file's name.
        key (bytes): Its key, 16 bytes.
        RETURNS (Optional[ndarray]): uint16, shape (n_rows, width), a view of the file; or None.
        """
        entry = self._space(space).get(key)
        if entry is None:
            return None
        path, start, rows, width = entry
        stop = start + rows * width
        try:
            data = self._maps.get(path)
            if data is None or len(data) < stop:
                data = self._maps[path] = numpy.memmap(path, dtype="<u2", mode="r")
        except (OSError, ValueError) as error:
            self._fail(error)
            return None
        return data[start:stop].reshape(rows, width) if len(data) >= stop else None

    def write(self, space: str, key: bytes, rows: NDArray) -> None:
        """Add an entry, unless it exists.

        space (str): The space that it belongs to.
        key (bytes): Its key, 16 bytes.
        rows (ndarray): uint16, shape (n_rows, width).
        """
        # A forked process has the parent's open files: it reads only.
        if self.broken or os.getpid() != self._process or self.has(space, key):
            return
        try:
            if space not in self._writers:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._writers[space] = _Writer(self.directory / f"{space}-{uuid.uuid4().hex[:8]}")
            writer = self._writers[space]
            start = writer.add(key, rows)
        except OSError as error:
            self._fail(error)
            return
        self._entries[space][key] = (writer.data_path, start, *rows.shape)
        self.nbytes += rows.nbytes

    def _space(self, space: str) -> Dict[bytes, Tuple[Path, int, int, int]]:
        if space not in self._entries:
            entries = self._entries[space] = {}
            for index in sorted(self.directory.glob(f"{space}-*.index")):
                data_path = index.with_suffix(".rows")
                try:
                    raw = index.read_bytes()
                    size = data_path.stat().st_size // _ITEM
                except OSError:
                    continue
                # An interrupted writer may have left half a record, or a record too many.
                records = numpy.frombuffer(raw, _RECORD, count=len(raw) // _RECORD.itemsize)
                for key, start, rows, width in records.tolist():
                    if start + rows * width <= size:
                        entries[bytes.fromhex(key.decode())] = data_path, start, rows, width
                        self.nbytes += rows * width * _ITEM
        return self._entries[space]

    def _fail(self, error: Exception) -> None:
        if not self.broken:
            logger.warning(
                "The outputs of frozen blocks can't be kept in %s any more (%s). Training goes "
                "on; what does not fit into cache_mb is computed again.",
                self.directory,
                error,
            )
        self.broken = True


class _Writer:
    def __init__(self, stem: Path) -> None:
        # Not `with_suffix`, which would cut a name with dots.
        self.data_path = stem.with_name(f"{stem.name}.rows")
        self._data = FileIO(self.data_path, "x")
        self._index = FileIO(stem.with_name(f"{stem.name}.index"), "x")
        self._items = 0

    def add(self, key: bytes, rows: NDArray) -> int:
        start = self._items
        raw = numpy.ascontiguousarray(rows, dtype="<u2").tobytes()
        self._data.seek(start * _ITEM)
        if self._data.write(raw) != len(raw):
            raise OSError("the disk is full")
        record = numpy.zeros(1, dtype=_RECORD)
        record[0] = (key.hex().encode("ascii"), start, *rows.shape)
        self._index.write(record.tobytes())
        self._items += rows.size
        return start
