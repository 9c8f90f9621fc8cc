"""Readers, a module a family of formats: a user's file in, records out."""

from pathlib import Path
from typing import Callable, Dict, Iterator

from ..record import Columns, Record
from .brat import read_brat
from .columns import looks_like_columns, read_columns
from .json_lines import read_json, read_json_lines
from .lines import read_label_files
from .tables import read_csv, read_dataset, read_parquet, read_tsv

READERS: Dict[str, Callable[[Path, Columns], Iterator[Record]]] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_json_lines,
    "json": read_json,
    "prodigy": read_json_lines,
    "doccano": read_json_lines,
    "label-studio": read_json,
    "brat": read_brat,
    "conll": read_columns,
    "datasets": read_dataset,
    "parquet": read_parquet,
    "lines": read_label_files,
}
_SUFFIXES = {
    ".csv": "csv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".conll": "conll",
    ".conllu": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".bioes": "conll",
    ".bilou": "conll",
    ".biluo": "conll",
    ".ner": "conll",
}


def detect_format(path: Path) -> str:
    """Say which format a file or folder has, by its name or, where that is not enough, its content.

    path (Path): The file or folder.
    RETURNS (str): A key of `READERS`.
    RAISES (ValueError): There is nothing, it is empty, or it is none of the formats.
    """
    if path.is_dir():
        if any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
            return "datasets"
        if any(path.glob("*.parquet")):
            return "parquet"
        if any(path.rglob("*.ann")):
            return "brat"
        raise ValueError(
            f"The folder {path} is no saved dataset (dataset_info.json), has no Parquet files and "
            "no BRAT files (.txt with .ann). If each file in it is a label and each line a text, "
            "say so: --format lines"
        )
    if not path.is_file():
        raise ValueError(f"There is nothing at {path}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    # .tsv is a table with a header, or one token a line; .train and the like can be anything.
    if looks_like_columns(path):
        return "conll"
    if suffix == ".tsv":
        return "tsv"
    raise ValueError(
        f"The format of {path} is not clear from its name or content. Name it: --format "
        f"{' | '.join(READERS)}"
    )


def read_records(path: Path, format: str, columns: Columns) -> Iterator[Record]:
    """Read a file or folder.

    path (Path): The file or folder.
    format (str): A key of `READERS`.
    columns (Columns): Which columns to read.
    YIELDS (Record): The texts with their annotation, in order, and those to leave out as well.
    RAISES (ValueError): It can't be read; the message says where and why.
    """
    return READERS[format](path, columns)
