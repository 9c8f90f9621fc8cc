"""Scores and costs of the recipes, side by side."""

from dataclasses import dataclass
from functools import partial
from typing import Dict, List, Optional, Sequence, Tuple

from ..blocks import (
    Block,
    Missing,
    Plot,
    Section,
    Table,
    Text,
    interval_text,
    join_words,
    number_text,
    score_text,
    seconds_text,
)
from ..bootstrap import RESAMPLES
from ..groups import Entry, Group, behind
from ..metrics import LOG_SUFFIX, Metrics, TrainingLog
from ..plots import draw_intervals
from ..predictions import SUFFIX
from ..values import number

# A larger difference is not due to rounding.
DIFFERENT = 5e-4
# Title, key and whether the lowest value is the best.
_COSTS = (
    ("training memory, MB", "peak_memory_mb", True),
    ("training GPU memory, MB", "peak_gpu_memory_mb", True),
    ("documents/s", "docs_per_second", False),
    ("memory, MB", "peak_memory_mb", True),
    ("GPU memory, MB", "gpu_memory_mb", True),
    ("model, MB", "model_mb", True),
)
EVALUATE = "python -m spacy reprtune evaluate MODEL TEST.spacy --output {}/RECIPE.json"
LOGGER = '[training.logger] @loggers = "spacy_reprtune.JsonlLogger.v1", path = "{}/RECIPE' + (
    f'{LOG_SUFFIX}"'
)
# Notes on columns that readers may not know.
_NOTES = {
    "95 % interval": f"Intervals cover 95 % of the scores of {RESAMPLES:,} test sets drawn with "
    "replacement from the documents of this one; where all of them have the same score, they are "
    "Wilson's. They show what other documents of the same kind would change, not what another "
    "seed would.",
    "behind (95 %)": "“Behind” is the distance to the best recipe on the same draws.",
    "calibration error": "The calibration error is the mean distance between the probability of "
    "predictions and the share of them that is right.",
    "training": "Training time includes initialization, where a frozen encoder does nearly all of "
    "its work.",
    "documents/s": "Documents per second are measured by spaCy, with tokenization.",
    "memory, MB": "Memory is the peak of the process.",
    "model, MB": "The size of the model is that of the pipeline on disk, which a package holds.",
}


def scores_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Scores with intervals, time, memory and size of all recipes."""
    section = Section("scores", "Scores")
    shown: Dict[str, str] = {}
    for group in groups:
        table = score_table(group)
        blocks = _group(group, table)
        section.blocks += blocks
        shown.update({title: _NOTES[title] for title in table.header if title in _NOTES})
        if any("–" in row for row in table.rows):
            shown["–"] = "A dash means that no file has the value."
    logs = [entry.recipe.log for group in groups for entry in group.entries]
    if any(log is not None and log.seconds is not None and not log.finished for log in logs):
        shown["over"] = "“Over”: the training was stopped, failed or is still running."
    if shown:
        section.blocks.append(Text(" ".join(shown.values())))
    folder = metrics.folder.name
    if not groups:
        what = f"scores of recipes ({folder}/RECIPE.json)"
        section.missing.append(Missing(what, EVALUATE.format(folder)))
    for suffix, what, command in (
        (SUFFIX, "predictions, for intervals, confusion, curves and errors", EVALUATE),
        (LOG_SUFFIX, "logs of training, for time, memory and curves", LOGGER),
    ):
        names = [n for recipe in metrics.recipes for n in recipe.missing if n.endswith(suffix)]
        if names:
            files = ", ".join(f"{folder}/{name}" for name in names)
            section.missing.append(Missing(f"{what} ({files})", command.format(folder)))
    return section


def score_table(group: Group, *, costs: bool = True) -> Table:
    """Make a table with one row per recipe, without columns that have no value.

    group (Group): The recipes.
    costs (bool): Whether to show time, memory and size as well.
    RETURNS (Table): The table.
    """
    best, recipes = group.entries[0], [entry.recipe for entry in group.entries]
    columns = [
        _scores(group.score, [entry.value for entry in group.entries]),
        _Column("95 % interval", [interval_text(entry.interval) for entry in group.entries]),
        _Column("behind (95 %)", [_gap(entry, best) for entry in group.entries]),
    ]
    for title, key in _keys(group).items():
        values = [recipe.score(key) for recipe in recipes]
        columns.append(_scores(title, values, lowest=title == "calibration error"))
    if costs:
        times = [_training_time(recipe.log) for recipe in recipes]
        columns.append(_Column("training", *map(list, zip(*times, strict=True)), lowest=True))
        for title, key, lowest in _COSTS:
            of_training = title.startswith("training")
            found = [
                getattr(recipe.log, key, None) if of_training else number(recipe.run.get(key))
                for recipe in recipes
            ]
            columns.append(_Column(title, [number_text(x) for x in found], found, lowest))
    columns = [c for c in columns if not all(text in ("", "–") for text in c.cells)]
    names = [entry.name for entry in group.entries]
    marks = {j: row for j, c in enumerate(columns, start=1) if (row := c.best) is not None}
    header = ["recipe", *(column.title for column in columns)]
    rows = [list(row) for row in zip(names, *(column.cells for column in columns), strict=True)]
    return Table(header, rows, title=group.title, best=marks)


def _group(group: Group, table: Table) -> List[Block]:
    blocks: List[Block] = [Text(_sentence(group, group.entries[0]))]
    if len(group.entries) > 1:
        scores = [(entry.name, entry.value, entry.interval) for entry in group.entries]
        title = f"{group.title}: {group.score} with 95 % intervals"
        draw = partial(draw_intervals, scores, title=group.score)
        blocks.append(Plot(f"i-{group.id}", title, draw))
    blocks.append(table)
    blocks += [
        Text(
            f"The interval of {entry.name} is around {entry.sampled.value:.3f}, its score without "
            "texts that are not annotated; its scorer counted those as wrong."
        )
        for entry in group.entries
        if entry.sampled is not None and abs(entry.sampled.value - entry.value) > DIFFERENT
    ]
    return blocks


@dataclass
class _Column:
    """A column with its values, if the best one is to be marked."""

    title: str
    cells: List[str]
    values: Sequence[Optional[float]] = ()
    lowest: bool = False

    @property
    def best(self) -> Optional[int]:
        """The row to mark, None if all are the same."""
        known = [value for value in self.values if value is not None]
        if len(set(known)) < 2:
            return None
        return self.values.index(min(known) if self.lowest else max(known))


def _scores(title: str, values: Sequence[Optional[float]], *, lowest: bool = False) -> _Column:
    return _Column(title, [score_text(value) for value in values], values, lowest)


def _keys(group: Group) -> Dict[str, str]:
    """spaCy's keys of the other scores, by title."""
    if group.kind != "cats":
        names = {"precision": "p", "recall": "r", "calibration error": "ece"}
        return {title: f"{group.kind}_{name}" for title, name in names.items()}
    micro = "accuracy" if group.exclusive else "micro F"
    keys = {"macro F": "cats_macro_f", micro: "cats_micro_f", "calibration error": "cats_ece"}
    return {title: key for title, key in keys.items() if title != group.score}


def _gap(entry: Entry, best: Entry) -> str:
    gap = behind(entry, best)
    if gap is None:
        return "" if entry is best else "–"
    return f"{gap[0]:.3f} ({gap[1]:.3f} to {gap[2]:.3f})"


def _training_time(log: Optional[TrainingLog]) -> Tuple[str, Optional[float]]:
    seconds = log.total_seconds if log is not None else None
    if log is None or log.finished or seconds is None:
        return seconds_text(seconds), seconds
    return f"over {seconds_text(seconds)}", None


def _sentence(group: Group, best: Entry) -> str:
    """The table in words."""
    found = f"{best.value:.3f}"
    if best.interval is not None:
        found += f" on {best.n_docs:,} documents (95 %: {interval_text(best.interval)})"
    if len(group.entries) == 1:
        return f"{best.name} has {group.score} {found}."
    parts = [f"{best.name} has the highest {group.score}: {found}."]
    compared = [(entry, gap) for entry in group.entries if (gap := behind(entry, best))]
    same = [entry.name for entry, (_, low, _) in compared if low <= 0]
    worse = [entry.name for entry, (_, low, _) in compared if low > 0]
    if same:
        parts.append(f"On these documents, the lead over {join_words(same)} may be due to chance.")
    if worse:
        parts.append(f"It is better than {join_words(worse)} beyond chance.")
    return " ".join(parts)
