"""The predictions of a pipeline for each document of a test set, in a compact file.

`metrics/NAME.predictions.jsonl.gz`, beside the scores in `metrics/NAME.json`, has one JSON object
per line. The first one describes the pipeline; each of the others is a document:

    {"text": "…", "cats": {"gold": [0, 1], "scores": [0.2, 0.8]},
     "ents": {"gold": [[4, 9, "LABEL"]], "found": [[4, 9, "LABEL", 0.93]]},
     "spans": {"KEY": {"gold": [[0, 30, "LABEL"]], "found": [[0, 30, "LABEL", 0.7]]}}}

`cats` are in the order of the labels in the first line, null where nothing is annotated; "other"
names labels of the document that the pipeline does not have. An entity is the index of its first
character, the index after its last, its label and its probability; so is a span under a key of
`doc.spans`. A document lacks "cats", "ents" or the key of spans if that is not annotated.
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
# Scores of the same evaluation differ only by rounding.
_SAME = 1e-6

# Errors that reading a damaged or unrelated file can raise.
_BROKEN = (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError)

# Index of the first character, index after the last, and label.
Entity = Tuple[int, int, str]


@dataclass
class CatsRow:
    """Labels of a document.

    gold (Sequence[Optional[float]]): One value per label, None where it is not annotated.
    scores (Sequence[float]): One probability per label.
    other (Sequence[str]): Annotated labels that the pipeline does not have.
    """

    gold: Sequence[Optional[float]]
    scores: Sequence[float]
    other: Sequence[str] = ()


@dataclass
class EntsRow:
    """Entities of a document, or the spans under a key of `doc.spans`.

    gold (List[Entity]): The annotated ones.
    found (List[Entity]): The predicted ones, without those in text that nobody annotated.
    scores (List[Optional[float]]): Their probabilities, None if the pipe computes none.
    """

    gold: List[Entity]
    found: List[Entity]
    scores: List[Optional[float]]


@dataclass
class Row:
    """A document.

    text (str): Its text.
    cats (Optional[CatsRow]): Its labels, None if none are annotated.
    ents (Optional[EntsRow]): Its entities, None if they are not annotated.
    spans (Dict[str, EntsRow]): Its spans by key, without keys that are not annotated.
    """

    text: str
    cats: Optional[CatsRow] = None
    ents: Optional[EntsRow] = None
    spans: Dict[str, EntsRow] = field(default_factory=dict)


@dataclass
class Predictions:
    """The predictions for all documents.

    labels (List[str]): Labels of the text classifier, empty without one.
    exclusive (bool): Whether each document has exactly one of them.
    threshold (float): Lowest probability at which an independent label is predicted.
    scores (Dict[str, float]): The scores of the same evaluation.
    rows (List[Row]): The documents.
    """

    labels: List[str] = field(default_factory=list)
    exclusive: bool = True
    threshold: float = 0.5
    scores: Dict[str, float] = field(default_factory=dict)
    rows: List[Row] = field(default_factory=list)


def of_kind(predictions: Predictions, kind: str) -> Predictions:
    """RETURNS (Predictions): The predictions as they are for "cats" and "ents"; for "spans_KEY",
    with the spans under that key as entities."""
    if kind in ("cats", "ents"):
        return predictions
    key = kind.removeprefix("spans_")
    rows = [Row(row.text, ents=row.spans.get(key)) for row in predictions.rows]
    return Predictions(scores=predictions.scores, rows=rows)


def predictions_path(scores_path: Path) -> Path:
    """RETURNS (Path): Where the predictions for a file of scores are."""
    return scores_path.with_name(scores_path.stem + SUFFIX)


def read_own_predictions(scores_path: Path, scores: Mapping[str, Any]) -> Optional[Predictions]:
    """Read the predictions beside a file of scores.

    scores_path (Path): The file of scores.
    scores (Mapping[str, Any]): Its content.
    RETURNS (Optional[Predictions]): The predictions, or None if there are none.
    RAISES (ValueError): The file is damaged, or does not belong to the evaluation of the scores.
    """
    path = predictions_path(scores_path)
    if not path.is_file():
        return None
    predictions = read_predictions(path)
    for key, value in predictions.scores.items():
        own = scores.get(key)
        if isinstance(own, bool) or not isinstance(own, (int, float)) or abs(own - value) >= _SAME:
            raise ValueError(
                f"{path} belongs to another evaluation than {scores_path.name} ({key} is "
                f"{value:.4f} there, {scores.get(key, 'missing')} here) and is left out. Evaluate "
                "again."
            )
    return predictions


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write predictions. The same predictions give the same bytes.

    predictions (Predictions): The predictions.
    path (Path): The file, replaced when it is complete.
    """
    # The header of the archive has no name and no time.
    with (
        replaced_file(path) as fresh,
        fresh.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
    ):
        known = ("labels", "exclusive", "threshold", "scores")
        head = {"kind": "start", "version": VERSION}
        head.update((key, getattr(predictions, key)) for key in known)
        for line in (head, *map(_to_json, predictions.rows)):
            text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
            file.write(f"{text}\n".encode())


def read_predictions(path: Path) -> Predictions:
    """Read predictions.

    path (Path): A file written by `write_predictions`.
    RETURNS (Predictions): The predictions.
    RAISES (ValueError): The file is damaged, or is not a file of predictions.
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
    known = {str(k): float(v) for k, v in head["scores"].items() if isinstance(v, (int, float))}
    rows = [_from_json(json.loads(line), len(labels)) for line in lines]
    return Predictions(labels, bool(head["exclusive"]), float(head["threshold"]), known, rows)


def _to_json(row: Row) -> Dict[str, Any]:
    line: Dict[str, Any] = {"text": row.text}
    if row.cats is not None:
        gold = [None if value is None else round(value, 3) for value in row.cats.gold]
        line["cats"] = {"gold": gold, "scores": [_short(score) for score in row.cats.scores]}
        if row.cats.other:
            line["cats"]["other"] = list(row.cats.other)
    if row.ents is not None:
        line["ents"] = _ents_to_json(row.ents)
    if row.spans:
        line["spans"] = {key: _ents_to_json(spans) for key, spans in row.spans.items()}
    return line


def _ents_to_json(ents: EntsRow) -> Dict[str, Any]:
    found = [
        [*entity, None if score is None else _short(score)]
        for entity, score in zip(ents.found, ents.scores, strict=True)
    ]
    return {"gold": [list(entity) for entity in ents.gold], "found": found}


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
        row.ents = _ents_from_json(line["ents"], row.text)
    row.spans = {key: _ents_from_json(v, row.text) for key, v in line.get("spans", {}).items()}
    return row


def _ents_from_json(ents: Mapping[str, Any], text: str) -> EntsRow:
    gold = [_entity(item, text) for item in ents["gold"]]
    found = [_entity(item[:3], text) for item in ents["found"]]
    scores = [None if item[3] is None else float(item[3]) for item in ents["found"]]
    return EntsRow(gold, found, scores)


def _entity(item: Sequence[Any], text: str) -> Entity:
    start, end, label = item
    if not 0 <= int(start) < int(end) <= len(text):
        raise ValueError(f"an entity from {start} to {end} in a text of {len(text)} characters")
    return int(start), int(end), str(label)


def _short(score: float) -> float:
    """Round to six significant digits: enough for sorting, in a third of the bytes."""
    return float(f"{score:.6g}")
