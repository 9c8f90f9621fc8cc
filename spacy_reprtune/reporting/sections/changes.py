"""What changed between two recipes on the same test set: fixed, broken, still wrong."""

from dataclasses import dataclass
from typing import Dict, Hashable, List, Set, Tuple

from ..blocks import Block, Fold, Mistake, Mistakes, Section, Table, Text
from ..counts import OTHER, answer, guess
from ..excerpts import marked, quoted
from ..groups import Entry, Group, behind
from ..metrics import Metrics
from ..predictions import Entity, Predictions, Row

# Texts shown per kind, and recipes that the best one is compared with.
SHOWN, OTHERS = 10, 3


@dataclass
class Error:
    """An error in a document.

    row (Row): The document.
    gold, found (str): What is annotated, and what was predicted.
    span (Tuple[int, int]): The characters of the error; (0, 0) for the whole text.
    """

    row: Row
    gold: str
    found: str
    span: Tuple[int, int] = (0, 0)


def changes_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): The best recipe of each group compared with the next ones, text by
    text."""
    section = Section("changes", "What changed between recipes")
    for group in groups:
        if not group.entries:
            continue
        best, *others = group.entries
        comparable = [other for other in others if behind(other, best) is not None]
        for i, other in enumerate(comparable[:OTHERS]):
            title = f"{group.title}: {best.name} instead of {other.name}"
            blocks = _compare(group.kind, best, other)
            section.blocks += [Text(f"{title}."), *blocks] if i == 0 else [Fold(title, blocks)]
    return section


def _compare(kind: str, best: Entry, other: Entry) -> List[Block]:
    assert best.recipe.predictions is not None and other.recipe.predictions is not None
    after, before = (errors_of(e.recipe.predictions, kind) for e in (best, other))
    fixed = [before[key] for key in before if key not in after]
    broken = [after[key] for key in after if key not in before]
    still = [after[key] for key in after if key in before]
    counts = [str(len(errors)) for errors in (fixed, broken, still)]
    blocks: List[Block] = [Table(["", "fixed", "broken", "still wrong"], [["errors", *counts]])]
    for name, errors in (("Fixed", fixed), ("Broken", broken), ("Still wrong", still)):
        if errors:
            shown = Mistakes(f"{name} ({len(errors)})", [_mistake(e) for e in errors[:SHOWN]])
            blocks.append(Fold(f"{name}: {min(SHOWN, len(errors))} of {len(errors)}", [shown]))
    return blocks


def errors_of(predictions: Predictions, kind: str) -> Dict[Hashable, Error]:
    """List the errors of a recipe.

    predictions (Predictions): Its predictions.
    kind (str): The kind of its group, "cats" for the labels of texts.
    RETURNS (Dict[Hashable, Error]): Errors by a key that all recipes share: the document with
        exclusive labels, document and label with independent ones, document and characters for
        entities and spans.
    """
    errors: Dict[Hashable, Error] = {}
    for i, row in enumerate(predictions.rows):
        if kind == "cats" and row.cats is not None:
            if predictions.exclusive:
                right, found = answer(row.cats), guess(row.cats)
                if right != found:
                    other = ", ".join(row.cats.other) or OTHER
                    gold = predictions.labels[right] if right >= 0 else other
                    errors[i] = Error(row, gold, predictions.labels[found])
                continue
            for label, value, score in zip(
                predictions.labels, row.cats.gold, row.cats.scores, strict=True
            ):
                is_found = score >= predictions.threshold
                if value is not None and is_found != (value > 0):
                    names = (f"not {label}", label)
                    errors[i, label] = Error(row, names[value > 0], names[is_found])
        if kind != "cats" and row.ents is not None:
            for span, gold, found in _differences(row.ents.gold, row.ents.found):
                errors[i, span] = Error(row, gold, found, span)
    return errors


def _differences(gold: List[Entity], found: List[Entity]) -> List[Tuple[Tuple[int, int], str, str]]:
    """Characters of wrong and missed entities, with the gold and the predicted labels."""
    labels: Dict[Tuple[int, int], Tuple[Set[str], Set[str]]] = {}
    for side, entities in enumerate((gold, found)):
        for start, end, label in entities:
            labels.setdefault((start, end), (set(), set()))[side].add(label)
    return [
        (span, *(", ".join(sorted(own)) or "no label" for own in sides))
        for span, sides in sorted(labels.items())
        if sides[0] != sides[1]
    ]


def _mistake(error: Error) -> Mistake:
    text, (start, end) = error.row.text, error.span
    head = f"{error.found}, gold: {error.gold}"
    return Mistake(head, [("", marked(text, start, end) if end else quoted(text))])
