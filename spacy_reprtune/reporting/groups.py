"""Recipes that can be compared: the same kind of prediction, scored by the same number."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from . import bootstrap
from .bootstrap import Sampled, percentile_interval
from .counts import Counts, cats_rows, count_cats, count_ents, ents_rows
from .files import Metrics, Recipe
from .predictions import Predictions


@dataclass
class Entry:
    """A recipe in a group.

    recipe (Recipe): The recipe.
    value (float): Its headline score, from the file of scores.
    counts (Optional[Counts]): Right and wrong predictions, if there are predictions.
    sampled (Optional[Sampled]): That score over drawn documents, if there are predictions.
    """

    recipe: Recipe
    value: float
    counts: Optional[Counts] = None
    sampled: Optional[Sampled] = None

    @property
    def name(self) -> str:
        """RETURNS (str): Of the recipe."""
        return self.recipe.name

    @property
    def n_docs(self) -> int:
        """RETURNS (int): Documents with annotation, 0 without predictions."""
        return 0 if self.counts is None else len(self.counts.true)


@dataclass
class Group:
    """Recipes with the same headline score.

    kind (str): "cats" or "ents".
    score (str): The headline score: "macro F", "macro AUC", "F (LABEL)", "entity F".
    exclusive (bool): Whether each document has exactly one label.
    entries (List[Entry]): The recipes, the best first.
    """

    kind: str
    score: str
    exclusive: bool = True
    entries: List[Entry] = field(default_factory=list)

    @property
    def id(self) -> str:
        """RETURNS (str): For names of pictures."""
        return "".join(c if c.isalnum() else "-" for c in f"{self.kind}-{self.score}".lower())

    @property
    def title(self) -> str:
        """RETURNS (str): For headings."""
        kind = "Labels of texts" if self.kind == "cats" else "Entities"
        return kind if self.score in ("macro F", "entity F") else f"{kind}, by {self.score}"

    @property
    def with_predictions(self) -> List[Entry]:
        """RETURNS (List[Entry]): The recipes whose predictions are there."""
        return [entry for entry in self.entries if entry.counts is not None]


def make_groups(metrics: Metrics) -> List[Group]:
    """Put recipes that can be compared together, and score drawn documents.

    metrics (Metrics): What was read.
    RETURNS (List[Group]): The groups, text classification first.
    """
    groups: Dict[Tuple[str, str], Group] = {}
    for recipe in metrics.recipes:
        for group, entry in (_cats_entry(recipe), _ents_entry(recipe)):
            if group is not None and entry is not None:
                key = group.kind, group.score
                groups.setdefault(key, group).entries.append(entry)
    for group in groups.values():
        group.entries.sort(key=lambda entry: (-entry.value, entry.name))
    return sorted(groups.values(), key=lambda group: (group.kind, -len(group.entries)))


def behind(entry: Entry, best: Entry) -> Optional[Tuple[float, float, float]]:
    """Compare two recipes on the same drawn documents.

    entry, best (Entry): The recipes.
    RETURNS (Optional[Tuple[float, float, float]]): How much better the best one is, and the
        interval of that; None where they were not tested on the same documents.
    """
    if entry is best or not entry.sampled or not best.sampled or not _same_texts(entry, best):
        return None
    gaps = best.sampled.samples - entry.sampled.samples
    return best.value - entry.value, *percentile_interval(gaps)


def _cats_entry(recipe: Recipe) -> Tuple[Optional[Group], Optional[Entry]]:
    name = recipe.scores.get("cats_score_desc")
    name = name if isinstance(name, str) else "macro F"
    value = recipe.score("cats_score" if "cats_score" in recipe.scores else "cats_macro_f")
    predictions = recipe.predictions
    annotated = predictions is None or bool(cats_rows(predictions))
    # Where nothing is annotated, spaCy says 0, and there is no calibration error.
    if value is None or not annotated or recipe.scores.get("cats_ece", 0.0) is None:
        return None, None
    exclusive = name != "macro AUC"
    group = Group("cats", name, exclusive)
    entry = Entry(recipe, value)
    if predictions is not None:
        entry.counts = count_cats(predictions)
        if entry.counts is not None:
            statistic = _cats_statistic(name, entry.counts, predictions)
            entry.sampled = bootstrap.bootstrap(entry.n_docs, statistic)
    return group, entry


def _ents_entry(recipe: Recipe) -> Tuple[Optional[Group], Optional[Entry]]:
    value = recipe.score("ents_f")
    if value is None:
        return None, None
    entry = Entry(recipe, value)
    if recipe.predictions is not None:
        entry.counts = count_ents(recipe.predictions)
        if entry.counts is not None:
            entry.sampled = bootstrap.bootstrap(entry.n_docs, bootstrap.micro_f(entry.counts))
    return Group("ents", "entity F"), entry


def _cats_statistic(name: str, counts: Counts, predictions: Predictions) -> bootstrap.Statistic:
    if name == "macro AUC":
        return bootstrap.macro_auc(predictions)
    label = name[len("F (") : -1]
    if name.startswith("F (") and label in counts.labels:
        return bootstrap.label_f(counts, label)
    return bootstrap.macro_f(counts)


def _same_texts(entry: Entry, other: Entry) -> bool:
    first, second = entry.recipe.predictions, other.recipe.predictions
    if first is None or second is None:
        return False
    return all(
        [row.text for row, _ in rows(first)] == [row.text for row, _ in rows(second)]
        for rows in (cats_rows, ents_rows)
    )
