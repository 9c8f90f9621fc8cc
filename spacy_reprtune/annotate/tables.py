"""Write rows as Parquet and as JSON lines, and make columns for pyarrow."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

from ..files import is_utf8, replaced_file

if TYPE_CHECKING:
    import pyarrow


def arrow_column(name: str, values: Sequence[Any]) -> "pyarrow.Array":
    """Make a column of annotation. Its type does not depend on the values.

    name (str): Name of the column.
    values (Sequence[Any]): A value per row.
    RETURNS (pyarrow.Array): The column.
    """
    import pyarrow

    place = [("start", pyarrow.int64()), ("end", pyarrow.int64())]
    named = [("label", pyarrow.string()), ("score", pyarrow.float64())]
    types = {
        "cats_score": pyarrow.float64(),
        "cats": pyarrow.list_(pyarrow.struct(named)),
        "ents": pyarrow.list_(pyarrow.struct([*place, *named])),
        "spans": pyarrow.list_(pyarrow.struct([("group", pyarrow.string()), *place, *named])),
    }
    return pyarrow.array(values, types.get(name, pyarrow.string()))


def write_rows(
    path: Path, ids: Sequence[Any], columns: Dict[str, List[Any]], *, integers: bool
) -> None:
    """Write annotated rows to a file, whole or not at all.

    path (Path): The file. Its ending, .parquet or .jsonl, decides the format.
    ids (Sequence[Any]): The id of each row.
    columns (Dict[str, List[Any]]): The annotation, one value per row.
    integers (bool): Whether all ids of the run are integers; they are strings otherwise.
    """
    ids = list(ids) if integers else [str(i) for i in ids]
    if path.suffix == ".jsonl":
        names = ["id", *columns]
        rows = zip(ids, *columns.values(), strict=True)
        write_lines(path, [dict(zip(names, row, strict=True)) for row in rows])
        return
    import pyarrow
    from pyarrow import parquet

    table = {"id": pyarrow.array(ids, pyarrow.int64() if integers else pyarrow.string())}
    table.update({name: arrow_column(name, values) for name, values in columns.items()})
    with replaced_file(path) as fresh:
        parquet.write_table(pyarrow.table(table), fresh)


def write_lines(path: Path, rows: Sequence[Dict[str, Any]]) -> None:
    """Write JSON lines to a file, whole or not at all.

    path (Path): The file.
    rows (Sequence[Dict[str, Any]]): The rows.
    """
    # Texts or ids of a damaged input may not be UTF-8. If so, they are escaped.
    lines = []
    for row in rows:
        line = json.dumps(row, ensure_ascii=False)
        lines.append((line if is_utf8(line) else json.dumps(row)) + "\n")
    with replaced_file(path) as fresh:
        fresh.write_text("".join(lines), encoding="utf8", newline="\n")
