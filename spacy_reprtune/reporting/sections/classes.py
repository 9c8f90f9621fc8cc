"""Class by class: scores and confusions."""

from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

from ..blocks import Block, Fold, Matrix, Missing, Section, Table, Text, score_text
from ..counts import (
    KINDS,
    NONE,
    confusion_cats,
    confusion_ents,
    kinds_of_ents,
)
from ..files import number
from ..groups import Entry, Group

# Labels of a matrix that can be read; the others are put together.
MOST = 20
REST = "(all others)"


def classes_section(groups: List[Group]) -> Section:
    """RETURNS (Section): A row a class, a column a recipe."""
    blocks: List[Block] = []
    for group in groups:
        found = {entry.name: _per_type(entry, group) for entry in group.entries}
        labels = sorted({label for scores in found.values() for label in scores})
        if not labels:
            key = "cats_f_per_type" if group.kind == "cats" else "ents_per_type"
            blocks.append(Missing(f"{group.title}: scores of each class ({key} in metrics)"))
            continue
        first = found[group.entries[0].name]
        labels.sort(key=lambda label: (first.get(label, {}).get("f") or 0.0, label))
        support = _support(group)
        count = "texts" if group.kind == "cats" else "entities"
        rows = [
            [
                label,
                f"{support[label]:,}" if label in support else "–",
                *(score_text(found[e.name].get(label, {}).get("f")) for e in group.entries),
            ]
            for label in labels
        ]
        header = ["label", count, *(entry.name for entry in group.entries)]
        blocks.append(Table(header, rows, title=f"{group.title}: F of each class, weakest first"))
        details: List[Block] = [
            Table(
                ["label", "precision", "recall", "F"],
                [[x, *(score_text(scores.get(x, {}).get(k)) for k in "prf")] for x in labels],
                title=name,
            )
            for name, scores in found.items()
            if scores
        ]
        blocks.append(Fold("Precision and recall", details))
    if not groups:
        blocks.append(Missing("Scores of each class (metrics/RECIPE.json)"))
    return Section("classes", "Class by class", blocks)


def confusion_section(groups: List[Group]) -> Section:
    """RETURNS (Section): What is taken for what, recipe by recipe."""
    blocks: List[Block] = []
    for group in groups:
        entries = group.with_predictions
        if not entries:
            blocks.append(
                Missing(f"{group.title}: the confusion matrix ({group.prediction_files})")
            )
            continue
        if group.kind == "cats" and not group.exclusive:
            blocks.append(
                Text(
                    f"{group.title}: each label is a question of its own, so none is taken for "
                    "another."
                )
            )
            continue
        if group.kind == "ents":
            blocks.append(_kinds(entries, group))
        for i, entry in enumerate(entries):
            matrix = _matrix(entry, group)
            if matrix is not None:
                blocks.append(matrix if i == 0 else Fold(f"The same of {entry.name}", [matrix]))
    if not groups:
        blocks.append(Missing("The confusion matrix (metrics/RECIPE.predictions.jsonl.gz)"))
    return Section("confusion", "What is taken for what", blocks)


def _per_type(entry: Entry, group: Group) -> Dict[str, Dict[str, Optional[float]]]:
    found: Any = entry.recipe.scores.get(
        "cats_f_per_type" if group.kind == "cats" else "ents_per_type"
    )
    if not isinstance(found, dict):
        return {}
    return {
        str(label): {key: number(scores.get(key)) for key in "prf"}
        for label, scores in found.items()
        if isinstance(scores, dict)
    }


def _support(group: Group) -> Dict[str, int]:
    for entry in group.with_predictions:
        if entry.counts is not None:
            return dict(zip(entry.counts.labels, entry.counts.support.tolist(), strict=True))
    return {}


def _kinds(entries: List[Entry], group: Group) -> Table:
    rows = []
    for entry in entries:
        if entry.recipe.predictions is not None:
            kinds = kinds_of_ents(entry.recipe.predictions)
            rows.append([entry.name, *(f"{kinds[kind]:,}" for kind in KINDS)])
    return Table(["recipe", *KINDS], rows, title=f"{group.title}: what is right and wrong")


def _matrix(entry: Entry, group: Group) -> Optional[Matrix]:
    predictions = entry.recipe.predictions
    if predictions is None:
        return None
    cells = confusion_cats(predictions) if group.kind == "cats" else confusion_ents(predictions)
    what = "texts" if group.kind == "cats" else "entities with the same boundaries"
    cells, left_out = _most_confused(cells)
    labels = sorted({label for pair in cells for label in pair}, key=_order)
    rows = [label for label in labels if any(cells.get((label, x)) for x in labels)]
    columns = [label for label in labels if any(cells.get((x, label)) for x in labels)]
    counts = [[cells.get((row, column), 0) for column in columns] for row in rows]
    shares = [[count / max(1, sum(line)) for count in line] for line in counts]
    note = f"Rows are right, columns predicted; {what}; the colour is the share of the row."
    if group.kind == "ents":
        note += f" {NONE}: predicted where nothing is, or not predicted."
    if left_out:
        note += f" {left_out} labels that are confused less are put together."
    return Matrix(f"{group.title}: {entry.name}", rows, columns, counts, shares, note)


def _most_confused(
    cells: Dict[Tuple[str, str], int],
) -> Tuple[Dict[Tuple[str, str], int], int]:
    """Leave so many labels apart as can be read."""
    labels = {label for pair in cells for label in pair}
    if len(labels) <= MOST:
        return cells, 0
    wrong: Counter[str] = Counter()
    for (gold, found), count in cells.items():
        if gold != found:
            wrong.update({gold: count, found: count})
    kept = {label for label, _ in wrong.most_common(MOST - 1)} | (labels & {NONE})
    joined: Counter[Tuple[str, str]] = Counter()
    for (gold, found), count in cells.items():
        joined[gold if gold in kept else REST, found if found in kept else REST] += count
    return joined, len(labels - kept)


def _order(label: str) -> Tuple[bool, str]:
    """Names that are no labels come last."""
    return label.startswith("("), label
