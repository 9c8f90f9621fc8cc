"""Tables in columns: Parquet files through pyarrow, and sets on disk through datasets."""

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
    YIELDS (Record): One per row. Numbers of classes become their names, where the file has them.
    RAISES (ValueError): It is not a Parquet file.
    """
    yield from read_rows(_parquet_rows(path), columns)


def _parquet_rows(path: Path) -> Iterator[Tuple[str, Any]]:
    parquet = require("pyarrow.parquet", "pyarrow")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except Exception as error:
            raise ValueError(f"{file} can't be read as Parquet: {error}") from error
        schema = table.schema_arrow
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise ValueError(
                f"{file} has {len(twice)} columns named {twice[0]!r}, and only one can be read: "
                "rename them."
            )
        names = _class_names(schema)
        number = 0
        for batch in _until_damage(table.iter_batches(batch_size=CHUNK), file):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", _with_names(row, names, f"{file}, row {number}")


def read_dataset(path: Path, columns: Columns) -> Iterator[Record]:
    """Read what `datasets` saved with `save_to_disk`: one set, or several splits.

    path (Path): The folder.
    columns (Columns): Names of the columns.
    YIELDS (Record): One per row, with the split that the folder gives it.
    RAISES (ValueError): The folder can't be read, or has a split of an unknown name.
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
    """Name the file where a library only says what is wrong with its bytes."""
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
    package (str): Name of what to install, if it differs.
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


def _class_names(schema) -> Dict[str, List[str]]:
    """Read the names of classes that a Parquet file of the Hugging Face hub carries."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    datasets = require("datasets")
    return _feature_names(datasets.Features.from_arrow_schema(schema))


def _feature_names(features: Mapping[str, Any]) -> Dict[str, List[str]]:
    names = {}
    for key, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(feature, list) and feature:
            inner = feature[0]
        if getattr(inner, "names", None):
            names[key] = list(inner.names)
    return names


def _with_names(
    row: Mapping[str, Any], names: Mapping[str, List[str]], where: str
) -> Union[Dict[str, Any], BadRow]:
    named = dict(row)
    for key, classes in names.items():
        value = row[key]
        if isinstance(value, int):
            # The hub's mark for "no label" is -1.
            named[key] = classes[value] if 0 <= value < len(classes) else None
        elif isinstance(value, list):
            if not all(isinstance(k, int) and 0 <= k < len(classes) for k in value):
                return BadRow(
                    f"{where}: '{key}' is {value!r}, and the file names the classes 0 to "
                    f"{len(classes) - 1}.",
                    "a class without a name",
                )
            named[key] = [classes[k] for k in value]
    return named
