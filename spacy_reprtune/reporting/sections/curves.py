"""Curves of predictions (precision-recall, calibration) and of trainings."""

from typing import Any, Callable, Dict, List, Optional, Tuple

from ..blocks import Block, Grid, Missing, Plot, Section
from ..counts import (
    cats_rows,
    confidence_cats,
    confidence_ents,
    ents_rows,
)
from ..files import Metrics, TrainingLog, number
from ..groups import Group
from ..plots import Line, draw_calibration, draw_lines, draw_precision_recall, precision_recall
from ..predictions import Predictions
from ..svg import to_svg


def predictions_section(groups: List[Group]) -> Section:
    """RETURNS (Section): How sure predictions are, and how right."""
    blocks: List[Block] = []
    for group in groups:
        named = {
            entry.name: entry.recipe.predictions
            for entry in group.with_predictions
            if entry.recipe.predictions is not None
        }
        curves = {name: _precision_recall(p, group.kind) for name, p in named.items()}
        lines = {name: curve for name, curve in curves.items() if curve is not None}
        confidence = confidence_cats if group.kind == "cats" else confidence_ents
        results = {name: confidence(p) for name, p in named.items()}
        results = {name: result for name, result in results.items() if result[0]}
        plots: List[Plot] = []
        if lines:
            over = "All labels together" if group.kind == "cats" else "All types together"
            title = f"{group.title}: precision and recall"
            plots.append(
                Plot(
                    to_svg(draw_precision_recall(lines), f"pr-{group.id}", label=title),
                    title,
                    f"{over}, from the surest prediction on; in brackets the average precision.",
                )
            )
        if results:
            title = f"{group.title}: calibration"
            plots.append(
                Plot(
                    to_svg(draw_calibration(results), f"cal-{group.id}", label=title),
                    title,
                    "Below the dashed line predictions are too sure. In brackets the calibration "
                    "error; bins with fewer than five predictions are left out.",
                )
            )
        if plots:
            blocks.append(Grid(plots))
        elif named:
            blocks.append(
                Missing(f"{group.title}: curves, because predictions have no probability")
            )
        else:
            blocks.append(
                Missing(
                    f"{group.title}: precision, recall and calibration ({group.prediction_files})"
                )
            )
    if not groups:
        blocks.append(
            Missing("Precision, recall and calibration (metrics/RECIPE.predictions.jsonl.gz)")
        )
    return Section("curves", "How sure, and how right", blocks)


def training_section(metrics: Metrics) -> Section:
    """RETURNS (Section): Scores and losses while training."""
    # A pipeline that was evaluated on several sets was trained once.
    logs = {r.log.name: r.log for r in metrics.recipes if r.log is not None}
    scores = {name: _over(log, "seconds", _score) for name, log in logs.items()}
    by_step = {name: _over(log, "step", _score) for name, log in logs.items()}
    losses = {name: _losses(log) for name, log in logs.items()}
    plots = []
    for name, curves, across, up, log in (
        ("time", scores, "seconds since training began", "score on dev", False),
        ("step", by_step, "step", "score on dev", False),
        ("loss", losses, "step", "mean loss of a step", True),
    ):
        lines = {recipe: line for recipe, line in curves.items() if line[0]}
        if lines:
            title = f"{up[0].upper()}{up[1:]} against {across}"
            figure = draw_lines(lines, across=across, up=up, log=log)
            plots.append(Plot(to_svg(figure, f"train-{name}", label=title), title))
    blocks: List[Block] = [Grid(plots)] if plots else []
    if not plots:
        blocks.append(
            Missing(
                "Curves of training (metrics/RECIPE.training.jsonl)",
                "[training.logger] with spacy_reprtune.JsonlLogger.v1 and "
                'path = "metrics/RECIPE.training.jsonl"',
            )
        )
    return Section("training", "While training", blocks)


def _precision_recall(predictions: Predictions, kind: str) -> Optional[Tuple[Line, float]]:
    scores: List[float] = []
    right: List[bool] = []
    if kind == "cats":
        for _, row in cats_rows(predictions):
            for gold, score in zip(row.gold, row.scores, strict=True):
                if gold is not None:
                    scores.append(score)
                    right.append(gold > 0)
        n_right = sum(right)
    else:
        scores, right = confidence_ents(predictions)
        n_right = sum(len(row.gold) for _, row in ents_rows(predictions))
    return precision_recall(scores, right, n_right) if scores and n_right else None


def _over(log: TrainingLog, across: str, up: Callable[[Dict[str, Any]], Optional[float]]) -> Line:
    pairs = [(number(row.get(across)), up(row)) for row in log.evaluations]
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def _score(row: Dict[str, Any]) -> Optional[float]:
    return number(row.get("score"))


def _losses(log: TrainingLog) -> Line:
    """The mean loss of a step. Rows with a "kind" have it already: JsonlLogger writes means. Rows
    without are those of spaCy's own logger, with the sum since the evaluation before, which is
    divided by the steps between the two; the evaluation of step 0 is after one step."""
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
