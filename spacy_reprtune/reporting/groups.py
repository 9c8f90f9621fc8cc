"""Recipes that can be compared: the same kind of prediction, the same score, the same test set."""

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Dict, List, Optional, Sequence, Set, Tuple

from .bootstrap import (
    Interval,
    Sampled,
    Statistic,
    bootstrap,
    label_f,
    macro_auc,
    macro_f,
    micro_f,
    percentile_interval,
)
from .counts import Counts, cats_rows, count_cats, count_ents, ents_rows
from .headline import headline, is_exclusive
from .metrics import Metrics, Recipe
from .predictions import Predictions


@dataclass
class Entry:
    """A recipe in a group.

    recipe (Recipe): The recipe.
    value (float): Its headline score, from the file of scores.
    counts (Optional[Counts]): Right and wrong predictions, if predictions were kept.
    sampled (Optional[Sampled]): That score on resampled documents, if predictions were kept.
    """

    recipe: Recipe
    value: float
    counts: Optional[Counts] = None
    sampled: Optional[Sampled] = None

    @property
    def name(self) -> str:
        """RETURNS (str): Name of the recipe."""
        return self.recipe.name

    @property
    def n_docs(self) -> int:
        """RETURNS (int): Number of annotated documents, 0 without predictions."""
        return 0 if self.counts is None else len(self.counts.true)

    @property
    def interval(self) -> Optional[Interval]:
        """RETURNS (Optional[Tuple[float, float]]): The interval of 95 %, if predictions were
        kept."""
        return self.sampled.interval if self.sampled else None


@dataclass
class Group:
    """Recipes with the same headline score on the same test set.

    kind (str): "cats" or "ents".
    score (str): The headline score: "macro F", "macro AUC", "F (LABEL)", "entity F" and so on.
    exclusive (bool): Whether each document has exactly one label.
    entries (List[Entry]): The recipes, best first.
    corpus (str): Name of the test set, "" if all groups of this kind have the same one.
    number (int): Tells groups with the same name apart.
    """

    kind: str
    score: str
    exclusive: bool = True
    entries: List[Entry] = field(default_factory=list)
    corpus: str = ""
    number: int = 1

    @property
    def id(self) -> str:
        """RETURNS (str): Prefix for ids of figures."""
        name = "".join(c if c.isalnum() else "-" for c in f"{self.kind}-{self.score}".lower())
        return name if self.number == 1 else f"{name}--{self.number}"

    @property
    def title(self) -> str:
        """RETURNS (str): Start of headings."""
        kind = "Text labels" if self.kind == "cats" else "Entities"
        kind = kind if self.score in ("macro F", "entity F") else f"{kind}, by {self.score}"
        return f"{kind} ({self.corpus})" if self.corpus else kind

    @property
    def with_predictions(self) -> List[Entry]:
        """RETURNS (List[Entry]): The recipes whose predictions were kept."""
        return [entry for entry in self.entries if entry.counts is not None]


def make_groups(metrics: Metrics) -> List[Group]:
    """Group recipes that can be compared, and score resampled documents.

    Test sets are the same if their texts are; without predictions, if the path of the corpus is.
    A recipe for which neither is known (from `spacy evaluate`) joins the others of its kind if
    they all have the same test set; otherwise it stays on its own.

    metrics (Metrics): What was read.
    RETURNS (List[Group]): The groups, text classification first.
    """
    found: List[Tuple[Group, Entry, str]] = []
    for recipe, test_set in zip(metrics.recipes, _test_sets(metrics.recipes), strict=True):
        for kind in ("cats", "ents"):
            one = _cats_entry(recipe) if kind == "cats" else _ents_entry(recipe)
            if one is not None:
                found.append((*one, test_set))
    known: Dict[str, Set[str]] = {}
    for group, _, test_set in found:
        known.setdefault(group.kind, set()).update({test_set} - {""})
    groups: Dict[Tuple[str, str, str], Group] = {}
    for group, entry, test_set in found:
        if not test_set and len(known[group.kind]) == 1:
            (test_set,) = known[group.kind]
        key = group.kind, group.score, test_set
        groups.setdefault(key, group).entries.append(entry)
    for group in groups.values():
        group.entries.sort(key=lambda entry: (-entry.value, entry.name))
    _name_test_sets(groups)
    return sorted(groups.values(), key=lambda group: (group.kind, -len(group.entries)))


def behind(entry: Entry, best: Entry) -> Optional[Tuple[float, float, float]]:
    """Compare two recipes on the same resampled documents.

    entry, best (Entry): The recipes.
    RETURNS (Optional[Tuple[float, float, float]]): By how much the best one is better, and the
        interval of that; None if they were not tested on the same documents.
    """
    if entry is best or not entry.sampled or not best.sampled or not _same_texts(entry, best):
        return None
    gaps = best.sampled.samples - entry.sampled.samples
    return best.value - entry.value, *percentile_interval(gaps)


def _test_sets(recipes: Sequence[Recipe]) -> List[str]:
    """A key for each recipe that is the same for recipes with the same test set, "" if unknown."""
    corpora = [_corpus(recipe) for recipe in recipes]
    texts = [_digest(recipe.predictions) for recipe in recipes]
    by_corpus = {c: t for c, t in zip(reversed(corpora), reversed(texts), strict=True) if c and t}
    return [t or by_corpus.get(c, c) for c, t in zip(corpora, texts, strict=True)]


def _corpus(recipe: Recipe) -> str:
    corpus = recipe.run.get("corpus")
    return PurePath(corpus).as_posix() if isinstance(corpus, str) and corpus else ""


def _digest(predictions: Optional[Predictions]) -> str:
    if predictions is None:
        return ""
    digest = hashlib.sha256()
    for row in predictions.rows:
        text = row.text.encode("utf8", errors="surrogatepass")
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()


def _name_test_sets(groups: Dict[Tuple[str, str, str], Group]) -> None:
    """Name test sets if there are several, by their path if it tells them apart."""
    paths: Dict[str, Dict[str, Set[str]]] = {}
    for (kind, _, test_set), group in groups.items():
        own = paths.setdefault(kind, {}).setdefault(test_set, set())
        own.update({_corpus(entry.recipe) for entry in group.entries} - {""})
    ids: Set[str] = set()
    for (kind, _, test_set), group in groups.items():
        if len(paths[kind]) > 1:
            others = [found for other, found in paths[kind].items() if other != test_set]
            path = next(iter(sorted(paths[kind][test_set].difference(*others))), None)
            group.corpus = path[-60:] if path else f"test set of {group.entries[0].name}"
        while group.id in ids:
            group.number += 1
        ids.add(group.id)


def _cats_entry(recipe: Recipe) -> Optional[Tuple[Group, Entry]]:
    name, value = headline(recipe.scores)
    predictions = recipe.predictions
    annotated = predictions is None or bool(cats_rows(predictions))
    # Where nothing is annotated, spaCy's score is 0, and there is no calibration error.
    if value is None or not annotated or recipe.scores.get("cats_ece", 0.0) is None:
        return None
    entry = Entry(recipe, value)
    if predictions is not None:
        entry.counts = count_cats(predictions)
        if entry.counts is not None:
            statistic = _cats_statistic(name, entry.counts, predictions)
            entry.sampled = bootstrap(entry.n_docs, statistic)
    return Group("cats", name, is_exclusive(recipe.scores)), entry


def _ents_entry(recipe: Recipe) -> Optional[Tuple[Group, Entry]]:
    value = recipe.score("ents_f")
    if value is None:
        return None
    entry = Entry(recipe, value)
    if recipe.predictions is not None:
        entry.counts = count_ents(recipe.predictions)
        if entry.counts is not None:
            entry.sampled = bootstrap(entry.n_docs, micro_f(entry.counts))
    return Group("ents", "entity F"), entry


def _cats_statistic(name: str, counts: Counts, predictions: Predictions) -> Statistic:
    if name == "macro AUC":
        return macro_auc(predictions)
    if name in ("accuracy", "micro F"):
        return micro_f(counts)
    label = name[len("F (") : -1]
    if name.startswith("F (") and label in counts.labels:
        return label_f(counts, label)
    return macro_f(counts)


def _same_texts(entry: Entry, other: Entry) -> bool:
    first, second = entry.recipe.predictions, other.recipe.predictions
    if first is None or second is None:
        return False
    return all(
        [row.text for row, _ in rows(first)] == [row.text for row, _ in rows(second)]
        for rows in (cats_rows, ents_rows)
    )
