"""What there is to report: the files in `metrics/` and beside it, known by what is in them.

Nothing here fails because a file is missing, cut off or something else: that is noted, and the
rest is read.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ..training.sweep import Point
from .predictions import Predictions, other_score, predictions_path, read_predictions

LOG_SUFFIX = ".training.jsonl"
# No count, time or size is beyond it; pictures can't be drawn of numbers near the end of floats.
LARGEST = 1e15


@dataclass
class TrainingLog:
    """How a training went.

    name (str): Of its file.
    evaluations (List[Dict[str, Any]]): In order; each has a "step" and maybe "epoch", "seconds",
        "losses", "scores", "score", "words".
    seconds (Optional[float]): From its start to its end, or to the last line if it has no end.
    initialize_seconds (float): What initializing took before that, 0 if the log does not say.
    finished (bool): Whether it has an end, and not because of an error.
    peak_memory_mb (Optional[float]): The most memory that it had.
    peak_gpu_memory_mb (Optional[float]): The same of a GPU.
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
        """RETURNS (Optional[float]): With initializing, where a frozen encoder does its work."""
        return None if self.seconds is None else self.initialize_seconds + self.seconds


@dataclass
class Recipe:
    """An evaluated pipeline.

    name (str): Of the file.
    scores (Dict[str, Any]): What `spacy evaluate --output` wrote.
    run (Dict[str, Any]): What `reprtune evaluate` adds to it.
    predictions (Optional[Predictions]): Its predictions, if they are there.
    log (Optional[TrainingLog]): Its training, if that was logged.
    missing (List[str]): Names of files that there could be.
    """

    name: str
    scores: Dict[str, Any]
    run: Dict[str, Any] = field(default_factory=dict)
    predictions: Optional[Predictions] = None
    log: Optional[TrainingLog] = None
    missing: List[str] = field(default_factory=list)

    def score(self, key: str) -> Optional[float]:
        """RETURNS (Optional[float]): A score, or None if it is missing or no number."""
        return number(self.scores.get(key))


@dataclass
class Pretraining:
    """A run of `reprtune mlm`.

    name (str): Of its directory.
    report (Dict[str, Any]): `report.json`.
    log (List[Dict[str, Any]]): The rows of `log.jsonl`.
    """

    name: str
    report: Dict[str, Any]
    log: List[Dict[str, Any]]


@dataclass
class Metrics:
    """Everything that was found.

    folder (Path): The directory of metrics.
    recipes (List[Recipe]): Evaluated pipelines.
    sweeps (Dict[str, List[Point]]): Freezing curves by the name of their file.
    learning_curves (Dict[str, List[Dict[str, Any]]]): Their points, by the name of their file.
    checks (Dict[str, Dict[str, Any]]): What `reprtune check` found, by the name of its file.
    packages (Dict[str, Dict[str, Any]]): What `reprtune smoke` found, by the name of its file.
    pretrainings (List[Pretraining]): Runs of pretraining.
    manifests (Dict[str, Dict[str, Any]]): Of corpora, by their path.
    read (List[Path]): The files that all of this comes from.
    problems (List[str]): What could not be read, and why.
    """

    folder: Path
    recipes: List[Recipe] = field(default_factory=list)
    sweeps: Dict[str, List[Point]] = field(default_factory=dict)
    learning_curves: Dict[str, List[Dict[str, Any]]] = field(default_factory=dict)
    checks: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    packages: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    pretrainings: List[Pretraining] = field(default_factory=list)
    manifests: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    read: List[Path] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)


def find_metrics(folder: Path, *, corpus: Path, training: Path) -> Metrics:
    """Read all that a report can show.

    folder (Path): The directory of metrics.
    corpus (Path): The directory of corpora, for their manifests. It need not exist.
    training (Path): The directory of trainings, for the reports of pretraining. It need not exist.
    RETURNS (Metrics): What there is.
    RAISES (ValueError): There is nothing in `folder` that a report could show.
    """
    metrics = Metrics(folder)
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
    shown = (metrics.recipes, metrics.sweeps, metrics.learning_curves, metrics.checks)
    if not any(shown):
        problems = "".join(f"\n{problem}" for problem in metrics.problems)
        raise ValueError(
            f"{folder} has no scores, no sweep, no learning curve and no check. Begin with: python "
            f"-m spacy reprtune evaluate MODEL TEST.spacy --output {folder}/RECIPE.json{problems}"
        )
    return metrics


def number(value: Any) -> Optional[float]:
    """RETURNS (Optional[float]): The value if it is a number that can have been measured, else
    None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= LARGEST else None


def read_training_log(path: Path) -> TrainingLog:
    """Read the log of a training.

    path (Path): A JSON object a line; "kind" says whether it is the "start", an "evaluation" or the
        "end". A line that is cut off, or has no step, is left out; of several trainings in one
        file the last one counts.
    RETURNS (TrainingLog): What it says.
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
        seconds = number(row.get("seconds"))
        if seconds is not None:
            log.seconds = max(seconds, log.seconds or 0.0)
        for key in ("peak_memory_mb", "peak_gpu_memory_mb"):
            memory = number(row.get(key))
            if memory is not None:
                setattr(log, key, max(memory, getattr(log, key) or 0.0))
    return log


def _sort_in(path: Path, content: Dict[str, Any], metrics: Metrics) -> None:
    if "speed" in content:
        metrics.recipes.append(_recipe(path, content, metrics))
    elif {"points", "runs"} <= content.keys():
        points = _points(content)
        if points:
            metrics.sweeps[path.stem] = points
        else:
            _unreadable(path, "it has no points of a sweep", metrics)
    elif {"points", "results"} <= content.keys():
        curve = _curve(content)
        if curve:
            metrics.learning_curves[path.stem] = curve
        else:
            _unreadable(path, "it has no points of a learning curve", metrics)
    elif {"splits", "findings"} <= content.keys():
        metrics.checks[path.stem] = content
    elif "largest_difference" in content:
        metrics.packages[path.stem] = content
    else:
        # Somebody else's; neither wrong nor shown.
        metrics.read.remove(path)


def _recipe(path: Path, scores: Dict[str, Any], metrics: Metrics) -> Recipe:
    run = scores.get("run")
    recipe = Recipe(path.stem, scores, run if isinstance(run, dict) else {})
    rows = predictions_path(path)
    if rows.is_file():
        try:
            recipe.predictions = read_predictions(rows)
            metrics.read.append(rows)
        except ValueError as error:
            metrics.problems.append(str(error))
    else:
        recipe.missing.append(rows.name)
    if recipe.predictions is not None and other_score(recipe.predictions, scores) is not None:
        metrics.problems.append(
            f"{rows} is of another evaluation than {path.name}, and left out. Evaluate again."
        )
        recipe.predictions = None
        metrics.read.remove(rows)
    # A pipeline that was evaluated on several sets has one training.
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


def _points(content: Dict[str, Any]) -> List[Point]:
    points = []
    for point in _dicts(content["points"]):
        values = [number(point.get(key)) for key in ("mean", "std", "seconds", "n_runs")]
        mean, std, seconds, n_runs = (value or 0.0 for value in values)
        whole = None not in values and min(std, seconds) >= 0
        if whole and isinstance(point.get("unfreeze"), str):
            points.append(Point(point["unfreeze"], mean, std, seconds, max(1, int(n_runs))))
    return points


def _curve(content: Dict[str, Any]) -> List[Dict[str, Any]]:
    lowest = {"per_class": 1, "mean": -LARGEST, "std": 0, "n": 1}
    return [
        point
        for point in _dicts(content["points"])
        if isinstance(point.get("recipe"), str)
        and all(_at_least(point.get(key), low) for key, low in lowest.items())
    ]


def _at_least(value: Any, low: float) -> bool:
    found = number(value)
    return found is not None and found >= low


def _dicts(values: Any) -> List[Dict[str, Any]]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


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
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _unreadable(path: Path, reason: str, metrics: Metrics) -> None:
    metrics.problems.append(f"{path} can't be read: {reason}.")
    if path in metrics.read:
        metrics.read.remove(path)
