"""Right and wrong predictions per document, from which scores and intervals are computed."""

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from typing import Dict, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from .predictions import CatsRow, Entity, EntsRow, Predictions, Row

NONE = "(none)"
OTHER = "(other)"


@dataclass
class Counts:
    """Counts per document and label, each of the shape (n_docs, n_labels).

    labels (List[str]): Labels in the order of the columns.
    true (ndarray): True positives.
    false (ndarray): False positives.
    missed (ndarray): False negatives.
    """

    labels: List[str]
    true: NDArray
    false: NDArray
    missed: NDArray

    @property
    def parts(self) -> Tuple[NDArray, NDArray, NDArray]:
        """RETURNS (Tuple[ndarray, ndarray, ndarray]): The three kinds of counts."""
        return self.true, self.false, self.missed

    @property
    def support(self) -> NDArray:
        """RETURNS (ndarray): How often each label is annotated, shape (n_labels,)."""
        return (self.true + self.missed).sum(0)


def answer(row: CatsRow) -> int:
    """RETURNS (int): Index of the exclusive gold label, -1 if the pipeline does not have it."""
    best = int(numpy.argmax([value or 0.0 for value in row.gold]))
    return best if row.gold[best] else -1


def guess(row: CatsRow) -> int:
    """RETURNS (int): Index of the predicted exclusive label."""
    return int(numpy.argmax(row.scores))


def cats_rows(predictions: Predictions) -> List[Tuple[Row, CatsRow]]:
    """RETURNS (List[Tuple[Row, CatsRow]]): The documents with annotated labels."""
    return [(row, row.cats) for row in predictions.rows if row.cats is not None]


def ents_rows(predictions: Predictions) -> List[Tuple[Row, EntsRow]]:
    """RETURNS (List[Tuple[Row, EntsRow]]): The documents with annotated entities."""
    return [(row, row.ents) for row in predictions.rows if row.ents is not None]


def count_cats(predictions: Predictions) -> Optional[Counts]:
    """Count labels of documents, as spaCy's scorer does.

    predictions (Predictions): The predictions.
    RETURNS (Optional[Counts]): The counts, or None without annotated labels.
    """
    rows = [cats for _, cats in cats_rows(predictions)]
    if not rows:
        return None
    shape = len(rows), len(predictions.labels)
    true, false, missed = (numpy.zeros(shape, dtype=numpy.int32) for _ in range(3))
    for i, row in enumerate(rows):
        if predictions.exclusive:
            right, found = answer(row), guess(row)
            true[i, found] = right == found
            false[i, found] = right != found
            missed[i, right] = right not in (found, -1)
        else:
            gold = numpy.array([numpy.nan if value is None else value for value in row.gold])
            predicted = numpy.array(row.scores) >= predictions.threshold
            true[i], false[i] = predicted & (gold > 0), predicted & (gold == 0)
            missed[i] = ~predicted & (gold > 0)
    return Counts(predictions.labels, true, false, missed)


def count_ents(predictions: Predictions) -> Optional[Counts]:
    """Count entities. An entity is right if both boundaries and the type are right.

    predictions (Predictions): The predictions.
    RETURNS (Optional[Counts]): The counts, or None if nothing is annotated or predicted.
    """
    rows = [ents for _, ents in ents_rows(predictions)]
    labels = sorted({e[2] for row in rows for e in (*row.gold, *row.found)})
    if not labels:
        return None
    column = {label: j for j, label in enumerate(labels)}
    shape = len(rows), len(labels)
    true, false, missed = (numpy.zeros(shape, dtype=numpy.int32) for _ in range(3))
    for i, row in enumerate(rows):
        gold = set(row.gold)
        for entity in row.found:
            (true if entity in gold else false)[i, column[entity[2]]] += 1
        for entity in gold - set(row.found):
            missed[i, column[entity[2]]] += 1
    return Counts(labels, true, false, missed)


def confusion_cats(predictions: Predictions) -> Dict[Tuple[str, str], int]:
    """RETURNS (Dict[Tuple[str, str], int]): Documents by gold and predicted exclusive label."""
    cells: Counter[Tuple[str, str]] = Counter()
    for _, row in cats_rows(predictions):
        right = answer(row)
        gold = predictions.labels[right] if right >= 0 else OTHER
        cells[gold, predictions.labels[guess(row)]] += 1
    return cells


def confusion_ents(predictions: Predictions) -> Dict[Tuple[str, str], int]:
    """Count entities by gold and predicted type. Entities with the same boundaries are compared.

    predictions (Predictions): The predictions.
    RETURNS (Dict[Tuple[str, str], int]): The counts. `NONE` is the predicted type of a missed
        entity and the gold type of a spurious one.
    """
    cells: Counter[Tuple[str, str]] = Counter()
    for _, row in ents_rows(predictions):
        gold, found = set(row.gold), set(row.found)
        cells.update((label, label) for _, _, label in gold & found)
        wrong: Dict[Tuple[int, int], Tuple[List[str], List[str]]] = {}
        for side, entities in enumerate((gold - found, found - gold)):
            for start, end, label in sorted(entities):
                wrong.setdefault((start, end), ([], []))[side].append(label)
        for sides in wrong.values():
            cells.update(zip_longest(*sides, fillvalue=NONE))
    return cells


# Kinds of entities in the order of the table, by what is wrong with them.
KINDS = ("right", "wrong type", "wrong boundary", "wrong boundary and type", "spurious", "missed")


def kinds_of_ents(predictions: Predictions) -> Dict[str, int]:
    """Count entities by what is wrong with them.

    predictions (Predictions): The predictions.
    RETURNS (Dict[str, int]): A count for each of KINDS. "missed" counts gold entities that overlap
        no prediction, or only predictions that are right themselves. All other kinds count
        predicted entities; "spurious" ones overlap no gold entity.
    """
    kinds = dict.fromkeys(KINDS, 0)
    for _, row in ents_rows(predictions):
        for entity in row.found:
            kinds[kind_of(entity, row.gold)] += 1
        gold, found = set(row.gold), set(row.found)
        kinds["missed"] += sum(not _overlapping(e, [*(found - gold)]) for e in gold - found)
    return kinds


def kind_of(entity: Entity, gold: Sequence[Entity]) -> str:
    """RETURNS (str): The kind of a predicted entity, one of KINDS."""
    near = _overlapping(entity, gold)
    if entity in near:
        return "right"
    if any(other[:2] == entity[:2] for other in near):
        return "wrong type"
    if any(other[2] == entity[2] for other in near):
        return "wrong boundary"
    return "wrong boundary and type" if near else "spurious"


def confidence_cats(predictions: Predictions) -> Tuple[List[float], List[bool]]:
    """RETURNS (Tuple[List[float], List[bool]]): The probability of each answer, and whether it was
    right. An answer is the predicted label if labels are exclusive, else a yes or no per label."""
    pairs: List[Tuple[float, bool]] = []
    for _, row in cats_rows(predictions):
        if predictions.exclusive:
            found = guess(row)
            pairs.append((row.scores[found], answer(row) == found))
        else:
            pairs += [
                (max(score, 1 - score), (score >= 0.5) == (gold > 0))
                for gold, score in zip(row.gold, row.scores, strict=True)
                if gold is not None
            ]
    return [score for score, _ in pairs], [right for _, right in pairs]


def predicted_cats(predictions: Predictions) -> Tuple[List[float], List[bool]]:
    """RETURNS (Tuple[List[float], List[bool]]): The probability of each predicted label, and
    whether it is right: the best label of each text if labels are exclusive, else all labels that
    reach the threshold."""
    if predictions.exclusive:
        return confidence_cats(predictions)
    pairs = [
        (score, gold > 0)
        for _, row in cats_rows(predictions)
        for gold, score in zip(row.gold, row.scores, strict=True)
        if gold is not None and score >= predictions.threshold
    ]
    return [score for score, _ in pairs], [right for _, right in pairs]


def confidence_ents(predictions: Predictions) -> Tuple[List[float], List[bool]]:
    """RETURNS (Tuple[List[float], List[bool]]): The probability of each predicted entity that has
    one, and whether the entity is right."""
    pairs = [
        (score, entity in row.gold)
        for _, row in ents_rows(predictions)
        for entity, score in zip(row.found, row.scores, strict=True)
        if score is not None
    ]
    return [score for score, _ in pairs], [right for _, right in pairs]


def _overlapping(entity: Entity, others: Sequence[Entity]) -> List[Entity]:
    return [other for other in others if other[0] < entity[1] and entity[0] < other[1]]
