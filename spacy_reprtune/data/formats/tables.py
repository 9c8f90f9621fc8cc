"""Tables: CSV and TSV through pandas, Parquet through pyarrow, sets on disk through datasets."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

from ..record import Columns, Record
from .rows import find_key, read_row
from .text import open_text, read_lines

# Rows that are in memory at once.
CHUNK = 10_000
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "dev": "dev", "test": "test"}


def read_csv(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a table with a header, in chunks: quotes, and line ends inside quotes, are understood.

    path (Path): The file.
    columns (Columns): Names, separator and encodings.
    YIELDS (Record): A record a row, in order.
    RAISES (ValueError): The file is empty, the separator wrong, a column missing, or a row has
        more cells than the header; the message says where and what to do.
    """
    pandas = require("pandas")
    separator = columns.separator or ","
    with open_text(path, columns.encodings) as file:
        try:
            chunks = pandas.read_csv(
                file,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                chunksize=CHUNK,
                index_col=False,
                on_bad_lines="error",
            )
        except pandas.errors.EmptyDataError:
            raise ValueError(f"{path} is empty: it needs a header and rows.") from None
        except pandas.errors.ParserError as error:
            raise ValueError(_explain(path, separator, columns, error)) from error
        number = 0
        while (chunk := _next_chunk(chunks, pandas, path, separator, columns)) is not None:
            if number == 0:
                _check_header(list(chunk.columns), path, separator, columns)
            names = list(chunk.columns)
            for cells in chunk.itertuples(index=False, name=None):
                number += 1
                # pandas may fill the missing cells of a short row with nan.
                row = {
                    name: cell if isinstance(cell, str) else None
                    for name, cell in zip(names, cells, strict=True)
                }
                yield read_row(row, columns, f"{path}, row {number}")


def read_tsv(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a table whose cells are separated by tabs; see `read_csv`."""
    yield from read_csv(path, replace(columns, separator=columns.separator or "\t"))


def read_parquet(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a Parquet file, or all in a folder, by batches of rows.

    path (Path): The file or folder.
    columns (Columns): Names of the columns.
    YIELDS (Record): A record a row. Numbers of classes become their names, where the file has them.
    RAISES (ValueError): It is no Parquet file, or a column is missing.
    """
    parquet = require("pyarrow.parquet", "pyarrow")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except Exception as error:
            raise ValueError(f"{file} can't be read as Parquet: {error}") from error
        names = _class_names(table.schema_arrow)
        number = 0
        for batch in table.iter_batches(batch_size=CHUNK):
            for row in batch.to_pylist():
                number += 1
                yield read_row(_with_names(row, names), columns, f"{file}, row {number}")


def read_dataset(path: Path, columns: Columns) -> Iterator[Record]:
    """Read what `datasets` saved with `save_to_disk`: one set, or several splits.

    path (Path): The folder.
    columns (Columns): Names of the columns.
    YIELDS (Record): A record a row, with the split that the folder gives it.
    RAISES (ValueError): The folder can't be read, or a column is missing.
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
                f"{path} has the split '{name}'; known are {', '.join(_SPLITS)}. Convert one "
                f"split alone by naming its folder: {path / name}"
            )
        names = _feature_names(rows.features)
        for number, row in enumerate(rows, start=1):
            place = f"{path / name if several else path}, row {number}"
            record = read_row(_with_names(row, names), columns, place)
            record.split = _SPLITS[name] if several else None
            yield record


def require(module: str, package: str = ""):
    """Import a library that not every installation has.

    module (str): The module.
    package (str): What to install, if it is called otherwise.
    RETURNS (ModuleType): The module.
    RAISES (ValueError): It is not installed; the message says how to.
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


def _next_chunk(chunks: Any, pandas: Any, path: Path, separator: str, columns: Columns) -> Any:
    """The next rows, or None. Rows with more cells than the header are cut by pandas with a mere
    warning, if they come first."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            return next(chunks, None)
    except (pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        raise ValueError(_explain(path, separator, columns, error)) from error


def _check_header(names: List[str], path: Path, separator: str, columns: Columns) -> None:
    if len(names) == 1 and (hint := _other_separator(names[0], separator)):
        raise ValueError(f"{path} has one column, {names[0]!r}, {hint}")
    header = dict.fromkeys(names)
    find_key(header, columns.text or "text", "--text", f"{path}, header")
    if not columns.labels:
        known = [key for key in ("label", "labels", "cats") if key in header]
        if not known:
            find_key(header, "label", "--label", f"{path}, header")


def _explain(path: Path, separator: str, columns: Columns, error: Exception) -> str:
    _, header = next(read_lines(path, columns.encodings), (1, ""))
    # Texts have commas, so a table with another separator often fails before its header is seen.
    if separator not in header and (hint := _other_separator(header, separator)):
        return f"{path} has one column, {header!r}, {hint}"
    detail = " ".join(str(error).split())
    if "Length of header" in detail:
        detail = "rows have more cells than the header"
    return (
        f"{path} can't be read as a table cut at each {_SEPARATORS.get(separator, repr(separator))}"
        f": {detail}. A cell with a separator, a quote or a line end in it has to be in double "
        'quotes, and a quote in it doubled: "say ""no"", please".'
    )


def _other_separator(header: str, separator: str) -> str:
    """What to do if a header looks as if it were cut elsewhere, or nothing."""
    counts = {mark: header.count(mark) for mark in _SEPARATORS if mark != separator}
    mark = max(counts, key=lambda key: counts[key])
    if not counts[mark]:
        return ""
    return (
        f"when it is cut at each {_SEPARATORS.get(separator, repr(separator))}. It seems to be "
        f"cut at each {_SEPARATORS[mark]}: --separator {_SEPARATORS[mark]}"
    )


def _class_names(schema) -> Dict[str, List[str]]:
    """Names of classes that a Parquet file of the Hugging Face hub carries."""
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


def _with_names(row: Mapping[str, Any], names: Mapping[str, List[str]]) -> Dict[str, Any]:
    named = dict(row)
    for key, classes in names.items():
        value = row[key]
        if isinstance(value, int):
            # The hub's mark for "no label" is -1.
            named[key] = classes[value] if 0 <= value < len(classes) else None
        elif isinstance(value, list):
            named[key] = [classes[k] for k in value]
    return named
