"""What a pipeline said about each document of a test set, in a compact file.

`metrics/NAME.predictions.jsonl.gz`, beside the scores in `metrics/NAME.json`: one JSON object a
line. The first one says what was predicted by what; each of the others is a document:

    {"text": "…", "cats": {"gold": [0, 1], "scores": [0.2, 0.8]},
     "ents": {"gold": [[4, 9, "LABEL"]], "found": [[4, 9, "LABEL", 0.93]]}}

`cats` are in the order of the labels in the first line, null for what is not annotated; "other"
names labels of the document that the pipeline does not have. Entities are characters from and to,
label and probability. A document without annotation of one of the two lacks it.
"""

import gzip
import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..files import replaced_file

SUFFIX = ".predictions.jsonl.gz"
VERSION = 1
# Closer scores are of the same evaluation, and differ by how they were written.
_SAME = 1e-6

# What reading a file can raise that is damaged, or of another kind.
_BROKEN = (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError)

# First character, the one after the last, label.
Entity = Tuple[int, int, str]


@dataclass
class CatsRow:
    """Labels of a document.

    gold (Sequence[Optional[float]]): One value a label, None where it is not known.
    scores (Sequence[float]): One probability a label.
    other (Sequence[str]): Labels that hold and that the pipeline does not have.
    """

    gold: Sequence[Optional[float]]
    scores: Sequence[float]
    other: Sequence[str] = ()


@dataclass
class EntsRow:
    """Entities of a document.

    gold (List[Entity]): The right ones.
    found (List[Entity]): The predicted ones, without those over text that nobody annotated.
    scores (List[Optional[float]]): Their probabilities, None from a pipe that has none.
    """

    gold: List[Entity]
    found: List[Entity]
    scores: List[Optional[float]]


@dataclass
class Row:
    """A document.

    text (str): Its text.
    cats (Optional[CatsRow]): Labels, None if it has no annotation of them.
    ents (Optional[EntsRow]): Entities, None if it has no annotation of them.
    """

    text: str
    cats: Optional[CatsRow] = None
    ents: Optional[EntsRow] = None


@dataclass
class Predictions:
    """What was predicted for all documents.

    labels (List[str]): Of the text classifier, empty without one.
    exclusive (bool): Whether each document has exactly one of them.
    threshold (float): Of independent labels.
    scores (Dict[str, float]): The scores that were written with it.
    rows (List[Row]): The documents.
    """

    labels: List[str] = field(default_factory=list)
    exclusive: bool = True
    threshold: float = 0.5
    scores: Dict[str, float] = field(default_factory=dict)
    rows: List[Row] = field(default_factory=list)


def predictions_path(scores_path: Path) -> Path:
    """RETURNS (Path): Where the predictions are that belong to a file of scores."""
    return scores_path.with_name(scores_path.stem + SUFFIX)


def other_score(predictions: Predictions, scores: Mapping[str, Any]) -> Optional[str]:
    """Tell whether predictions are those of the scores beside them.

    predictions (Predictions): They know the scores that were written with them.
    scores (Mapping[str, Any]): What is in the file of scores.
    RETURNS (Optional[str]): The key of a score that is another one there, None if all are the same.
    """
    for key, value in predictions.scores.items():
        own = scores.get(key)
        if isinstance(own, bool) or not isinstance(own, (int, float)) or abs(own - value) >= _SAME:
            return key
    return None


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the file; one that is there is replaced at the end. The same predictions give the
    same bytes.

    predictions (Predictions): What to write.
    path (Path): The file.
    """
    # Without name and time in the header of the archive.
    with (
        replaced_file(path) as fresh,
        fresh.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
    ):
        head = {
            "kind": "start",
            "version": VERSION,
            "labels": predictions.labels,
            "exclusive": predictions.exclusive,
            "threshold": predictions.threshold,
            "scores": predictions.scores,
        }
        for line in (head, *map(_to_json, predictions.rows)):
            file.write(
                (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
            )


def read_predictions(path: Path) -> Predictions:
    """Read the file.

    path (Path): What `write_predictions` wrote.
    RETURNS (Predictions): The predictions.
    RAISES (ValueError): It is damaged, or something else.
    """
    try:
        with gzip.open(path, "rt", encoding="utf8") as file:
            return _read(file)
    except _BROKEN as error:
        raise ValueError(
            f"{path} is not what `reprtune evaluate` writes, or it is cut off ({error}). Evaluate "
            "again."
        ) from error


def _read(lines: Iterator[str]) -> Predictions:
    head = json.loads(next(lines, "{}"))
    if head["kind"] != "start" or head["version"] != VERSION:
        raise ValueError(f"version {head['version']!r}")
    labels = [str(label) for label in head["labels"]]
    scores = {
        str(key): float(value)
        for key, value in head["scores"].items()
        if isinstance(value, (int, float))
    }
    rows = [_from_json(json.loads(line), len(labels)) for line in lines]
    threshold = float(head["threshold"])
    return Predictions(labels, bool(head["exclusive"]), threshold, scores, rows)


def _to_json(row: Row) -> Dict[str, Any]:
    line: Dict[str, Any] = {"text": row.text}
    if row.cats is not None:
        gold = [None if value is None else round(value, 3) for value in row.cats.gold]
        line["cats"] = {"gold": gold, "scores": [_short(score) for score in row.cats.scores]}
        if row.cats.other:
            line["cats"]["other"] = list(row.cats.other)
    if row.ents is not None:
        found = [
            [*entity, None if score is None else _short(score)]
            for entity, score in zip(row.ents.found, row.ents.scores, strict=True)
        ]
        line["ents"] = {"gold": [list(entity) for entity in row.ents.gold], "found": found}
    return line


def _from_json(line: Dict[str, Any], n_labels: int) -> Row:
    row = Row(str(line["text"]))
    if "cats" in line:
        cats = line["cats"]
        gold = [None if value is None else float(value) for value in cats["gold"]]
        scores = [float(score) for score in cats["scores"]]
        if not len(gold) == len(scores) == n_labels:
            raise ValueError(f"{len(gold)} values for {n_labels} labels")
        if not all(map(math.isfinite, scores)):
            raise ValueError("a score is not finite")
        row.cats = CatsRow(gold, scores, [str(label) for label in cats.get("other", ())])
    if "ents" in line:
        ents = line["ents"]
        gold_ents = [_entity(item, row.text) for item in ents["gold"]]
        found = [_entity(item[:3], row.text) for item in ents["found"]]
        confidence = [None if item[3] is None else float(item[3]) for item in ents["found"]]
        row.ents = EntsRow(gold_ents, found, confidence)
    return row


def _entity(item: Sequence[Any], text: str) -> Entity:
    start, end, label = item
    if not 0 <= int(start) < int(end) <= len(text):
        raise ValueError(f"an entity from {start} to {end} in a text of {len(text)} characters")
    return int(start), int(end), str(label)


def _short(score: float) -> float:
    """Six digits that count: enough to sort by, and a third of the bytes."""
    return float(f"{score:.6g}")
