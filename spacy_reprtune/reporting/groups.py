"""Recipes that can be compared: with the same kind of prediction, score and test set."""

import hashlib
import json
from dataclasses import dataclass, field, replace
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
from .counts import Counts, count_cats, count_ents
from .headline import headline, is_exclusive, score_kinds
from .metrics import Metrics, Recipe
from .predictions import Predictions, of_kind

_SPANS = "spans_"


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
        """RETURNS (Optional[Interval]): The 95 % interval, if predictions were kept."""
        return self.sampled.interval if self.sampled else None


@dataclass
class Group:
    """Recipes with the same headline score on the same test set.

    kind (str): "cats", "ents" or "spans_KEY", which spaCy's names of its scores begin with. The
        predictions of a group of spans have them as entities.
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
        kinds = {"cats": "Text labels", "ents": "Entities"}
        kind = kinds.get(self.kind, f"Spans in {self.kind.removeprefix(_SPANS)}")
        usual = ("macro F", "entity F", "span F")
        kind = kind if self.score in usual else f"{kind}, by {self.score}"
        return f"{kind} ({self.corpus})" if self.corpus else kind

    @property
    def unit(self) -> str:
        """RETURNS (str): What is counted."""
        return {"cats": "texts", "ents": "entities"}.get(self.kind, "spans")

    @property
    def predictions(self) -> Dict[str, Predictions]:
        """RETURNS (Dict[str, Predictions]): Predictions that were kept, by name of the recipe."""
        kept = {entry.name: entry.recipe.predictions for entry in self.entries if entry.counts}
        return {name: predictions for name, predictions in kept.items() if predictions}


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
        for kind in score_kinds(recipe.scores):
            one = _entry(recipe, kind)
            found += [] if one is None else [(*one, test_set)]
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
    if entry is best or not entry.sampled or not best.sampled or _texts(entry) != _texts(best):
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
    texts = None if predictions is None else [row.text for row in predictions.rows]
    # JSON, because a text may hold half of a character, which UTF-8 can't encode.
    return "" if texts is None else hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _name_test_sets(groups: Dict[Tuple[str, str, str], Group]) -> None:
    """Name test sets if there are several, by their paths if these differ."""
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


def _entry(recipe: Recipe, kind: str) -> Optional[Tuple[Group, Entry]]:
    """A group of this recipe only, None if it lacks the score."""
    predictions, counts = recipe.predictions, None
    if kind != "cats":
        name, exclusive = "entity F" if kind == "ents" else "span F", True
        value = recipe.score(f"{kind}_f")
        predictions = predictions and of_kind(predictions, kind)
        recipe = replace(recipe, predictions=predictions)
        counts = predictions and count_ents(predictions)
    else:
        name, value = headline(recipe.scores)
        exclusive = is_exclusive(recipe.scores)
        counts = predictions and count_cats(predictions)
        # If nothing is annotated, spaCy's score is 0, and there is no calibration error.
        if recipe.scores.get("cats_ece", 0.0) is None or (predictions and counts is None):
            return None
    if value is None:
        return None
    entry = Entry(recipe, value, counts)
    if predictions is not None and counts is not None:
        entry.sampled = bootstrap(entry.n_docs, _statistic(name, counts, predictions))
    return Group(kind, name, exclusive), entry


def _statistic(name: str, counts: Counts, predictions: Predictions) -> Statistic:
    if name == "macro AUC":
        return macro_auc(predictions)
    if name in ("accuracy", "micro F", "entity F", "span F"):
        return micro_f(counts)
    labels = {f"F ({label})": label for label in counts.labels}
    return label_f(counts, labels[name]) if name in labels else macro_f(counts)


def _texts(entry: Entry) -> List[Tuple[str, bool, bool]]:
    """The texts of a test set with their annotation."""
    rows = entry.recipe.predictions.rows if entry.recipe.predictions else []
    return [(row.text, row.cats is None, row.ents is None) for row in rows]
