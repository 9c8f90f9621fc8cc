"""Read the names of labels that are numbers in a data set, such as AG News, from a file."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence, Tuple, Union

from .formats.text import read_lines, read_text

Names = Union[List[str], Dict[str, str]]


def read_label_names(path: Path, encodings: Tuple[str, ...]) -> Names:
    """Read a file of names.

    path (Path): One name per line in the order of the ids, or an id and a name per line with a tab
        or a comma between them, or with a space if no two names are then the same; or the same as
        JSON: a list, or an object of ids and names.
    encodings (Tuple[str, ...]): Encodings of the file.
    RETURNS (Union[List[str], Dict[str, str]]): Names in order, or id to name.
    RAISES (ValueError): It is none of these, or names two ids alike or one id twice.
    """
    if not path.is_file():
        raise ValueError(f"There is no file of label names at {path}.")
    if path.suffix.lower() == ".json":
        try:
            found = json.loads(read_text(path, encodings))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        values = list(found.values()) if isinstance(found, Mapping) else found
        if not isinstance(values, list) or not all(isinstance(x, str) for x in values):
            raise ValueError(f"{path} has to be a list of names, or an object of ids and names.")
        _check_once(values, "name", path)
        if isinstance(found, Mapping):
            _check_once([_plain_id(x) for x in found], "id", path)
        return dict(found) if isinstance(found, Mapping) else values
    lines = [line.strip() for _, line in read_lines(path, encodings) if line.strip()]
    for separator in ("\t", ",", " "):
        pairs = [[part.strip() for part in line.split(separator, 1)] for line in lines]
        if lines and all(len(pair) == 2 and pair[0].lstrip("-").isdecimal() for pair in pairs):
            ids, names = zip(*pairs, strict=True)
            if separator == " " and len(set(names)) < len(names):
                # "1 star" and "2 star" are names.
                break
            _check_once([_plain_id(x) for x in ids], "id", path)
            _check_once(names, "name", path)
            return dict(zip(ids, names, strict=True))
    if not lines:
        raise ValueError(f"{path} has no names of labels.")
    _check_once(lines, "name", path)
    return lines


def _check_once(values: Sequence[str], what: str, path: Path) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(
            f"{path} has the {what} {twice[0]!r} more than once. Each id needs a name of its own."
        )


def name_labels(labels: Iterable[str], names: Names, path: Path) -> Dict[str, str]:
    """Give each id of a corpus its name.

    labels (Iterable[str]): Ids that occur.
    names (Union[List[str], Dict[str, str]]): Result of `read_label_names`. A list counts from 0 or
        from 1, depending on the ids.
    path (Path): The file of names, for messages.
    RETURNS (Dict[str, str]): Id to name.
    RAISES (ValueError): An id has no name, or the ids do not show where the list begins.
    """
    # "1", "1.0" and " 01" are the same id.
    ids = {label: _plain_id(label) for label in sorted(set(labels))}
    if isinstance(names, list):
        names = _count(list(ids.values()), names, path)
    names = {_plain_id(key): name for key, name in names.items()}
    # Labels that are not numbers are names already.
    unknown = [x for x, key in ids.items() if key not in names and key.lstrip("-").isdecimal()]
    if unknown:
        raise ValueError(
            f"{path} has no name for the labels {', '.join(map(repr, unknown[:9]))}; it names "
            f"{', '.join(f'{key} ({name})' for key, name in list(names.items())[:9])}."
        )
    return {label: names[key] for label, key in ids.items() if key in names}


def _plain_id(label: str) -> str:
    match = re.fullmatch(r"\s*([-+]?\d+)(?:\.0*)?\s*", label, re.ASCII)
    return str(int(match[1])) if match else label


def _count(ids: List[str], names: List[str], path: Path) -> Dict[str, str]:
    numbers = {int(label) for label in ids if label.isdecimal()}
    if not numbers:
        return {}
    first = 0 if 0 in numbers else 1 if len(names) in numbers else None
    if first is None:
        raise ValueError(
            f"{path} has {len(names)} names, and the labels {', '.join(ids[:9])} do not show "
            "whether the first name belongs to label 0 or 1. Write the ids into the file: "
            f"0<tab>{names[0]}"
        )
    return {str(number): name for number, name in enumerate(names, start=first)}
