"""Read a folder with one file per label and one text per line, as in data sets of the 2000s."""

from pathlib import Path
from typing import Dict, Iterator, List

from ..record import Columns, Record
from .text import read_lines


def read_label_files(path: Path, columns: Columns) -> Iterator[Record]:
    """Read a folder of text files: each file is a label, each line a text.

    path (Path): The folder. Files whose names begin with a dot are skipped.
    columns (Columns): Encodings; a line has no columns.
    YIELDS (Record): One per line, file by file in the order of their names.
    RAISES (ValueError): It is not a folder or has fewer than two files, two files name one label, a
        file has no text, or `columns` has a group.
    """
    if columns.group is not None:
        raise ValueError(
            f"--group is {columns.group!r}; folders with one file per label have no such column."
        )
    files = label_files(path)
    for label, file in files.items():
        number = 0
        for number, line in read_lines(file, columns.encodings):
            yield Record(line.strip(), f"{file.name}, line {number}", cats={label: 1.0})
        if not number:
            raise ValueError(f"{file} is empty, so the label {label!r} would have no text.")


def label_files(path: Path) -> Dict[str, Path]:
    """Name the labels of a folder.

    path (Path): The folder.
    RETURNS (Dict[str, Path]): Label to file. The label of `good.txt` is "good". If all files have
        the same name before the last dot, as `reviews.pos` and `reviews.neg`, the label is what
        follows it.
    RAISES (ValueError): It is not a folder, has fewer than two files, or two files name one label.
    """
    files: List[Path] = []
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if len(files) < 2:
        raise ValueError(
            f"{path} has {len(files)} file(s) with one text per line. This format is a folder "
            "with one file per label, such as good.txt and bad.txt, or reviews.good and "
            "reviews.bad."
        )
    by_suffix = len({file.stem for file in files}) == 1
    labels = {(file.suffix[1:] if by_suffix else file.stem): file for file in files}
    if len(labels) < len(files) or "" in labels:
        names = ", ".join(file.name for file in files)
        raise ValueError(
            f"The names of the files in {path} do not give one label each: {names}. Name each file "
            "after its label, as good.txt and bad.txt, and remove other files."
        )
    return labels
