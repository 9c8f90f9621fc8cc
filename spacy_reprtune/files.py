"""Directories and files that are written whole or not at all, and digests of files."""

import ctypes
import glob
import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Write a directory beside the one that it replaces, and exchange them at the end.

    path (Path): The directory to write or replace. A link stays, and what it leads to is replaced.
    YIELDS (Path): An empty directory to write into. If writing fails or is interrupted, it is
        removed and what was at `path` is as before. If the process is killed, it stays, and the
        next call for the same path removes it.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # `spacy package` leaves names with a leading dot out.
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    old = fresh.with_name(fresh.name + ".old")
    try:
        yield fresh
        os.chmod(fresh, 0o777 & ~_umask())
        if path.exists():
            _exchange(fresh, path, old)
        else:
            os.replace(fresh, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    finally:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def flush_directory(folder: Path) -> None:
    """Wait until all that is in a directory is on the disk, so that it survives a power failure.

    folder (Path): The directory.
    """
    for path in [*folder.rglob("*"), folder]:
        # Windows can't open directories.
        if path.is_file() or os.name != "nt":
            handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Write a file beside the one that it replaces, and exchange them at the end.

    path (Path): The file to write or replace. A link stays, and what it leads to is replaced.
    YIELDS (Path): Where to write: `.NAME.part` in the same directory. If writing fails or is
        interrupted, that is removed and what was at `path` is as before.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def digest_of(*paths: Path, algorithm: str = "sha256") -> str:
    """Compute the digest of a file, or of several as if they were one, in blocks.

    paths (Path): The files, in order. A directory stands for all files in it, sorted.
    algorithm (str): Name that hashlib knows, such as "sha256" or "md5".
    RETURNS (str): The digest in hexadecimal digits.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for path in paths:
        parts = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def is_utf8(text: str) -> bool:
    """RETURNS (bool): Whether a text can be written as UTF-8, which half a surrogate pair can't."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


def _exchange(fresh: Path, path: Path, old: Path) -> None:
    """Put a directory in the place of another one, which is at `old` afterwards."""
    if sys.platform == "linux":
        # In one step: a kill between two renames would leave nothing at `path`.
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        rename = getattr(ctypes.CDLL(None), "renameat2", None)
        if rename and not rename(here, os.fsencode(fresh), here, os.fsencode(path), exchange):
            os.replace(fresh, old)
            return
    # Elsewhere, and on file systems that can't exchange.
    os.replace(path, old)
    os.replace(fresh, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
