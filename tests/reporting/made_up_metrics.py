"""A directory of metrics as the commands of this project write it, from made-up predictions."""

import random
from pathlib import Path
from typing import Dict, List

import srsly
from markupsafe import Markup

from spacy_reprtune.reporting.blocks import Plot
from spacy_reprtune.reporting.counts import count_cats, count_ents
from spacy_reprtune.reporting.predictions import (
    CatsRow,
    EntsRow,
    Predictions,
    Row,
    predictions_path,
    write_predictions,
)
from spacy_reprtune.reporting.svg import to_svg

LABELS = ["BAD", "FAIR", "GOOD"]
HOSTILE = "<script>alert('x')</script> & <img src=\"http://example.org/x.png\"> {braces} $x$"


def cats_predictions(accuracy: float, n_docs: int = 120, seed: int = 0) -> Predictions:
    """Predictions of exclusive labels, right as often as asked for."""
    rng = random.Random(seed)
    rows = []
    for i in range(n_docs):
        right = i % len(LABELS)
        found = right if rng.random() < accuracy else rng.randrange(len(LABELS))
        scores = [rng.uniform(0.0, 0.2) for _ in LABELS]
        scores[found] = 1.0 - sum(scores) + scores[found]
        gold = [float(j == right) for j in range(len(LABELS))]
        rows.append(Row(f"Review number {i} is what it is.", CatsRow(gold, scores)))
    return with_scores(Predictions(LABELS, True, 0.0, {}, rows))


def ents_predictions(n_docs: int = 40, seed: int = 0) -> Predictions:
    """Predictions of entities with every kind of error."""
    rng = random.Random(seed)
    text = "Anna met Bert Brook in Ulm, and nobody else."
    gold = [(0, 4, "NAME"), (9, 19, "NAME"), (23, 26, "TOWN")]
    found = [
        gold,
        [(0, 4, "TOWN"), *gold[1:]],
        [gold[0], (9, 13, "NAME"), gold[2]],
        [*gold, (32, 38, "NAME")],
        gold[:2],
    ]
    rows = []
    for _ in range(n_docs):
        entities = rng.choice(found)
        scores = [rng.uniform(0.5, 1.0) for _ in entities]
        rows.append(Row(text, None, EntsRow(list(gold), list(entities), scores)))
    return with_scores(Predictions(rows=rows))


def with_scores(predictions: Predictions) -> Predictions:
    """Predictions that know their own scores, which are those that a file of scores gets."""
    predictions.scores = {
        key: value for key, value in plain_scores(predictions).items() if isinstance(value, float)
    }
    return predictions


def plain_scores(predictions: Predictions) -> Dict:
    """What `spacy evaluate` would say of predictions: the keys that a report reads."""

    def prf(true, false, missed):
        p = true / (true + false) if true + false else 0.0
        r = true / (true + missed) if true + missed else 0.0
        return {"p": p, "r": r, "f": 2 * p * r / (p + r) if p + r else 0.0}

    scores: Dict = {}
    cats, ents = count_cats(predictions), count_ents(predictions)
    for counts, kind in ((cats, "cats_f_per_type"), (ents, "ents_per_type")):
        if counts is not None:
            parts = zip(
                *(part.sum(0).tolist() for part in (counts.true, counts.false, counts.missed)),
                strict=True,
            )
            scores[kind] = dict(zip(counts.labels, (prf(*part) for part in parts), strict=True))
    if cats is not None:
        macro = sum(one["f"] for one in scores["cats_f_per_type"].values()) / len(cats.labels)
        micro = prf(*(int(part.sum()) for part in (cats.true, cats.false, cats.missed)))["f"]
        scores.update(cats_score=macro, cats_macro_f=macro, cats_micro_f=micro)
        scores.update(cats_score_desc="macro F", cats_ece=0.0432)
    if ents is not None:
        total = prf(*(int(part.sum()) for part in (ents.true, ents.false, ents.missed)))
        scores.update({f"ents_{key}": value for key, value in total.items()})
    return scores


def write_recipe(
    folder: Path, name: str, predictions: Predictions, seconds: float, corpus: str = ""
) -> None:
    """Write what evaluating and training a recipe leaves behind."""
    path = folder / f"{name}.json"
    with_scores(predictions)
    run = {"model": f"training/{name}/model-best", "docs": len(predictions.rows), "words": 999}
    run.update({"corpus": corpus} if corpus else {})
    run.update(docs_per_second=123.4, peak_memory_mb=1234.5, model_mb=91.25)
    srsly.write_json(path, {**plain_scores(predictions), "speed": 5678.9, "run": run})
    write_predictions(predictions, predictions_path(path))
    rows: List[Dict] = [{"kind": "start"}]
    for i in range(4):
        row = {"kind": "evaluation", "step": 10 * i, "epoch": i, "seconds": i * seconds / 4}
        row.update(losses={"textcat": 1.0 / (i + 1)}, scores={}, score=0.5 + i / 10, words=100 * i)
        rows.append(row)
    rows.append({"kind": "end", "seconds": seconds, "peak_memory_mb": 2345.6})
    srsly.write_jsonl(folder / f"{name}.training.jsonl", rows)


_DRAWN: Dict[str, Markup] = {}


def drawn_once(plot: Plot) -> Markup:
    """Takes the place of `page._svg`: a figure is drawn once for the same name and arguments.

    Drawing takes nearly all the time of a page, and most pages of these tests share most figures.
    """
    key = repr((plot.name, plot.title, plot.draw))
    if key not in _DRAWN:
        _DRAWN[key] = to_svg(plot.draw(), plot.name, label=plot.title)
    return _DRAWN[key]


def write_project(folder: Path) -> Path:
    """Write a project after a whole workflow: metrics/, corpus/, training/."""
    metrics = folder / "metrics"
    mlm = folder / "training" / "mlm"
    for path in (metrics, mlm, folder / "corpus"):
        path.mkdir(parents=True)
    write_recipe(metrics, "joint", cats_predictions(0.9), 95.0)
    write_recipe(metrics, "frozen", cats_predictions(0.6, seed=1), 12.0)
    write_recipe(metrics, "ner", ents_predictions(), 60.0)
    points = [
        {"unfreeze": u, "mean": m, "std": 0.01, "seconds": s, "n_runs": 3, "standard_error": 0.006}
        for u, m, s in (("none", 0.71, 11.0), ("2", 0.823, 30.0), ("all", 0.826, 88.0))
    ]
    srsly.write_json(metrics / "sweep.json", {"fingerprint": "x", "runs": [], "points": points})
    few = [
        {"recipe": recipe, "per_class": n, "mean": start + n / 20, "std": 0.02, "n": 3}
        for recipe, start in (("probe", 0.35), ("setfit", 0.4), ("joint", 0.2))
        for n in (2, 4, 8)
    ]
    curve = {"fingerprint": "x", "results": [], "points": few}
    srsly.write_json(metrics / "learning-curve.json", curve)
    finding = {"level": "warning", "code": "copies", "message": "3 texts twice.", "advice": "Look."}
    sizes = {"texts": 120, "tokens": 999, "entities": 0}
    check = {"corpus": "corpus/topics", "splits": {"train": sizes}, "findings": [finding]}
    check["labels"] = {label: {"train": 40, "weight": 1.25} for label in LABELS}
    srsly.write_json(metrics / "check.json", check)
    smoke = {"pipeline": "textcat_x", "version": "0.1.0", "texts": 64, "largest_difference": 1e-6}
    srsly.write_json(metrics / "smoke.json", smoke)
    manifest = {"about": "Written for a test.", "packages": {"numpy": "2.0"}}
    manifest["topics"] = {split: dict.fromkeys(LABELS, 40) for split in ("train", "dev", "test")}
    srsly.write_json(folder / "corpus" / "manifest.json", manifest)
    losses = {"before": {"heldout": 3.1416, "general": 2.5}, "after": {"heldout": 2.7183}}
    losses["after"]["general"] = 2.5001
    fill = [{"sentence": "A [MASK].", "before": ["film"], "after": ["array"]}]
    judged = {"docs": 90, "score": "accuracy", "before": 0.7, "after": 0.72, "kept": 0.72}
    judged.update(kept_step=20, gain=0.02, interval=[0.0123, 0.03])
    report = {**losses, "steps": 20, "fill_mask": fill, "judge": judged}
    srsly.write_json(mlm / "report.json", report)
    log = [{"step": i, "loss": 3.0 - i / 20, "learn_rate": 1e-4} for i in range(1, 20)]
    srsly.write_jsonl(mlm / "log.jsonl", [*log, {"step": 20, "heldout": 2.7183}])
    return folder
