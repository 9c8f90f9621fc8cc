"""How many blocks have to train: the same training at several depths, with several seeds."""

import copy
import hashlib
import logging
import math
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import srsly
from thinc.api import Config, fix_random_seed

from ..files import replaced_file
from ..progress import bar

if TYPE_CHECKING:
    from spacy.language import Language

logger = logging.getLogger("spacy")

ENCODER = "spacy_reprtune.Encoder.v1"


@dataclass(frozen=True)
class Run:
    """One training.

    unfreeze (str): "none", "all", or a number of blocks.
    seed (int): Its seed.
    score (float): The final score of its best step on the dev data.
    scores (Dict[str, float]): All scores of that step that are numbers.
    step (int): That step.
    seconds (float): From initializing the pipeline to the end.
    """

    unfreeze: str
    seed: int
    score: float
    scores: Dict[str, float]
    step: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """What the runs at one depth come to.

    unfreeze (str): "none", "all", or a number of blocks.
    mean, std (float): Of the runs' scores; the standard deviation of a single run is 0.
    seconds (float): Median of a run.
    n_runs (int): How many there are.
    """

    unfreeze: str
    mean: float
    std: float
    seconds: float
    n_runs: int

    @property
    def standard_error(self) -> float:
        """RETURNS (float): Of the mean."""
        return self.std / math.sqrt(self.n_runs)


def parse_points(text: str) -> List[str]:
    """Read a list such as "none,1,2,4,all".

    text (str): Points with commas between them.
    RETURNS (List[str]): The points, from the least to the most that trains, once each.
    RAISES (ValueError): There is none, or one of them is no such point.
    """
    points = {"none" if part.strip() == "0" else part.strip() for part in text.split(",")}
    wrong = sorted(p for p in points if p not in ("none", "all") and not p.isdigit())
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is no point of a sweep. Use 'none', 'all' or a number of blocks, with "
            "commas between them: none,1,2,4,all"
        )
    return sorted(points, key=depth_of)


def depth_of(unfreeze: str) -> float:
    """RETURNS (float): By which points are sorted: their number of trainable blocks."""
    return float(unfreeze) if unfreeze.isdigit() else {"none": 0.0, "all": math.inf}[unfreeze]


def encoder_blocks(config: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Find the encoders of a config.

    config (Dict[str, Any]): The config, or a part of it.
    RETURNS (List[Dict[str, Any]]): The blocks with this package's encoders, not copied.
    """
    found = [config] if config.get("@architectures") == ENCODER else []
    for value in config.values():
        if isinstance(value, dict):
            found += encoder_blocks(value)
    return found


def sweep(
    config: Config,
    points: Sequence[str],
    seeds: int,
    output: Path,
    *,
    replace: bool = False,
    use_gpu: int = -1,
    progress: bool = False,
) -> List[Run]:
    """Train at each point with each seed, and write down each result as soon as it is there.

    The runs share one cache of what frozen blocks give. They begin with the point that trains
    most, so that the next one goes on from the blocks that this one has computed.

    config (Config): A training config, not interpolated.
    points (Sequence[str]): What `parse_points` returned.
    seeds (int): Seeds 0 to this one are used.
    output (Path): The JSON file. Runs that it has already, of the same config and data, are not
        repeated.
    replace (bool): Whether results of another config or other data may be lost.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Run]): The runs at these points with these seeds.
    RAISES (ValueError): A point is beyond the encoder's depth, or the file is of another sweep.
    """
    _check_depth(config, points)
    fingerprint = _fingerprint(config)
    runs = _read(output, fingerprint, replace)
    caches: List[Any] = []
    done = {(run.unfreeze, run.seed) for run in runs}
    ordered = sorted(points, key=depth_of, reverse=True)
    todo = [pair for pair in product(ordered, range(seeds)) if pair not in done]
    # Steps of a training that ends by epochs are not known before.
    steps = config.interpolate()["training"].get("max_steps") or None
    total = steps and (steps + 1) * len(todo)
    with bar(total=total, unit="steps", shown=progress, smoothing=0) as shown:
        for k, (unfreeze, seed) in enumerate(todo, start=1):
            shown.set_description(f"Training {k} of {len(todo)} (unfreeze = {unfreeze})")
            run = train_once(
                config,
                unfreeze,
                seed,
                use_gpu=use_gpu,
                keep_caches=caches,
                on_step=shown.update,
            )
            if steps:
                # One that stopped early has no more steps to wait for.
                shown.update((steps + 1) * k - shown.n)
            runs.append(run)
            logger.info("unfreeze = %s, seed %d: %.4f", unfreeze, seed, run.score)
            write(output, fingerprint, runs)
    wanted = [run for run in runs if run.unfreeze in points and run.seed < seeds]
    write(output, fingerprint, runs, wanted)
    return wanted


def train_once(
    config: Config,
    unfreeze: str,
    seed: int,
    *,
    use_gpu: int = -1,
    keep_caches: Optional[List[Any]] = None,
    on_step: Optional[Callable[[], Any]] = None,
) -> Run:
    """Train once, as `spacy train` does, and save nothing.

    config (Config): A training config, not interpolated.
    unfreeze (str): What trains in each of its encoders.
    seed (int): The seed.
    use_gpu (int): GPU id, or -1.
    keep_caches (Optional[List[Any]]): Gets the caches in use, which live as long as someone
        holds them.
    on_step (Optional[Callable[[], Any]]): Called after each step.
    RETURNS (Run): The result.
    """
    from spacy.training.initialize import init_nlp

    config = copy.deepcopy(config)
    for block in encoder_blocks(config):
        block["unfreeze"] = int(unfreeze) if unfreeze.isdigit() else unfreeze
    config["training"]["seed"] = seed
    if "seed" in config.get("system", {}):
        config["system"]["seed"] = seed
    start = time.perf_counter()
    nlp = init_nlp(config, use_gpu=use_gpu)
    if keep_caches is not None:
        keep_caches.extend(_caches(nlp))
    best: Dict[str, Any] = {}
    for info in _steps(nlp):
        if on_step is not None:
            on_step()
        if info is None:
            continue
        if not best or info["score"] > best["score"]:
            best = {key: info[key] for key in ("score", "other_scores", "step")}
    if not best:
        raise ValueError(
            "The training ended before its first evaluation: lower [training] eval_frequency."
        )
    numbers = {
        key: float(value)
        for key, value in best["other_scores"].items()
        if isinstance(value, (int, float))
    }
    seconds = time.perf_counter() - start
    return Run(unfreeze, seed, float(best["score"]), numbers, best["step"], round(seconds, 2))


def summarize(runs: Sequence[Run]) -> List[Point]:
    """RETURNS (List[Point]): A point for each depth, from the least to the most that trains."""
    points = []
    for unfreeze in sorted({run.unfreeze for run in runs}, key=depth_of):
        own = [run for run in runs if run.unfreeze == unfreeze]
        scores = [run.score for run in own]
        std = statistics.stdev(scores) if len(scores) > 1 else 0.0
        seconds = statistics.median(run.seconds for run in own)
        points.append(Point(unfreeze, statistics.fmean(scores), std, seconds, len(own)))
    return points


def smallest_good_point(points: Sequence[Point]) -> Tuple[Point, Point]:
    """The one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees).

    points (Sequence[Point]): What `summarize` returned.
    RETURNS (Tuple[Point, Point]): The point that trains least of those whose mean is within one
        standard error of the best one's, and the best one.
    """
    best = max(points, key=lambda point: point.mean)
    limit = best.mean - best.standard_error
    return next(point for point in points if point.mean >= limit), best


def write(
    output: Path, fingerprint: str, runs: Sequence[Run], wanted: Optional[Sequence[Run]] = None
) -> None:
    """Write the results; a file that is there is replaced at the end.

    output (Path): The JSON file.
    fingerprint (str): Of config and data.
    runs (Sequence[Run]): The runs so far, those of earlier sweeps included.
    wanted (Optional[Sequence[Run]]): Those that the points are of, or None for all.
    """
    points = summarize(runs if wanted is None else wanted)
    result: Dict[str, Any] = {
        "fingerprint": fingerprint,
        "runs": [asdict(run) for run in sorted(runs, key=lambda r: (depth_of(r.unfreeze), r.seed))],
        "points": [{**asdict(p), "standard_error": p.standard_error} for p in points],
    }
    if points:
        smallest, best = smallest_good_point(points)
        result.update(best=best.unfreeze, smallest_within_one_standard_error=smallest.unfreeze)
    with replaced_file(output) as fresh:
        srsly.write_json(fresh, result)


def _read(output: Path, fingerprint: str, replace: bool) -> List[Run]:
    if not output.exists():
        return []
    try:
        saved = srsly.read_json(output)
        runs = [Run(**run) for run in saved["runs"]]
        theirs = saved["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{output} is not what a sweep writes ({error}). Move it away, or name another "
            "--output."
        ) from error
    if theirs != fingerprint and replace:
        logger.info("%s has the results of another config or other data; it is replaced", output)
        return []
    if theirs != fingerprint:
        raise ValueError(
            f"{output} has the results of a sweep with another config or other data. Use --replace "
            "to start anew, or name another --output."
        )
    return runs


def _steps(nlp: "Language") -> Iterator[Optional[Dict[str, Any]]]:
    """Train, and give for each step what spaCy's loop knows if it was evaluated, else None."""
    from spacy.schemas import ConfigSchemaTraining
    from spacy.training.loop import (
        create_evaluation_callback,
        create_train_batches,
        train_while_improving,
    )
    from spacy.util import registry, resolve_dot_names

    config = nlp.config.interpolate()
    fix_random_seed(config["training"]["seed"])
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    names = [settings["train_corpus"], settings["dev_corpus"]]
    train_corpus, dev_corpus = resolve_dot_names(config, names)
    steps = train_while_improving(
        nlp,
        settings["optimizer"],
        create_train_batches(nlp, train_corpus, settings["batcher"], settings["max_epochs"]),
        create_evaluation_callback(nlp, dev_corpus, settings["score_weights"]),
        dropout=settings["dropout"],
        eval_frequency=settings["eval_frequency"],
        accumulate_gradient=settings["accumulate_gradient"],
        patience=settings["patience"],
        max_steps=settings["max_steps"],
        exclude=settings["frozen_components"],
        annotating_components=settings["annotating_components"],
        before_update=settings["before_update"],
    )
    for _, info, is_best in steps:
        yield info if is_best is not None else None


def _caches(nlp: "Language") -> List[Any]:
    modules = [
        shim.module
        for _, pipe in nlp.pipeline
        for node in (pipe.model.walk() if getattr(pipe, "model", None) is not None else ())
        for shim in node.shims
        if hasattr(shim, "module")
    ]
    return [module.encoder.cache for module in modules if module.encoder.cache is not None]


def _check_depth(config: Config, points: Sequence[str]) -> None:
    blocks = encoder_blocks(config.interpolate())
    if not blocks:
        raise ValueError(
            f"The config has no {ENCODER} whose blocks could be frozen. Use one of the "
            "recipes in configs/, or add such an encoder to the model of a component."
        )
    from transformers import AutoConfig

    from ..encoder.load import resolve_encoder
    from ..encoder.module import EncoderSettings

    for block in blocks:
        settings = {key: value for key, value in block.items() if key != "@architectures"}
        for point in points:
            # Says what is wrong with a combination before hours of others.
            EncoderSettings(**{**settings, "unfreeze": int(point) if point.isdigit() else point})
        directory = resolve_encoder(block["name"], sha256=block.get("sha256"))
        depth = AutoConfig.from_pretrained(str(directory), local_files_only=True).num_hidden_layers
        above = [point for point in points if point.isdigit() and int(point) > depth]
        if above:
            raise ValueError(
                f"A sweep with {above[0]} trainable blocks can't be: the encoder "
                f"'{block['name']}' has {depth}. 'all' trains these and the embeddings."
            )


def _fingerprint(config: Config) -> str:
    """Digest of the config without what a sweep varies, and of the files under [paths]."""
    plain = copy.deepcopy(config)
    for block in encoder_blocks(plain):
        block.pop("unfreeze", None)
    plain["training"].pop("seed", None)
    plain.get("system", {}).pop("seed", None)
    state = hashlib.blake2b(plain.to_str(interpolate=False).encode(), digest_size=12)
    for value in config.interpolate().get("paths", {}).values():
        path = Path(value) if isinstance(value, str) else None
        if path is not None and path.exists():
            files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
            for file in files:
                state.update(file.read_bytes())
    return state.hexdigest()
