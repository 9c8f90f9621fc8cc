"""The manifest of a component's directory: size and sha256 of each file, checked at load.

It finds damage and mix-ups (a flipped bit, a truncated copy, files of another model), but not
tampering: whoever changes a file on purpose can change the manifest as well.
"""

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Dict, Iterable, Iterator, List, Optional

import srsly

from .files import digest_of

MANIFEST = "manifest.json"
# Set to "false", this environment variable skips the check.
VERIFY = "SPACY_REPRTUNE_VERIFY"
# Files up to this size are checked before anything is loaded, because they say how much memory the
# rest will take. Larger ones are checked while they are loaded.
SMALL = 1 << 22


def write_manifest(folder: Path) -> None:
    """Write the manifest of a directory, as its last file.

    folder (Path): The directory, complete.
    """
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": digest_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    # Its own digest tells a damaged manifest from a damaged file.
    text = json.dumps({"files": files, "sha256": _digest(files)}, indent=2)
    (folder / MANIFEST).write_text(text, encoding="utf8")


@contextmanager
def check_manifest(folder: Path, component: str, *, exclude: Iterable[str] = ()) -> Iterator[None]:
    """Check a directory against its manifest while it is loaded.

    A directory without a manifest, which versions before 0.2 wrote, is loaded without a check. If
    a file is damaged, that is the error, whatever else loading it has raised.

    folder (Path): The directory.
    component (str): Name of the component, for messages.
    exclude (Iterable[str]): Files and directories at the top of `folder` that are not loaded.
    YIELDS: Nothing; load the directory in the meantime.
    RAISES (ValueError): A file is damaged or missing, or the directory can't be loaded.
    """
    files = _read(folder, component) if _verifying() else {}
    listed = [name for name in files if name.split("/")[0] not in set(exclude)]
    problems: List[str] = []

    def check(names: Iterable[str]) -> None:
        problems.extend(filter(None, (_problem(folder / n, files[n], component) for n in names)))

    small = [name for name in listed if files[name]["size"] <= SMALL]
    large = [name for name in listed if files[name]["size"] > SMALL]
    # A size is known at once.
    check(small)
    check(name for name in large if _size(folder / name) != files[name]["size"])
    _raise(problems)
    # hashlib computes digests without the interpreter's lock.
    thread = Thread(target=check, args=(large,), daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        thread.join()
        _raise(problems, error)
        if isinstance(error, ImportError):
            raise
        raise ValueError(
            f"The component '{component}' can't be loaded from {folder}: {error}"
        ) from error
    thread.join()
    _raise(problems)


def seal(content: bytes) -> bytes:
    """Put a digest beside the bytes of a component, which `unseal` compares.

    content (bytes): The component.
    RETURNS (bytes): Both as msgpack.
    """
    digest = hashlib.sha256(content, usedforsecurity=False).hexdigest()
    return srsly.msgpack_dumps({"sha256": digest, "component": content})


def unseal(data: bytes) -> bytes:
    """Take bytes apart that `seal` returned. Those of versions before 0.2 have no digest.

    data (bytes): The bytes.
    RETURNS (bytes): The component.
    RAISES (ValueError): They were cut off or changed.
    """
    try:
        found = srsly.msgpack_loads(data)
        if "sha256" not in found:
            return data
        digest, content = found["sha256"], found["component"]
        own = _verifying() and hashlib.sha256(content, usedforsecurity=False).hexdigest()
    except Exception as error:
        raise ValueError(f"the bytes are cut off or damaged ({error})") from error
    if own and own != digest:
        raise ValueError("the bytes were changed: their sha256 is not the one that was saved")
    return content


def _verifying() -> bool:
    return os.environ.get(VERIFY, "").lower() not in ("false", "0")


def _read(folder: Path, component: str) -> Dict[str, Dict[str, Any]]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf8"))
        files = found["files"]
        if found.get("sha256", _digest(files)) == _digest(files) and all(
            isinstance(entry["size"], int) and entry["sha256"] for entry in files.values()
        ):
            return files
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path} of the component '{component}' is damaged. {_REMEDY}")


def _digest(files: Dict[str, Dict[str, Any]]) -> str:
    text = json.dumps(files, sort_keys=True)
    return hashlib.sha256(text.encode("utf8"), usedforsecurity=False).hexdigest()


def _size(path: Path) -> Optional[int]:
    return path.stat().st_size if path.is_file() else None


def _problem(path: Path, expected: Dict[str, Any], component: str) -> str:
    size = _size(path)
    if size is None:
        said = "is missing"
    elif size != expected["size"]:
        said = f"has {size:,} bytes instead of {expected['size']:,}"
    elif digest_of(path) != expected["sha256"]:
        said = "is not the file that was saved: its sha256 differs from that in the manifest"
    else:
        return ""
    return f"{path} of the component '{component}' {said}."


def _raise(problems: List[str], cause: Optional[BaseException] = None) -> None:
    if problems:
        raise ValueError(f"{' '.join(problems)} {_REMEDY}") from cause


_REMEDY = (
    "The directory is damaged, or its files belong to different models: copy or train it again. If "
    f"you changed a file on purpose, delete {MANIFEST} beside it, or set {VERIFY}=false to load "
    "without this check."
)
