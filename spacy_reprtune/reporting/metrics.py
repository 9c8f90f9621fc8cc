"""Read the files in `metrics/` and beside it, recognized by their content.

Nothing here fails because a file is missing, truncated or of another kind: the file is noted as a
problem, and the others are read.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ..training.sweep import Point
from .headline import with_defined_areas
from .predictions import Predictions, predictions_path, read_own_predictions
from .values import LARGEST, number, objects, part

LOG_SUFFIX = ".training.jsonl"


@dataclass
class TrainingLog:
    """The course of a training.

    name (str): Name of its file, without the suffix.
    evaluations (List[Dict[str, Any]]): Evaluations in order. Each has a "step" and may have
        "epoch", "seconds", "losses", "scores", "score" and "words".
    seconds (Optional[float]): Time from the start to the end, or to the last line if the log has no
        end.
    initialize_seconds (float): Time of the initialization before the start, 0 if not logged.
    finished (bool): Whether the training ended without an error.
    peak_memory_mb (Optional[float]): Peak memory of the process.
    peak_gpu_memory_mb (Optional[float]): Peak memory on the GPU.
    """

    name: str
    evaluations: List[Dict[str, Any]] = field(default_factory=list)
    seconds: Optional[float] = None
    initialize_seconds: float = 0.0
    finished: bool = False
    peak_memory_mb: Optional[float] = None
    peak_gpu_memory_mb: Optional[float] = None

    @property
    def total_seconds(self) -> Optional[float]:
        """RETURNS (Optional[float]): The time with initialization, where a frozen encoder does
        nearly all of its work."""
        return None if self.seconds is None else self.initialize_seconds + self.seconds


@dataclass
class Recipe:
    """An evaluated pipeline.

    name (str): Name of its file, without the suffix.
    scores (Dict[str, Any]): Scores written by `spacy evaluate --output`.
    run (Dict[str, Any]): Time, memory and device that `reprtune evaluate` adds to the scores.
    predictions (Optional[Predictions]): Its predictions, if they were kept.
    log (Optional[TrainingLog]): Its training, if it was logged.
    missing (List[str]): Names of optional files that are missing.
    """

    name: str
    scores: Dict[str, Any]
    run: Dict[str, Any] = field(default_factory=dict)
    predictions: Optional[Predictions] = None
    log: Optional[TrainingLog] = None
    missing: List[str] = field(default_factory=list)

    def score(self, key: str) -> Optional[float]:
        """RETURNS (Optional[float]): A score, or None if it is missing or not a number."""
        return number(self.scores.get(key))


@dataclass
class Pretraining:
    """A run of `reprtune mlm`.

    name (str): Name of its directory.
    report (Dict[str, Any]): Content of `report.json`.
    log (List[Dict[str, Any]]): Rows of `log.jsonl`.
    """

    name: str
    report: Dict[str, Any]
    log: List[Dict[str, Any]]


@dataclass
class Metrics:
    """Everything that was found. Names are file names without the suffix.

    folder (Path): The directory of metrics.
    corpus (Path): The directory of corpora.
    training (Path): The directory of trainings.
    recipes (List[Recipe]): Evaluated pipelines.
    sweeps (Dict[str, List[Point]]): Points of freezing curves by name.
    learning_curves (Dict[str, List[Dict[str, Any]]]): Points of few-shot curves by name.
    checks (Dict[str, Dict[str, Any]]): Reports of `reprtune check` by name.
    packages (Dict[str, Dict[str, Any]]): Reports of `reprtune smoke` by name.
    explained (Dict[str, Dict[str, Any]]): Files of `reprtune explain --errors` by name.
    others (Dict[str, Dict[str, Any]]): Other JSON files by name, for sections of other packages.
    pretrainings (List[Pretraining]): Runs of pretraining.
    manifests (Dict[str, Dict[str, Any]]): Manifests of corpora by path.
    read (List[Path]): The files that were read.
    problems (List[str]): Files that could not be read, each with the reason.
    """

    folder: Path
    corpus: Path
    training: Path
    recipes: List[Recipe] = field(default_factory=list)
    sweeps: Dict[str, List[Point]] = field(default_factory=dict)
    learning_curves: Dict[str, List[Dict[str, Any]]] = field(default_factory=dict)
    checks: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    packages: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    explained: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    others: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    pretrainings: List[Pretraining] = field(default_factory=list)
    manifests: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    read: List[Path] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)


def find_metrics(folder: Path, *, corpus: Path, training: Path) -> Metrics:
    """Read everything that a report can show.

    folder (Path): The directory of metrics.
    corpus (Path): The directory of corpora, for their manifests. It need not exist.
    training (Path): The directory of trainings, for the reports of pretraining. It need not exist.
    RETURNS (Metrics): Everything that was found.
    RAISES (ValueError): `folder` holds nothing that a report could show.
    """
    metrics = Metrics(folder, corpus, training)
    for path in sorted(folder.glob("*.json")):
        content = _read_json(path, metrics)
        if content is not None:
            _sort_in(path, content, metrics)
    for path in sorted([*corpus.glob("manifest.json"), *corpus.glob("*/manifest.json")]):
        content = _read_json(path, metrics)
        if content is not None:
            metrics.manifests[path.parent.relative_to(corpus.parent).as_posix()] = content
    for path in sorted(training.glob("*/report.json")):
        content = _read_json(path, metrics)
        if content is not None and {"before", "after"} <= content.keys():
            log = path.with_name("log.jsonl")
            rows = [row for row in _read_lines(log) if number(row.get("step")) is not None]
            metrics.read += [log] if rows else []
            metrics.pretrainings.append(Pretraining(path.parent.name, content, rows))
    if not any((metrics.recipes, metrics.sweeps, metrics.learning_curves, metrics.checks)):
        problems = "".join(f"\n{problem}" for problem in metrics.problems)
        raise ValueError(
            f"{folder} has no scores, no sweep, no learning curve and no check. Begin with: python "
            f"-m spacy reprtune evaluate MODEL TEST.spacy --output {folder}/RECIPE.json{problems}"
        )
    return metrics


def read_training_log(path: Path) -> TrainingLog:
    """Read the log of a training.

    path (Path): One JSON object per line, whose "kind" is "start", "evaluation" or "end". Lines
        that are cut off or have no step are left out. If several trainings are in one file, the
        last one counts.
    RETURNS (TrainingLog): The log.
    """
    name = path.name.removesuffix(LOG_SUFFIX)
    log = TrainingLog(name)
    for row in _read_lines(path):
        kind = row.get("kind", "evaluation" if "step" in row else None)
        if kind == "start":
            log = TrainingLog(name)
            log.initialize_seconds = max(0.0, number(row.get("initialize_seconds")) or 0.0)
        elif kind == "evaluation" and number(row.get("step")) is not None:
            log.evaluations.append(row)
        elif kind == "end":
            log.finished = not row.get("error")
        for key in ("seconds", "peak_memory_mb", "peak_gpu_memory_mb"):
            value = number(row.get(key))
            if value is not None:
                setattr(log, key, max(value, getattr(log, key) or 0.0))
    return log


def _sort_in(path: Path, content: Dict[str, Any], metrics: Metrics) -> None:
    keys = content.keys()
    if "speed" in content:
        metrics.recipes.append(_recipe(path, content, metrics))
    elif "points" in keys and keys & {"runs", "results"}:
        sweep = ("sweep", _sweep, metrics.sweeps)
        curve = ("learning curve", _curve, metrics.learning_curves)
        kind, read, curves = sweep if "runs" in keys else curve
        points = read(content)
        if points:
            curves[path.stem] = points
        else:
            _unreadable(path, f"it has no points of a {kind}", metrics)
    elif {"splits", "findings"} <= keys:
        metrics.checks[path.stem] = content
    elif "largest_difference" in content:
        metrics.packages[path.stem] = content
    elif "explanations" in content:
        metrics.explained[path.stem] = content
    else:
        metrics.others[path.stem] = content
        metrics.read.remove(path)


def _recipe(path: Path, scores: Dict[str, Any], metrics: Metrics) -> Recipe:
    recipe = Recipe(path.stem, with_defined_areas(scores), part(scores, "run"))
    rows = predictions_path(path)
    try:
        recipe.predictions = read_own_predictions(path, scores)
    except ValueError as error:
        metrics.problems.append(str(error))
    if recipe.predictions is not None:
        metrics.read.append(rows)
    elif not rows.is_file():
        recipe.missing.append(rows.name)
    # A pipeline that was evaluated on several test sets was trained once.
    trained = Path(str(recipe.run.get("model", ""))).parent.name[:100]
    for name in (recipe.name, trained):
        log = path.with_name(name + LOG_SUFFIX)
        if name and log.is_file():
            recipe.log = read_training_log(log)
            metrics.read += [] if log in metrics.read else [log]
            break
    else:
        recipe.missing.append(recipe.name + LOG_SUFFIX)
    return recipe


def _sweep(content: Dict[str, Any]) -> List[Point]:
    points = []
    for point in objects(content["points"]):
        values = [number(point.get(key)) for key in ("mean", "std", "seconds", "n_runs")]
        mean, std, seconds, n_runs = (value or 0.0 for value in values)
        whole = None not in values and min(std, seconds) >= 0
        if whole and isinstance(point.get("unfreeze"), str):
            points.append(Point(point["unfreeze"], mean, std, seconds, max(1, int(n_runs))))
    return points


def _curve(content: Dict[str, Any]) -> List[Dict[str, Any]]:
    lowest = {"per_class": 1, "mean": -LARGEST, "std": 0, "n": 1}
    points = [point for point in objects(content["points"]) if isinstance(point.get("recipe"), str)]
    for key, low in lowest.items():
        known = [(point, number(point.get(key))) for point in points]
        points = [point for point, value in known if value is not None and value >= low]
    return points


def _read_json(path: Path, metrics: Metrics) -> Optional[Dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        _unreadable(path, str(error), metrics)
        return None
    if not isinstance(content, dict):
        _unreadable(path, f"it is a {type(content).__name__}, not an object", metrics)
        return None
    metrics.read.append(path)
    return content


def _read_lines(path: Path) -> List[Dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return objects(rows)


def _unreadable(path: Path, reason: str, metrics: Metrics) -> None:
    metrics.problems.append(f"{path} can't be read: {reason}.")
    if path in metrics.read:
        metrics.read.remove(path)
