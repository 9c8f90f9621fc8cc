"""Search for settings: successive halving over the steps of a training, scored on dev.

Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
Many candidates train for a ninth of the steps, the best third of them for a third, and the best
third of those for all. Schedules follow the steps, so each candidate is judged at the end of one.
"""

import copy
import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from thinc.api import Config

from ..progress import bar
from .experiments import fingerprint, read_results, train, write_results
from .full_config import full_config
from .sweep import caches_of

logger = logging.getLogger("spacy")

SPACE = "[tune.space]"
# Each rung has a third of the candidates of the one before it, and three times its steps.
FACTOR = 3
RUNGS = 3
Settings = Dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training.

    settings (Dict[str, Any]): What differs from the config, by dotted name. Empty for the config
        itself.
    steps (int): Steps of the training.
    score (float): Score of the best step on dev.
    seconds (float): Time from initializing the pipeline to the end.
    """

    settings: Settings
    steps: int
    score: float
    seconds: float


def read_space(config: Config) -> Dict[str, List[Any]]:
    """Read what to try.

    config (Config): A training config with a section [tune.space]: lists of values by the dotted
        names of settings.
    RETURNS (Dict[str, List[Any]]): The section.
    RAISES (ValueError): The section is missing, or a value in it is not a list.
    """
    space = config.get("tune", {}).get("space", {})
    if not space:
        raise ValueError(
            f"The config has no section {SPACE} with the values to try. For example:\n{SPACE}\n"
            "training.optimizer.learn_rate.initial_rate = [0.00005,0.0001,0.0002]\n"
            'components.textcat.model.encoder.unfreeze = [2,"all"]'
        )
    for name, values in space.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{name} in {SPACE} is {values!r}. Use a list of values to try.")
    return dict(space)


def with_settings(config: Config, settings: Settings) -> Config:
    """Change settings of a config.

    config (Config): A full training config. It is not changed.
    settings (Dict[str, Any]): Values by dotted name.
    RETURNS (Config): A config with these values, and without what is to be tried.
    RAISES (ValueError): The config has no such setting.
    """
    changed = copy.deepcopy(config)
    changed.pop("tune", None)
    for name, value in settings.items():
        *sections, key = name.split(".")
        part: Any = changed
        for section in sections:
            part = part.get(section) if isinstance(part, dict) else None
        if not isinstance(part, dict) or key not in part:
            raise ValueError(f"{name} in {SPACE} is not a setting of the config.")
        part[key] = value
    return changed


def candidates(space: Dict[str, List[Any]], seed: int) -> List[Settings]:
    """RETURNS (List[Dict[str, Any]]): All combinations of values in random order."""
    found = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    random.Random(seed).shuffle(found)
    return found


def tune(
    config: Config,
    minutes: float,
    output: Path,
    *,
    replace: bool = False,
    use_gpu: int = -1,
    progress: bool = False,
) -> List[Trial]:
    """Search, and save each result as soon as it is known.

    The config itself is trained first and takes part to the end, so that the gain is known. Its
    shortest training tells how many candidates fit into the time.

    config (Config): A training config with a section [tune.space], not interpolated.
    minutes (float): Time for the search. It is exceeded by one training at most.
    output (Path): The JSON file. Trainings that it has already, for the same config and data, are
        not repeated.
    replace (bool): Whether results of another config or other data may be lost.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Trial]): The trainings, the best one first.
    RAISES (ValueError): There is nothing to try, or the file is of another search.
    """
    space = read_space(config)
    full = full_config(config)
    training = full.interpolate()["training"]
    steps = training["max_steps"]
    if not steps:
        raise ValueError("A search needs [training] max_steps, which it divides into rungs.")
    drawn = candidates(space, training["seed"] or 0)
    for settings in drawn:
        with_settings(full, settings)
    own = fingerprint(full)
    trials = read_results(output, "trials", Trial, own, what="search", replace=replace)
    kept: List[Any] = []
    spent = sum(trial.seconds for trial in trials)

    def run(settings: Settings, n_steps: int) -> Optional[Trial]:
        nonlocal spent
        for trial in trials:
            if (trial.settings, trial.steps) == (settings, n_steps):
                return trial
        if trials and spent >= 60 * minutes:
            return None
        trials.append(_train(full, settings, n_steps, use_gpu, kept))
        spent += trials[-1].seconds
        write_results(output, {"fingerprint": own, "trials": list(map(asdict, trials))})
        return trials[-1]

    rungs = [max(1, steps // FACTOR**k) for k in reversed(range(RUNGS))]
    first = run({}, rungs[0])
    assert first is not None
    # All rungs cost about the same; the config itself trains on each of them besides.
    affordable = 60 * minutes / max(first.seconds, 1e-6) - sum(r / rungs[0] for r in rungs)
    alive = drawn[: max(1, math.floor(affordable / RUNGS))]
    for n_steps in rungs:
        scored: List[Trial] = []
        run({}, n_steps)
        with bar(alive, unit="trainings", what=f"{n_steps} steps", shown=progress) as shown:
            for settings in shown:
                trial = run(settings, n_steps)
                if trial is not None:
                    scored.append(trial)
        scored.sort(key=lambda trial: -trial.score)
        alive = [trial.settings for trial in scored[: max(1, len(scored) // FACTOR)]]
    return ranked(trials)


def ranked(trials: Sequence[Trial]) -> List[Trial]:
    """RETURNS (List[Trial]): One training per candidate, its longest: those with the most steps
    first, and among them the best. Of equal scores the config itself comes first."""
    longest: List[Trial] = []
    for trial in sorted(trials, key=lambda trial: -trial.steps):
        if all(trial.settings != other.settings for other in longest):
            longest.append(trial)
    return sorted(longest, key=lambda trial: (-trial.steps, -trial.score, len(trial.settings)))


def _train(
    config: Config, settings: Settings, n_steps: int, use_gpu: int, kept: List[Any]
) -> Trial:
    config = with_settings(config, settings)
    training = config["training"]
    training["max_steps"] = n_steps
    training["patience"] = 0
    # spaCy evaluates after the first step as well; a third of the way, two thirds, and the end.
    training["eval_frequency"] = max(1, n_steps // FACTOR)
    seed = config.interpolate()["training"]["seed"] or 0
    start = time.perf_counter()
    _, rows = train(config, seed, use_gpu=use_gpu, on_start=lambda nlp: kept.extend(caches_of(nlp)))
    scores = [row["score"] for row in rows if row["score"] is not None]
    if not scores:
        raise ValueError("A training had no score on dev: see [training] score_weights.")
    trial = Trial(settings, n_steps, max(scores), round(time.perf_counter() - start, 2))
    logger.info("%s, %d steps: %.4f", settings or "the config itself", n_steps, trial.score)
    return trial
