"""Readers of users' files. Other packages can add formats of their own.

A reader is a function that takes a path and `Columns`, and yields records. Register one with
`@FORMATS.register("name")`, or name it in the entry point group `spacy_reprtune_formats` of your
package, and `reprtune convert --format name` finds it. If it has an attribute `suffixes`, a tuple
such as (".notes",), files with these suffixes have its format.
"""

from importlib import import_module, metadata
from pathlib import Path
from typing import Callable, Iterator, List

import catalogue

from ..record import Columns, Record
from .columns import looks_like_columns
from .text import open_text

Reader = Callable[[Path, Columns], Iterator[Record]]
_GROUP = "spacy_reprtune_formats"
# Entry points are loaded one by one, when they are needed, so that listing names is quick.
FORMATS = catalogue.create("spacy_reprtune", "formats")
# Formats of this package: module and function, imported when they are used.
_BUILT_IN = {
    "csv": "tables:read_csv",
    "tsv": "tables:read_tsv",
    "jsonl": "json_files:read_json_lines",
    "json": "json_files:read_json",
    "prodigy": "json_files:read_json_lines",
    "doccano": "json_files:read_json_lines",
    "label-studio": "json_files:read_json",
    "spacy-json": "json_files:read_json",
    "brat": "brat:read_brat",
    "conll": "columns:read_columns",
    "datasets": "columnar:read_dataset",
    "parquet": "columnar:read_parquet",
    "lines": "lines:read_label_files",
}
_SUFFIXES = {
    ".csv": "csv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    **dict.fromkeys(
        ".conll .conllu .iob .iob2 .bio .bioes .bilou .biluo .bmes .ner".split(), "conll"
    ),
}


def format_names() -> List[str]:
    """RETURNS (List[str]): Names of all formats, those of this package first."""
    others = {*FORMATS.get_all(), *(point.name for point in metadata.entry_points(group=_GROUP))}
    return [*_BUILT_IN, *sorted(others - set(_BUILT_IN))]


def find_reader(name: str) -> Reader:
    """Find the reader of a format.

    name (str): One of `format_names`.
    RETURNS (Callable[[Path, Columns], Iterator[Record]]): The reader.
    RAISES (ValueError): There is no such format.
    """
    if name in FORMATS:
        return FORMATS.get(name)
    if name in _BUILT_IN:
        module, function = _BUILT_IN[name].split(":")
        return getattr(import_module(f".{module}", __name__), function)
    for point in metadata.entry_points(group=_GROUP, name=name):
        return point.load()
    raise ValueError(f"The format {name!r} is unknown; known are {', '.join(format_names())}.")


def detect_format(path: Path) -> str:
    """Detect the format of a file or folder by its name or, if necessary, its content.

    path (Path): The file or folder.
    RETURNS (str): One of `format_names`.
    RAISES (ValueError): The file does not exist, is empty, or its format is not clear.
    """
    if path.is_dir():
        if any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
            return "datasets"
        if any(path.glob("*.parquet")):
            return "parquet"
        if any(path.rglob("*.ann")):
            return "brat"
        raise ValueError(
            f"The folder {path} is not a saved dataset (it has no dataset_info.json), and has no "
            "Parquet files and no BRAT files (.txt with .ann). If each file in it is a label and "
            "each line a text, say so: --format lines"
        )
    if not path.is_file():
        raise ValueError(f"There is nothing at {path}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    suffix = path.suffix.lower()
    for name in format_names():
        if name not in _BUILT_IN and suffix in getattr(find_reader(name), "suffixes", ()):
            return name
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    # .tsv is a table with a header, or one token per line; .train and the like can be anything.
    if looks_like_columns(path):
        return "conll"
    if suffix == ".tsv":
        return "tsv"
    with open_text(path):
        # Raises an error if it is not text.
        pass
    raise ValueError(
        f"The format of {path} is not clear from its name or content. Name it: --format "
        f"{' | '.join(format_names())}"
    )
