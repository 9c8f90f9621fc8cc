"""Recipes side by side: what they reach, and what they cost."""

from typing import Callable, List, Optional, Tuple

from ..blocks import (
    Block,
    Missing,
    Plot,
    Section,
    Table,
    Text,
    interval_text,
    number_text,
    score_text,
    seconds_text,
)
from ..bootstrap import RESAMPLES
from ..files import Metrics, number
from ..groups import Entry, Group, behind
from ..plots import draw_intervals
from ..svg import to_svg

# Apart from rounding.
DIFFERENT = 5e-4
# Columns that are left out where they would be empty.
BEHIND = "behind (95 %)"
GPU, TRAINING_GPU = "GPU memory, MB", "training GPU memory, MB"


def recipes_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): The scores of all recipes, with intervals, time, memory and size."""
    blocks: List[Block] = []
    for group in groups:
        blocks += _group(group)
    if any(entry.sampled for group in groups for entry in group.entries):
        blocks.append(
            Text(
                "Intervals hold 95 % of the scores of "
                f"{RESAMPLES:,} test sets drawn with replacement from the documents of this one. "
                "They say what other documents of the same kind would change, not what another "
                "seed would. “Behind” is the distance to the best recipe on the same draws. "
                "Calibration error: how far probabilities are from the share that is right, on "
                "average. Documents a second are as spaCy measures them, with tokenizing; memory "
                "is the most that the process had; the model is the pipeline on disk, which is "
                "what a package holds. A dash: no file says."
            )
        )
    logs = [entry.recipe.log for group in groups for entry in group.entries]
    if any(log is not None and log.seconds is not None for log in logs):
        blocks.append(
            Text(
                "The time of training includes initialization, where a frozen encoder does nearly "
                "all of its work. “Over”: the training was stopped or failed, or still runs."
            )
        )
    if not groups:
        blocks.append(
            Missing(
                f"Scores of recipes ({metrics.folder.name}/RECIPE.json)",
                "python -m spacy reprtune evaluate MODEL TEST.spacy --output metrics/RECIPE.json",
            )
        )
    blocks += _missing(metrics)
    return Section("recipes", "Recipes", blocks)


def _group(group: Group) -> List[Block]:
    best = group.entries[0]
    header, rows, marks = ["recipe"], [[entry.name] for entry in group.entries], {}
    for title, cell, lowest in _columns(group):
        cells = [cell(entry) for entry in group.entries]
        if title in (BEHIND, GPU, TRAINING_GPU) and all(text == "–" for text, _ in cells):
            continue
        values = [value for _, value in cells if value is not None]
        if lowest is not None and len(set(values)) > 1:
            chosen = min(values) if lowest else max(values)
            marks[len(header)] = [value for _, value in cells].index(chosen)
        header.append(title)
        for row, (text, _) in zip(rows, cells, strict=True):
            row.append(text)
    intervals = [
        (entry.name, entry.value, entry.sampled.interval if entry.sampled else None)
        for entry in group.entries
    ]
    blocks: List[Block] = [Text(_sentence(group, best))]
    if len(intervals) > 1:
        label = f"{group.score} of each recipe, with its interval"
        svg = to_svg(draw_intervals(intervals, title=group.score), f"i-{group.id}", label=label)
        blocks.append(Plot(svg, f"{group.title}: {group.score} with 95 % intervals"))
    blocks.append(Table(header, rows, title=group.title, best=marks))
    blocks += [
        Text(
            f"The interval of {entry.name} is around {entry.sampled.value:.3f}, which is its score "
            "without texts that are not annotated; its scorer counted them as wrong."
        )
        for entry in group.entries
        if entry.sampled is not None and abs(entry.sampled.value - entry.value) > DIFFERENT
    ]
    return blocks


# A cell, and its value if the best one of the column is to be marked.
_Cell = Callable[[Entry], Tuple[str, Optional[float]]]


def _columns(group: Group) -> List[Tuple[str, _Cell, Optional[bool]]]:
    """Title, what makes a cell, and whether the lowest value is the best (None: none is)."""
    best = group.entries[0]

    def interval(entry: Entry) -> Tuple[str, Optional[float]]:
        return (interval_text(*entry.sampled.interval) if entry.sampled else "–"), None

    def gap(entry: Entry) -> Tuple[str, Optional[float]]:
        found = behind(entry, best)
        return (f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})" if found else "–"), None

    def score(key: str) -> _Cell:
        return lambda entry: (score_text(entry.recipe.score(key)), entry.recipe.score(key))

    def cost(key: str) -> _Cell:
        def cell(entry: Entry) -> Tuple[str, Optional[float]]:
            value = number(entry.recipe.run.get(key))
            return number_text(value), value

        return cell

    columns: List[Tuple[str, _Cell, Optional[bool]]] = [
        (group.score, lambda entry: (score_text(entry.value), entry.value), False),
        ("95 % interval", interval, None),
        (BEHIND, gap, None),
    ]
    if group.kind == "cats":
        columns.append(("accuracy" if group.exclusive else "micro F", score("cats_micro_f"), False))
        columns.append(("calibration error", score("cats_ece"), True))
    else:
        columns += [("precision", score("ents_p"), False), ("recall", score("ents_r"), False)]
        columns.append(("calibration error", score("ents_ece"), True))
    return [
        *columns,
        ("training", _training_time, True),
        ("training memory, MB", _training_memory("peak_memory_mb"), True),
        (TRAINING_GPU, _training_memory("peak_gpu_memory_mb"), True),
        ("documents/s", cost("docs_per_second"), False),
        ("memory, MB", cost("peak_memory_mb"), True),
        (GPU, cost("gpu_memory_mb"), True),
        ("model, MB", cost("model_mb"), True),
    ]


def _training_time(entry: Entry) -> Tuple[str, Optional[float]]:
    log = entry.recipe.log
    seconds = log.total_seconds if log is not None else None
    if log is None or seconds is None:
        return "–", None
    if not log.finished:
        return f"over {seconds_text(seconds)}", None
    return seconds_text(seconds), seconds


def _training_memory(key: str) -> _Cell:
    def cell(entry: Entry) -> Tuple[str, Optional[float]]:
        value = getattr(entry.recipe.log, key, None)
        return number_text(value), value

    return cell


def _sentence(group: Group, best: Entry) -> str:
    """What the table comes to."""
    found = f"{best.value:.3f}"
    if best.sampled is not None:
        found += f" on {best.n_docs:,} documents (95 %: {interval_text(*best.sampled.interval)})"
    if len(group.entries) == 1:
        return f"{best.name} has {group.score} {found}."
    parts = [f"{best.name} has the highest {group.score}: {found}."]
    compared = [(entry, gap) for entry in group.entries if (gap := behind(entry, best))]
    same = [entry.name for entry, (_, low, _) in compared if low <= 0]
    worse = [entry.name for entry, (_, low, _) in compared if low > 0]
    if same:
        parts.append(f"These documents do not tell it from {_list(same)}.")
    if worse:
        parts.append(f"It is better than {_list(worse)} beyond chance.")
    return " ".join(parts)


def _list(names: List[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _missing(metrics: Metrics) -> List[Block]:
    blocks: List[Block] = []
    for suffix, what, how in (
        (
            ".predictions.jsonl.gz",
            "Predictions, for intervals, confusion, curves and errors",
            "python -m spacy reprtune evaluate MODEL TEST.spacy --output metrics/RECIPE.json",
        ),
        (
            ".training.jsonl",
            "Logs of training, for time, memory and curves",
            "[training.logger] with spacy_reprtune.JsonlLogger.v1 and "
            'path = "metrics/RECIPE.training.jsonl"',
        ),
    ):
        names = [n for recipe in metrics.recipes for n in recipe.missing if n.endswith(suffix)]
        if names:
            folder = metrics.folder.name
            blocks.append(Missing(f"{what}: {', '.join(f'{folder}/{n}' for n in names)}", how))
    return blocks
