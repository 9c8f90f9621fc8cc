"""Curves of predictions (precision-recall, calibration) and of trainings."""

from functools import partial
from typing import Any, Dict, List, Optional, Tuple

from ..blocks import Grid, Missing, Plot, Section
from ..counts import cats_rows, confidence_cats, confidence_ents, ents_rows, predicted_cats
from ..groups import Group
from ..metrics import Metrics, TrainingLog
from ..plots import (
    Line,
    draw_calibration,
    draw_coverage,
    draw_lines,
    draw_precision_recall,
    precision_recall,
)
from ..predictions import Predictions
from ..values import number
from .scores import EVALUATE

_THRESHOLD = " `reprtune threshold` finds where a precision holds."


def curves_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Precision against recall and against coverage, and calibration."""
    section = Section("curves", "Precision, recall and calibration")
    for group in groups:
        named = group.predictions
        curves = {name: _precision_recall(p, group.kind) for name, p in named.items()}
        confidence = confidence_cats if group.kind == "cats" else confidence_ents
        results = {name: confidence(p) for name, p in named.items()}
        predicted = predicted_cats if group.kind == "cats" else confidence_ents
        answers = {name: predicted(p) for name, p in named.items()}
        plots = [
            Plot(f"{name}-{group.id}", f"{group.title}: {title}", partial(draw, kept), caption)
            for name, title, draw, kept, caption in (
                (
                    "pr",
                    "precision and recall",
                    draw_precision_recall,
                    {name: curve for name, curve in curves.items() if curve is not None},
                    "All labels together, most confident predictions first; average precision in "
                    "parentheses.",
                ),
                (
                    "cov",
                    "coverage and precision",
                    draw_coverage,
                    {name: answer for name, answer in answers.items() if answer[0]},
                    "Precision if only the most confident predictions count and the others are "
                    f"left to a person.{'' if group.unit == 'spans' else _THRESHOLD}",
                ),
                (
                    "cal",
                    "calibration",
                    draw_calibration,
                    {name: result for name, result in results.items() if result[0]},
                    "Below the dashed line, predictions are overconfident. Calibration error in "
                    "parentheses; bins with fewer than five predictions are left out.",
                ),
            )
            if kept
        ]
        if plots:
            section.blocks.append(Grid(plots))
        elif named:
            what = f"{group.title}: curves, because predictions have no probability"
            section.missing.append(Missing(what, EVALUATE.format(metrics.folder.name)))
    return section


def training_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Scores and losses during training."""
    # A pipeline that was evaluated on several sets was trained once.
    logs = {r.log.name: r.log for r in metrics.recipes if r.log is not None}
    plots = []
    for name, curve, across, up, log in (
        ("time", partial(_over, across="seconds"), "seconds of training", "score on dev", False),
        ("step", partial(_over, across="step"), "step", "score on dev", False),
        ("loss", _losses, "step", "mean loss per step", True),
    ):
        found = {recipe: curve(one) for recipe, one in logs.items()}
        lines = {recipe: line for recipe, line in found.items() if line[0]}
        if lines:
            draw = partial(draw_lines, lines, across=across, up=up, log=log)
            plots.append(Plot(f"train-{name}", f"{up.capitalize()} against {across}", draw))
    return Section("training", "Training", [Grid(plots)] if plots else [])


def _precision_recall(predictions: Predictions, kind: str) -> Optional[Tuple[Line, float]]:
    if kind == "cats":
        pairs = [
            (score, gold > 0)
            for _, row in cats_rows(predictions)
            for gold, score in zip(row.gold, row.scores, strict=True)
            if gold is not None
        ]
        scores, right = [score for score, _ in pairs], [found for _, found in pairs]
        n_right = sum(right)
    else:
        scores, right = confidence_ents(predictions)
        n_right = sum(len(row.gold) for _, row in ents_rows(predictions))
    return precision_recall(scores, right, n_right) if scores and n_right else None


def _over(log: TrainingLog, across: str) -> Line:
    pairs = [(number(row.get(across)), number(row.get("score"))) for row in log.evaluations]
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def _losses(log: TrainingLog) -> Line:
    """The mean loss per step. Rows with a "kind" have it: JsonlLogger writes means. Rows without
    are from spaCy's own logger and have the sum since the previous evaluation, which is divided by
    the steps between the two; the evaluation of step 0 comes after one step."""
    steps, means = [], []
    last = -1.0
    for row in log.evaluations:
        step, loss = number(row.get("step")), _loss(row)
        if step is not None and loss is not None and step > last:
            steps.append(step)
            means.append(loss if row.get("kind") == "evaluation" else loss / (step - last))
            last = step
    return steps, means


def _loss(row: Dict[str, Any]) -> Optional[float]:
    losses = row.get("losses")
    values = [number(v) for v in losses.values()] if isinstance(losses, dict) else []
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers else None
