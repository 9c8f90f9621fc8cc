"""What a run is made of, so that only the same command resumes it."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..files import digest_of, replaced_file

MANIFEST = "manifest.json"


def write_manifest(output: Path, known: Dict[str, Any]) -> None:
    """Write what a run is made of, whole or not at all.

    output (Path): The output folder, which is made if it does not exist.
    known (Dict[str, Any]): The values by name.
    """
    with replaced_file(output / MANIFEST) as fresh:
        fresh.write_text(json.dumps(known, indent=1) + "\n", encoding="utf8")


def describe_inputs(paths: Sequence[Path]) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): Path, size, time of change and digest of each file."""
    return [{**_quick(path), "digest": digest_of(path)} for path in paths]


def earlier_run(
    output: Path, known: Dict[str, Any], inputs: Sequence[Path] = ()
) -> Optional[Dict[str, Any]]:
    """Find the run to resume in an output folder.

    output (Path): The folder.
    known (Dict[str, Any]): Values that have to be the same in both runs.
    inputs (Sequence[Path]): Files that have to be the same in both runs. They are read only if
        their time of change differs.
    RETURNS (Optional[Dict[str, Any]]): The manifest of the earlier run, or None if there was none.
    RAISES (ValueError): A value or a file differs.
    """
    if not (output / MANIFEST).exists():
        return None
    saved = json.loads((output / MANIFEST).read_text(encoding="utf8"))
    before, now = dict(saved), dict(known)
    if inputs:
        before["inputs"] = [{"path": old["path"], "size": old["size"]} for old in saved["inputs"]]
        now["inputs"] = [{"path": str(path), "size": path.stat().st_size} for path in inputs]
    for name, value in now.items():
        if before.get(name) != value:
            raise ValueError(
                f"{output} is the output of another run: its {name.replace('_', ' ')} is "
                f"{before.get(name)}, but now it is {value}. Name another folder, or repeat the "
                "command of that run to resume it."
            )
    if not inputs:
        return saved
    mended = {
        shard["path"]
        for number, shard in enumerate(saved["shards"])
        if damage_mark(output, number).exists()
    }
    for path, old in zip(inputs, saved["inputs"], strict=True):
        if str(path) in mended or old.get("mtime_ns") == path.stat().st_mtime_ns:
            continue
        if old.get("digest") != digest_of(path):
            raise ValueError(
                f"{path} has changed since the run in {output} began, so its rows can't be added "
                "to those that are there. Name another folder."
            )
    return saved


def damage_mark(output: Path, number: int) -> Path:
    """RETURNS (Path): The file that says that a shard could not be read. Its input may change: the
    run goes on after it was mended."""
    return output / f".part-{number:05d}.damaged"


def model_digest(path: str) -> str:
    """RETURNS (str): A digest of a pipeline's files."""
    folder = model_folder(path)
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix != ".pyc")
    return digest_of(*files, algorithm="blake2b")


def model_folder(path: str) -> Path:
    """RETURNS (Path): The folder of a pipeline, given its directory or the name of its package."""
    import importlib.util

    folder = Path(path)
    if not folder.is_dir():
        spec = importlib.util.find_spec(path) if path.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"There is no pipeline {path!r}: neither a folder nor a package.")
        folder = Path(spec.submodule_search_locations[0])
    return folder


def _quick(path: Path) -> Dict[str, Any]:
    found = path.stat()
    return {"path": str(path), "size": found.st_size, "mtime_ns": found.st_mtime_ns}
