"""Scores and confusions per label."""

from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

from ..blocks import Block, Fold, Matrix, Missing, Section, Table, Text, score_text
from ..counts import KINDS, NONE, confusion_cats, confusion_ents, kinds_of_ents
from ..groups import Entry, Group
from ..headline import labels_key
from ..metrics import Metrics
from ..predictions import Predictions
from ..values import number
from .scores import EVALUATE

# Labels in a readable matrix. All others share one row and one column.
MOST = 20
REST = "(all others)"


def classes_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): One row per label, one column per recipe."""
    section = Section("classes", "Scores per label")
    for group in groups:
        found = {entry.name: _per_label(entry, group) for entry in group.entries}
        labels = sorted({label for scores in found.values() for label in scores})
        if not labels:
            what = (
                f"{group.title}: scores per label ({labels_key(group.kind)} in the file of scores)"
            )
            section.missing.append(Missing(what, EVALUATE.format(metrics.folder.name)))
            continue
        first = found[group.entries[0].name]
        labels.sort(key=lambda label: (first.get(label, {}).get("f") or 0.0, label))
        support = _support(group)
        rows = [
            [label, f"{support[label]:,}" if label in support else "–"]
            + [score_text(found[entry.name].get(label, {}).get("f")) for entry in group.entries]
            for label in labels
        ]
        header = ["label", group.unit, *(entry.name for entry in group.entries)]
        title = f"{group.title}: F per label, weakest first"
        details: List[Block] = [
            Table(
                ["label", "precision", "recall", "F"],
                [[x, *(score_text(scores.get(x, {}).get(k)) for k in "prf")] for x in labels],
                title=name,
            )
            for name, scores in found.items()
            if scores
        ]
        section.blocks += [Table(header, rows, title=title), Fold("Precision and recall", details)]
    return section


def confusion_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Gold labels against predicted ones."""
    section = Section("confusion", "Confusion matrix")
    for group in groups:
        entries = group.predictions
        if not entries:
            continue
        if group.kind == "cats" and not group.exclusive:
            text = f"{group.title}: labels are independent, so none is confused with another."
            section.blocks.append(Text(text))
            continue
        if group.kind != "cats":
            kinds = {name: kinds_of_ents(predictions) for name, predictions in entries.items()}
            rows = [[name, *(f"{own[kind]:,}" for kind in KINDS)] for name, own in kinds.items()]
            title = f"{group.title}: kinds of errors"
            section.blocks.append(Table(["recipe", *KINDS], rows, title=title))
        for i, (name, predictions) in enumerate(entries.items()):
            matrix = _matrix(name, predictions, group)
            section.blocks.append(matrix if i == 0 else Fold(name, [matrix]))
    return section


def _per_label(entry: Entry, group: Group) -> Dict[str, Dict[str, Optional[float]]]:
    found: Any = entry.recipe.scores.get(labels_key(group.kind))
    if not isinstance(found, dict):
        return {}
    return {
        str(label): {key: number(scores.get(key)) for key in "prf"}
        for label, scores in found.items()
        if isinstance(scores, dict)
    }


def _support(group: Group) -> Dict[str, int]:
    counts = next((entry.counts for entry in group.entries if entry.counts is not None), None)
    return dict(zip(counts.labels, counts.support.tolist(), strict=True)) if counts else {}


def _matrix(name: str, predictions: Predictions, group: Group) -> Matrix:
    cells = confusion_cats(predictions) if group.kind == "cats" else confusion_ents(predictions)
    cells, n_joined = _most_confused(cells)
    labels = sorted({label for pair in cells for label in pair}, key=_order)
    rows = [label for label in labels if any(cells.get((label, x)) for x in labels)]
    columns = [label for label in labels if any(cells.get((x, label)) for x in labels)]
    counts = [[cells.get((row, column), 0) for column in columns] for row in rows]
    what = group.unit + ("" if group.kind == "cats" else " with the same boundaries")
    note = f"Counts of {what}; gold labels in rows, predicted ones in columns. Color: share of row."
    if group.kind != "cats":
        note += f" {NONE}: nothing is annotated there, or nothing is predicted."
    if n_joined:
        note += f" The {n_joined} labels that are confused least share a row and a column."
    return Matrix(f"{group.title}: {name}", rows, columns, counts, note)


def _most_confused(
    cells: Dict[Tuple[str, str], int],
) -> Tuple[Dict[Tuple[str, str], int], int]:
    """Join all labels but the most confused ones."""
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
    """Names in parentheses are not labels and come last."""
    return label.startswith("("), label
