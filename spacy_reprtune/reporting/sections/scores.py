"""Recipes side by side: their scores, and what they cost."""

from functools import partial
from typing import Callable, Dict, List, Optional, Tuple

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
from ..metrics import LOG_SUFFIX, Metrics
from ..plots import draw_intervals
from ..predictions import SUFFIX
from ..values import number

# A larger difference is not due to rounding.
DIFFERENT = 5e-4
EVALUATE = "python -m spacy reprtune evaluate MODEL TEST.spacy --output {}/RECIPE.json"
LOGGER = '[training.logger] @loggers = "spacy_reprtune.JsonlLogger.v1", path = "{}/RECIPE' + (
    f'{LOG_SUFFIX}"'
)
# What a reader may not know of the columns that are there.
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
            shown["–"] = "A dash: no file tells."
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
    costs (bool): Whether to show time, memory and size, too.
    RETURNS (Table): The table.
    """
    header, rows, marks = ["recipe"], [[entry.name] for entry in group.entries], {}
    for title, cell, lowest in _score_columns(group) + (_cost_columns() if costs else []):
        cells = [cell(entry) for entry in group.entries]
        if all(text in ("", "–") for text, _ in cells):
            continue
        values = [value for _, value in cells if value is not None]
        if lowest is not None and len(set(values)) > 1:
            chosen = min(values) if lowest else max(values)
            marks[len(header)] = [value for _, value in cells].index(chosen)
        header.append(title)
        for row, (text, _) in zip(rows, cells, strict=True):
            row.append(text)
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


# The text of a cell, and its value if the best of the column is to be marked.
_Cell = Callable[[Entry], Tuple[str, Optional[float]]]


_Column = Tuple[str, _Cell, Optional[bool]]


def _score_columns(group: Group) -> List[_Column]:
    """Title, a function that makes the cell, and whether the lowest value is the best (None: no
    value is marked)."""
    best = group.entries[0]

    def gap(entry: Entry) -> Tuple[str, Optional[float]]:
        if entry is best:
            return "", None
        found = behind(entry, best)
        return (f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})" if found else "–"), None

    def score(key: str) -> _Cell:
        return lambda entry: (score_text(entry.recipe.score(key)), entry.recipe.score(key))

    columns: List[_Column] = [
        (group.score, lambda entry: (score_text(entry.value), entry.value), False),
        ("95 % interval", lambda entry: (interval_text(entry.interval), None), None),
        ("behind (95 %)", gap, None),
    ]
    if group.kind == "cats":
        others = [("macro F", "cats_macro_f")]
        others.append(("accuracy" if group.exclusive else "micro F", "cats_micro_f"))
        columns += [(t, score(key), False) for t, key in others if t != group.score]
        columns.append(("calibration error", score("cats_ece"), True))
    else:
        columns += [("precision", score("ents_p"), False), ("recall", score("ents_r"), False)]
        columns.append(("calibration error", score("ents_ece"), True))
    return columns


def _cost_columns() -> List[_Column]:
    def cost(key: str) -> _Cell:
        return lambda entry: _with_text(number(entry.recipe.run.get(key)))

    def training(key: str) -> _Cell:
        return lambda entry: _with_text(getattr(entry.recipe.log, key, None))

    return [
        ("training", _training_time, True),
        ("training memory, MB", training("peak_memory_mb"), True),
        ("training GPU memory, MB", training("peak_gpu_memory_mb"), True),
        ("documents/s", cost("docs_per_second"), False),
        ("memory, MB", cost("peak_memory_mb"), True),
        ("GPU memory, MB", cost("gpu_memory_mb"), True),
        ("model, MB", cost("model_mb"), True),
    ]


def _with_text(value: Optional[float]) -> Tuple[str, Optional[float]]:
    return number_text(value), value


def _training_time(entry: Entry) -> Tuple[str, Optional[float]]:
    log = entry.recipe.log
    seconds = log.total_seconds if log is not None else None
    if log is None or seconds is None:
        return "–", None
    if not log.finished:
        return f"over {seconds_text(seconds)}", None
    return seconds_text(seconds), seconds


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
        parts.append(f"On these documents, the lead over {join_words(same)} may be chance.")
    if worse:
        parts.append(f"It is better than {join_words(worse)} beyond chance.")
    return " ".join(parts)
