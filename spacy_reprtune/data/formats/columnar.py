"""Read columnar tables: Parquet files with pyarrow, and saved datasets with `datasets`."""

import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple, TypeVar, Union

from ..record import BadRow, Columns, Record
from .token_table import read_rows

# Rows of a Parquet file that are in memory at once.
CHUNK = 10_000
T = TypeVar("T")
_SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "dev": "dev", "test": "test"}


def read_parquet(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a Parquet file, or all in a folder, by batches of rows.

    path (Path): The file or folder.
    columns (Columns): Names of the columns.
    YIELDS (Record): One per row. Numbers of classes become names, if the file has them. If the
        files of a folder are named after splits, as on the hub, their texts belong to these splits.
    RAISES (ValueError): It is not a Parquet file.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    # The hub calls files by their splits: train-00000-of-00002.parquet.
    splits = [_SPLITS.get(re.split(r"[-.]", file.name)[0]) for file in files]
    if not path.is_dir() or None in splits or len(set(splits)) < 2:
        splits = [None] * len(files)
    for split in dict.fromkeys(splits):
        part = [file for file, own in zip(files, splits, strict=True) if own == split]
        for record in read_rows(_parquet_rows(part), columns):
            record.split = split
            yield record


def _parquet_rows(files: List[Path]) -> Iterator[Tuple[str, Any]]:
    parquet = require("pyarrow.parquet", "pyarrow")
    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except Exception as error:
            raise ValueError(f"{file} can't be read as Parquet: {error}") from error
        schema = table.schema_arrow
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise ValueError(
                f"{file} has {len(twice)} columns named {twice[0]!r}, but only one can be read: "
                "rename them."
            )
        names = _class_names(schema)
        number = 0
        for batch in _until_damage(table.iter_batches(batch_size=CHUNK), file):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", _with_names(row, names, f"{file}, row {number}")


def read_dataset(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a dataset that was saved with `save_to_disk`: one set, or several splits.

    path (Path): The folder.
    columns (Columns): Names of the columns.
    YIELDS (Record): One per row, with its split in the folder.
    RAISES (ValueError): The folder can't be read, or has a split with an unknown name.
    """
    datasets = require("datasets")
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise ValueError(f"{path} can't be read as a saved dataset: {error}") from error
    several = isinstance(loaded, datasets.DatasetDict)
    for name, rows in (loaded if several else {"": loaded}).items():
        if several and name not in _SPLITS:
            raise ValueError(
                f"{path} has the split '{name}'; known are {', '.join(_SPLITS)}. Convert a single "
                f"split by naming its folder: {path / name}"
            )
        names = _feature_names(rows.features)
        folder = path / name if several else path
        read = enumerate(_until_damage(rows, folder), start=1)
        places = ((f"{folder}, row {number}", row) for number, row in read)
        named = ((where, _with_names(row, names, where)) for where, row in places)
        for record in read_rows(named, columns):
            record.split = _SPLITS[name] if several else None
            yield record


def _until_damage(items: Iterable[T], path: Path) -> Iterator[T]:
    """Add the name of the file to errors in which a library only says what is wrong with it."""
    items = iter(items)
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        yield item


def require(module: str, package: str = ""):
    """Import a library that not every installation has.

    module (str): Name of the module.
    package (str): Name of the package to install, if it differs.
    RETURNS (ModuleType): The module.
    RAISES (ValueError): It is not installed; the message says how to install it.
    """
    import importlib

    package = package or module
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"Reading this format needs {package}: pip install 'spacy-reprtune[convert]', or "
            f"pip install {package}. ({error})"
        ) from error


def _class_names(schema) -> Dict[str, Any]:
    """Read the names of classes in a Parquet file of the Hugging Face hub."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    datasets = require("datasets")
    return _feature_names(datasets.Features.from_arrow_schema(schema))


def _feature_names(features: Mapping[str, Any]) -> Dict[str, Any]:
    """The names of classes by column, and by key inside of lists and objects."""
    return {key: found for key, x in features.items() if (found := _classes(x))}


def _classes(feature: Any) -> Any:
    if getattr(feature, "names", None):
        return list(feature.names)
    if isinstance(feature, Mapping):
        return _feature_names(feature)
    inner = feature[0] if isinstance(feature, list) and feature else None
    inner = getattr(feature, "feature", inner)
    return None if inner is None else _classes(inner)


def _with_names(
    row: Mapping[str, Any], names: Mapping[str, Any], where: str
) -> Union[Dict[str, Any], BadRow]:
    named = dict(row)
    for key, classes in names.items():
        value = row[key]
        if isinstance(value, int) and isinstance(classes, list):
            # The hub's mark for "no label" is -1.
            named[key] = classes[value] if 0 <= value < len(classes) else None
            continue
        try:
            named[key] = _named(value, classes)
        except LookupError as error:
            return BadRow(
                f"{where}: '{key}' is {value!r}, but the file has no name for the class {error}.",
                "a class without a name",
            )
    return named


def _named(value: Any, classes: Any) -> Any:
    if isinstance(value, list):
        return [_named(inner, classes) for inner in value]
    if isinstance(value, Mapping) and isinstance(classes, Mapping):
        return {key: _named(x, classes.get(key)) for key, x in value.items()}
    if not isinstance(classes, list):
        return value
    if not isinstance(value, int) or not 0 <= value < len(classes):
        raise LookupError(value)
    return classes[value]
