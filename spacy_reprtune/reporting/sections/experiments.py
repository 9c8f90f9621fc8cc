"""Experiments: how many blocks to train, how many texts to annotate, pretraining."""

from contextlib import suppress
from functools import partial
from typing import Any, Dict, List

from ...training.sweep import smallest_good_point
from ..blocks import Block, Missing, Plot, Section, Table, Text, score_text, seconds_text
from ..experiment_plots import NAMES, draw_learning_curve, draw_sweep
from ..groups import Group
from ..metrics import Metrics, Pretraining
from ..svg import SIZE
from ..values import number, objects, part


def freezing_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Score and time against the number of trainable blocks."""
    section = Section("freezing", "Trainable blocks")
    for i, (name, points) in enumerate(metrics.sweeps.items()):
        smallest, best = smallest_good_point(points)
        rows = [
            [p.unfreeze, *map(score_text, (p.mean, p.std)), seconds_text(p.seconds), str(p.n_runs)]
            for p in points
        ]
        sentence = f"Best: {best.unfreeze} ({best.mean:.3f}, {seconds_text(best.seconds)})."
        if smallest is not best:
            sentence += (
                f" Within one standard error of it: {smallest.unfreeze} ({smallest.mean:.3f}, "
                f"{seconds_text(smallest.seconds)})."
            )
        title = "Score and time against trainable blocks"
        draw = partial(draw_sweep, points, smallest, size=SIZE)
        caption = f"{name}.json. The ring: the fewest blocks within one standard error of the best."
        header = ["trainable blocks", "score on dev", "std", "training", "runs"]
        section.blocks += [
            Text(sentence),
            Plot(f"sweep-{i}", title, draw, caption),
            Table(header, rows),
        ]
        if all(point.n_runs == 1 for point in points):
            text = "With one run per point, the spread is unknown: ignore small differences."
            section.blocks.append(Text(text))
    if not metrics.sweeps:
        path = f"{metrics.folder.name}/sweep.json"
        command = f"python -m spacy reprtune sweep CONFIG --output {path}"
        section.missing.append(Missing(f"the freezing curve ({path})", command))
    return section


def few_shot_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Score against the number of annotated texts."""
    section = Section("few-shot", "Annotated texts per label")
    for i, (name, points) in enumerate(metrics.learning_curves.items()):
        known = [point for point in points if point["recipe"] in NAMES]
        if known:
            title = "Score against annotated texts per label"
            draw = partial(draw_learning_curve, known, size=SIZE)
            section.blocks.append(Plot(f"few-{i}", title, draw, f"{name}.json"))
        recipes = list(dict.fromkeys(point["recipe"] for point in points))
        sizes = sorted({point["per_class"] for point in points})
        cells = {(p["recipe"], p["per_class"]): f"{p['mean']:.3f} ± {p['std']:.3f}" for p in points}
        rows = [[f"{size:,}", *(cells.get((r, size), "–") for r in recipes)] for size in sizes]
        header = ["texts per label", *(NAMES.get(recipe, recipe) for recipe in recipes)]
        title = "Score on dev, ± standard deviation over seeds"
        section.blocks.append(Table(header, rows, title=title))
    if not metrics.learning_curves:
        path = f"{metrics.folder.name}/learning-curve.json"
        command = "python -m spacy reprtune learning-curve SETFIT_CONFIG JOINT_CONFIG --output "
        section.missing.append(Missing(f"the few-shot curve ({path})", command + path))
    return section


def pretraining_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Losses on held-out text before and after pretraining."""
    section = Section("pretraining", "Pretraining on your text")
    folder = metrics.training.name
    for i, run in enumerate(metrics.pretrainings):
        section.blocks += _losses(run) + _judged(run) + _log(run, i, folder)
        section.blocks += _filled_masks(run)
    what = (
        [f"losses of pretraining ({folder}/NAME/report.json)"] if not metrics.pretrainings else []
    )
    what += [
        f"the curve of pretraining ({folder}/{run.name}/log.jsonl)"
        for run in metrics.pretrainings
        if not run.log
    ]
    command = f"python -m spacy reprtune mlm CONFIG --output {folder}/mlm"
    section.missing = [Missing(one, command) for one in what]
    return section


def _losses(run: Pretraining) -> List[Block]:
    from ...pretraining.report import perplexity

    rows = []
    for key, label in (("heldout", "held-out text of the domain"), ("general", "general text")):
        before, after = (number(part(run.report, when).get(key)) for when in ("before", "after"))
        if before is not None and after is not None:
            values = (before, after, perplexity(before), perplexity(after))
            rows.append([label, *(f"{value:.4g}" for value in values)])
    steps = number(run.report.get("steps"))
    title = run.name if steps is None else f"{run.name}, {steps:,.0f} steps"
    if run.report.get("objective") == "tsdae":
        title += ", texts restored from their vectors"
    header = ["", "loss before", "after", "perplexity before", "after"]
    return [Table(header, rows, title=title)] if rows else []


def _judged(run: Pretraining) -> List[Block]:
    from ...pretraining.judge import verdict

    # The content of the file is unknown.
    with suppress(LookupError, TypeError, ValueError):
        return [Text(verdict(part(run.report, "judge")))]
    return []


def _log(run: Pretraining, i: int, folder: str) -> List[Block]:
    from ...pretraining.report import draw_log

    log = [{k: v for k, v in row.items() if number(v) is not None} for row in run.log]
    if not any("loss" in row or "heldout" in row for row in log):
        return []
    source = f"{folder}/{run.name}/log.jsonl"
    return [Plot(f"mlm-{i}", "Loss during pretraining", partial(draw_log, log, size=SIZE), source)]


def _filled_masks(run: Pretraining) -> List[Block]:
    def words(row: Dict[str, Any], key: str) -> str:
        values = row.get(key)
        return ", ".join(map(str, values)) if isinstance(values, list) else "–"

    cells = [
        [str(row.get("sentence", "")), words(row, "before"), words(row, "after")]
        for row in objects(run.report.get("fill_mask"))
    ]
    return [Table(["sentence", "before", "after"], cells, words=(0, 1, 2))] if cells else []
