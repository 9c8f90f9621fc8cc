"""Digests of the data that a training reads, to notice that it is not the same any more."""

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from thinc.api import Config

from ..files import digest_of

# Settings outside of [corpora] and [initialize] that may name files or directories: the encoder of
# an architecture, and the pipeline of a component.
_NAMING = ("name", "source")
_LOGGER = "training.logger."


def data_digests(config: Config, written: Sequence[Path]) -> Dict[str, str]:
    """Compute digests of the files and directories that the settings of a training name.

    What only [paths] or the logger names is not read by the training, and what the training writes
    differs when it is resumed. So neither counts.

    config (Config): The full config of the training.
    written (Sequence[Path]): Files and directories that are written, beside the logger's file.
    RETURNS (Dict[str, str]): Digests by the names in the config.
    """
    settings = flat(config.interpolate())
    logs = [
        Path(v) for k, v in settings if k.startswith(_LOGGER) and k.endswith(("path", "file")) and v
    ]
    own = {path.resolve() for path in (*written, *logs)}
    paths = [value for name, value in settings if name.startswith("paths.")]
    found = {}
    for name, value in settings:
        section = name.partition(".")[0]
        reads = section in ("corpora", "initialize") or (
            section == "components" and (name.endswith(_NAMING) or value in paths)
        )
        if reads and isinstance(value, str) and value and Path(value).exists():
            files = [file for file in _files(Path(value)) if own.isdisjoint(_above(file))]
            if files:
                found[value] = digest_of(*files)
    return found


def flat(section: Dict[str, Any], prefix: str = "") -> List[Tuple[str, Any]]:
    """RETURNS (List[Tuple[str, Any]]): The settings of a config with their dotted names."""
    found: List[Tuple[str, Any]] = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _files(path: Path) -> List[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _above(file: Path) -> List[Path]:
    """RETURNS (List[Path]): A file and the directories that it is in."""
    whole = file.resolve()
    return [whole, *whole.parents]
