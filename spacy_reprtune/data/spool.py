"""Keep values in a temporary file, so that memory does not grow with their number."""

import marshal
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional


class Spool:
    """A list of values that `marshal` can write, to be filled and then read in order."""

    def __init__(self, beside: Optional[Path] = None) -> None:
        """Open the file, which is removed with the object.

        beside (Optional[Path]): Folder on the disk to use, which need not exist yet; None for the
            system's folder for temporary files.
        """
        if beside is not None:
            beside = next(p for p in (beside, *beside.absolute().parents) if p.is_dir())
        self._file = tempfile.TemporaryFile(dir=beside)  # noqa: SIM115
        self._n = 0

    def add(self, value: Any) -> None:
        """value (Any): Next value."""
        marshal.dump(value, self._file)
        self._n += 1

    def read(self) -> Iterator[Any]:
        """YIELDS (Any): The values in order."""
        self._file.seek(0)
        for _ in range(self._n):
            yield marshal.load(self._file)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
