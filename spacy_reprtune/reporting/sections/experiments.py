"""What was tried besides: how many blocks to train, how many texts to annotate, pretraining."""

from typing import Any, Dict, List

from ...training.sweep import smallest_good_point
from ..blocks import Block, Missing, Plot, Section, Table, Text, score_text, seconds_text
from ..curve import draw_sweep
from ..files import Metrics, Pretraining, number
from ..learning_curve import NAMES, draw_learning_curve
from ..svg import SIZE, to_svg


def freezing_section(metrics: Metrics) -> Section:
    """RETURNS (Section): Score and time against the blocks that train."""
    blocks: List[Block] = []
    for name, points in metrics.sweeps.items():
        smallest, best = smallest_good_point(points)
        title = "Score and time against trainable blocks"
        svg = to_svg(draw_sweep(points, smallest, size=SIZE), f"sweep-{len(blocks)}", label=title)
        caption = f"{name}.json. The ring: the fewest blocks within one standard error of the best."
        rows = [
            [p.unfreeze, *map(score_text, (p.mean, p.std)), seconds_text(p.seconds), str(p.n_runs)]
            for p in points
        ]
        sentence = f"Best: {best.unfreeze} ({best.mean:.3f}, {seconds_text(best.seconds)})."
        if smallest is not best:
            sentence += (
                f" Enough: {smallest.unfreeze} ({smallest.mean:.3f}, "
                f"{seconds_text(smallest.seconds)})."
            )
        header = ["trainable blocks", "score on dev", "std", "training", "runs"]
        blocks += [Text(sentence), Plot(svg, title, caption), Table(header, rows)]
        if all(point.n_runs == 1 for point in points):
            blocks.append(Text("One run a point has no spread: small differences say nothing."))
    if not blocks:
        blocks.append(
            Missing(
                f"The freezing curve ({metrics.folder.name}/sweep.json)",
                "python -m spacy reprtune sweep CONFIG --output metrics/sweep.json",
            )
        )
    return Section("freezing", "How many blocks to train", blocks)


def few_shot_section(metrics: Metrics) -> Section:
    """RETURNS (Section): Score against annotated texts."""
    blocks: List[Block] = []
    for name, points in metrics.learning_curves.items():
        title = "Score against annotated texts a label"
        known = [point for point in points if point["recipe"] in NAMES]
        if known:
            figure = draw_learning_curve(known, size=SIZE)
            svg = to_svg(figure, f"few-{len(blocks)}", label=title)
            blocks.append(Plot(svg, title, f"{name}.json"))
        recipes = list(dict.fromkeys(point["recipe"] for point in points))
        sizes = sorted({point["per_class"] for point in points})
        cells = {(p["recipe"], p["per_class"]): f"{p['mean']:.3f} ± {p['std']:.3f}" for p in points}
        rows = [[f"{size:,}", *(cells.get((r, size), "–") for r in recipes)] for size in sizes]
        header = ["texts a label", *(NAMES.get(recipe, recipe) for recipe in recipes)]
        blocks.append(Table(header, rows, title="Score on dev, ± standard deviation over seeds"))
    if not blocks:
        blocks.append(
            Missing(
                f"The few-shot curve ({metrics.folder.name}/learning-curve.json)",
                "python -m spacy reprtune learning-curve SETFIT_CONFIG JOINT_CONFIG --output "
                "metrics/learning-curve.json",
            )
        )
    return Section("few-shot", "How many texts to annotate", blocks)


def pretraining_section(metrics: Metrics) -> Section:
    """RETURNS (Section): Losses on held-out text before and after pretraining."""
    blocks: List[Block] = []
    for run in metrics.pretrainings:
        blocks += _pretraining(run)
    if not blocks:
        blocks.append(
            Missing(
                "Before and after pretraining (training/NAME/report.json)",
                "python -m spacy reprtune mlm CONFIG --output training/mlm",
            )
        )
    return Section("pretraining", "Pretraining on your text", blocks)


def _pretraining(run: Pretraining) -> List[Block]:
    from ...pretraining.report import draw_log, perplexity

    blocks: List[Block] = []
    rows = []
    for key, label in (("heldout", "held-out text of the domain"), ("general", "general text")):
        before, after = (number(_part(run.report, when).get(key)) for when in ("before", "after"))
        if before is not None and after is not None:
            values = (before, after, perplexity(before), perplexity(after))
            rows.append([label, *(f"{value:.4g}" for value in values)])
    header = ["", "loss before", "after", "perplexity before", "after"]
    if rows:
        steps = number(run.report.get("steps"))
        title = run.name if steps is None else f"{run.name}, {steps:,.0f} steps"
        blocks.append(Table(header, rows, title=title))
    else:
        blocks.append(Missing(f"Losses before and after (training/{run.name}/report.json)"))
    numbers = [{k: v for k, v in row.items() if number(v) is not None} for row in run.log]
    if any("loss" in row or "heldout" in row for row in numbers):
        svg = to_svg(
            draw_log(numbers, size=SIZE), f"mlm-{_plain(run.name)}", label="Losses of pretraining"
        )
        blocks.append(Plot(svg, "Loss while pretraining", f"training/{run.name}/log.jsonl"))
    else:
        blocks.append(Missing(f"The curve of pretraining (training/{run.name}/log.jsonl)"))
    filled = run.report.get("fill_mask")
    filled = [row for row in filled if isinstance(row, dict)] if isinstance(filled, list) else []
    if filled:
        cells = [
            [str(row.get("sentence", "")), *(_words(row.get(key)) for key in ("before", "after"))]
            for row in filled
        ]
        blocks.append(Table(["sentence", "before", "after"], cells, words=(0, 1, 2)))
    return blocks


def _part(report: Dict[str, Any], key: str) -> Dict[str, Any]:
    value = report.get(key)
    return value if isinstance(value, dict) else {}


def _words(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else "–"


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
