"""Search for settings: successive halving over the steps of a training, scored on dev.

Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
Many candidates train for a ninth of their steps, the best third of them for a third, and the best
third of those for all. Schedules and their warm-up shrink with the steps, so each candidate is
judged at the end of a whole schedule.
"""

import copy
import logging
import math
import random
import statistics
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
STEPS = "training.max_steps"
Settings = Dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training.

    settings (Dict[str, Any]): Settings that differ from the config, by dotted name. Empty for the
        config itself.
    rung (int): Rung of the search, from 0. The last one trains for all steps.
    steps (int): Steps of the training.
    score (float): Score of the last step on dev.
    seconds (float): Time from initializing the pipeline to the end.
    """

    settings: Settings
    rung: int
    steps: int
    score: float
    seconds: float


def read_space(config: Config) -> Dict[str, List[Any]]:
    """Read the values to try.

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
    RETURNS (Config): A config with these values, and without the section [tune].
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


def candidates(space: Dict[str, List[Any]], config: Config, seed: int) -> List[Settings]:
    """Say what to try, and in which order.

    space (Dict[str, List[Any]]): Lists of values by the dotted names of settings.
    config (Config): A full training config, interpolated, which has these settings.
    seed (int): Seed of the order.
    RETURNS (List[Dict[str, Any]]): All combinations of values but the config's own. Those that
        change the fewest settings come first, because the time rarely suffices for all and the
        config is a good place to start from; the order is random otherwise.
    """
    changes = []
    for values in product(*space.values()):
        settings = dict(zip(space, values, strict=True))
        changes.append((sum(_setting(config, k) != v for k, v in settings.items()), settings))
    random.Random(seed).shuffle(changes)
    changes.sort(key=lambda change: change[0])
    return [settings for n_changed, settings in changes if n_changed]


def _setting(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


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

    The config itself is trained first, for the steps of each rung, so that the gain is known. The
    seconds that this takes tell how many candidates fit into the time.

    config (Config): A training config with a section [tune.space], not interpolated.
    minutes (float): Time for the search, which may be exceeded by at most one training.
    output (Path): The JSON file. Trainings that it has already, for the same config and data, are
        not repeated.
    replace (bool): Whether results of another config or other data may be lost.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Trial]): The trainings, the best one first.
    RAISES (ValueError): There is nothing to try, or the file belongs to another search.
    """
    space = read_space(config)
    full = full_config(config)
    values = full.interpolate()
    steps = values["training"]["max_steps"]
    if not all([steps, *space.get(STEPS, [])]):
        raise ValueError("A search needs [training] max_steps, which it divides into rungs.")
    # Finds settings that the config does not have.
    with_settings(full, {name: tried[0] for name, tried in space.items()})
    drawn = candidates(space, values, values["training"]["seed"] or 0)
    own = fingerprint(full, output=output)
    trials = read_results(output, "trials", Trial, own, what="search", replace=replace)
    kept: List[Any] = []
    spent = sum(trial.seconds for trial in trials)

    def run(settings: Settings, rung: int) -> Optional[Trial]:
        nonlocal spent
        for trial in trials:
            if (trial.settings, trial.rung) == (settings, rung):
                return trial
        if trials and spent >= 60 * minutes:
            return None
        trials.append(_scored(full, settings, rung, use_gpu, kept))
        spent += trials[-1].seconds
        write_results(output, {"fingerprint": own, "trials": list(map(asdict, trials))})
        return trials[-1]

    costs = [trial.seconds for rung in range(RUNGS) if (trial := run({}, rung)) is not None]
    # A candidate costs this much if a third of all continue from each rung to the next.
    cost = sum(seconds / FACTOR**rung for rung, seconds in enumerate(costs))
    cost *= statistics.fmean(space.get(STEPS, [steps])) / steps
    affordable = (60 * minutes - sum(costs)) / max(cost, 1e-6)
    alive = drawn[: max(1, math.floor(affordable))]
    for rung in range(RUNGS):
        scored: List[Trial] = []
        what = f"Rung {rung + 1} of {RUNGS}"
        with bar(alive, unit="trainings", what=what, shown=progress) as shown:
            for settings in shown:
                trial = run(settings, rung)
                if trial is not None:
                    scored.append(trial)
        scored.sort(key=lambda trial: -trial.score)
        alive = [trial.settings for trial in scored[: max(1, len(scored) // FACTOR)]]
    return ranked(trials)


def ranked(trials: Sequence[Trial]) -> List[Trial]:
    """RETURNS (List[Trial]): One training per candidate, from its last rung. The highest rung comes
    first, and within a rung the best score. Of equal scores, the config itself comes first."""
    longest: List[Trial] = []
    for trial in sorted(trials, key=lambda trial: -trial.rung):
        if all(trial.settings != other.settings for other in longest):
            longest.append(trial)
    return sorted(longest, key=lambda trial: (-trial.rung, -trial.score, len(trial.settings)))


def shortened(config: Config, rung: int) -> Config:
    """Shorten a training to the steps of a rung, with its schedules and their warm-up.

    config (Config): A full training config. It is not changed.
    rung (int): Rung of the search, from 0.
    RETURNS (Config): A config that evaluates at the end.
    """
    share = FACTOR ** (RUNGS - 1 - rung)
    short = copy.deepcopy(config)
    training = short["training"]
    training["max_steps"] = max(1, config.interpolate()["training"]["max_steps"] // share)
    training["patience"] = 0
    # Only at the end: in between, the schedule has not ended. spaCy evaluates after the first step
    # as well, when all heads that start from a probe are equal.
    training["eval_frequency"] = training["max_steps"]
    _shorten_schedules(training, config.interpolate()["training"], share)
    return short


def _shorten_schedules(section: Dict[str, Any], known: Dict[str, Any], share: int) -> None:
    # A length that refers to [training] max_steps follows it. Others may be variables as well.
    for name, value in section.items():
        if isinstance(value, dict):
            _shorten_schedules(value, known[name], share)
        elif name not in ("warmup_steps", "total_steps") or value == "${training.max_steps}":
            continue
        elif isinstance(known[name], int):
            section[name] = max(1, known[name] // share)


def _scored(config: Config, settings: Settings, rung: int, use_gpu: int, kept: List[Any]) -> Trial:
    """RETURNS (Trial): A training. That of a candidate which fails has the lowest score."""
    start = time.perf_counter()
    try:
        return _train(config, settings, rung, use_gpu, kept)
    # Running out of memory is a RuntimeError.
    except (ValueError, RuntimeError) as error:
        if not settings:
            raise
        if use_gpu >= 0:
            import torch

            torch.cuda.empty_cache()
        logger.warning("%s failed and counts as 0: %s", settings, error)
        return Trial(settings, rung, 0, 0.0, round(time.perf_counter() - start, 2))


def _train(config: Config, settings: Settings, rung: int, use_gpu: int, kept: List[Any]) -> Trial:
    config = shortened(with_settings(config, settings), rung)
    training = config.interpolate()["training"]
    steps, seed = training["max_steps"], training["seed"] or 0
    start = time.perf_counter()
    _, rows = train(config, seed, use_gpu=use_gpu, on_start=lambda nlp: kept.extend(caches_of(nlp)))
    scores = [row["score"] for row in rows if row["score"] is not None]
    if not scores:
        raise ValueError("A training had no score on dev: see [training] score_weights.")
    trial = Trial(settings, rung, steps, scores[-1], round(time.perf_counter() - start, 2))
    logger.info("%s, %d steps: %.4f", settings or "the config itself", steps, trial.score)
    return trial
