"""Find out how many blocks have to train: repeat a training with more and more trainable blocks."""

import copy
import logging
import math
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from thinc.api import Config

from ..progress import bar
from .experiments import (
    fingerprint,
    mean_and_std,
    parse_list,
    read_results,
    train,
    write_results,
)
from .full_config import full_config

if TYPE_CHECKING:
    from spacy.language import Language

logger = logging.getLogger("spacy")

ENCODER = "spacy_reprtune.Encoder.v1"


@dataclass(frozen=True)
class Run:
    """One training.

    unfreeze (str): "none", "all", or a number of blocks.
    seed (int): The seed.
    score (float): Score of the best step on dev.
    scores (Dict[str, float]): All scores of that step that are numbers.
    step (int): The best step.
    seconds (float): Time from initializing the pipeline to the end.
    """

    unfreeze: str
    seed: int
    score: float
    scores: Dict[str, float]
    step: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """The runs with one number of trainable blocks.

    unfreeze (str): "none", "all", or a number of blocks.
    mean, std (float): Mean and standard deviation of the scores; 0 for a single run.
    seconds (float): Median time per run.
    n_runs (int): Number of runs.
    """

    unfreeze: str
    mean: float
    std: float
    seconds: float
    n_runs: int

    @property
    def standard_error(self) -> float:
        """RETURNS (float): Standard error of the mean."""
        return self.std / math.sqrt(self.n_runs)


def parse_points(text: str) -> List[str]:
    """Read a list such as "none,1,2,4,all".

    text (str): Points, separated by commas.
    RETURNS (List[str]): The points, from the fewest to the most trainable blocks, each once.
    RAISES (ValueError): The list is empty, or an entry is not "none", "all" or a number.
    """
    points = parse_list(
        text,
        lambda part: part in ("none", "all") or part.isdigit(),
        "a point of a sweep. Use 'none', 'all' or a number of blocks, with commas between them: "
        "none,1,2,4,all",
    )
    return sorted({"none" if point == "0" else point for point in points}, key=depth_of)


def depth_of(unfreeze: str) -> float:
    """RETURNS (float): Number of trainable blocks, to sort points by."""
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
    """Train at all points with all seeds, and save each result as soon as it is known.

    All runs share one cache of the outputs of frozen blocks. Points with more trainable blocks
    come first, so that their runs fill the cache that the others read.

    config (Config): A training config, not interpolated.
    points (Sequence[str]): The result of `parse_points`.
    seeds (int): Number of seeds: 0, 1, …
    output (Path): The JSON file. Runs that it has already, for the same config and data, are not
        repeated.
    replace (bool): Whether results of another config or other data may be lost.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Run]): The runs at these points with these seeds.
    RAISES (ValueError): A point is beyond the encoder's depth, or the file belongs to another
        sweep.
    """
    config = full_config(config)
    _check_depth(config, points)
    own = fingerprint(_without_points(config), output=output)
    runs = read_results(output, "runs", Run, own, what="sweep", replace=replace)
    caches: List[Any] = []
    done = {(run.unfreeze, run.seed) for run in runs}
    ordered = sorted(points, key=depth_of, reverse=True)
    todo = [pair for pair in product(ordered, range(seeds)) if pair not in done]
    with bar(todo, unit="trainings", shown=progress) as shown:
        for unfreeze, seed in shown:
            shown.set_description(f"unfreeze = {unfreeze}, seed {seed}")
            runs.append(train_once(config, unfreeze, seed, use_gpu=use_gpu, keep_caches=caches))
            logger.info("unfreeze = %s, seed %d: %.4f", unfreeze, seed, runs[-1].score)
            _write(output, own, runs, runs)
    wanted = [run for run in runs if run.unfreeze in points and run.seed < seeds]
    _write(output, own, runs, wanted)
    return wanted


def train_once(
    config: Config,
    unfreeze: str,
    seed: int,
    *,
    use_gpu: int = -1,
    keep_caches: Optional[List[Any]] = None,
) -> Run:
    """Train once, as `spacy train` does, and save nothing.

    config (Config): A training config, not interpolated.
    unfreeze (str): The blocks that train in each of its encoders.
    seed (int): The seed.
    use_gpu (int): GPU id, or -1.
    keep_caches (Optional[List[Any]]): List that keeps the caches alive, which live as long as they
        are referenced.
    RETURNS (Run): The result.
    RAISES (ValueError): There is nothing to train on.
    """
    config = copy.deepcopy(config)
    for block in encoder_blocks(config):
        block["unfreeze"] = int(unfreeze) if unfreeze.isdigit() else unfreeze
    kept: List[Any] = [] if keep_caches is None else keep_caches
    start = time.perf_counter()
    _, rows = train(config, seed, use_gpu=use_gpu, on_start=lambda nlp: kept.extend(caches_of(nlp)))
    if not rows:
        raise ValueError("The training ended before its first step: is [corpora.train] empty?")
    # The first of equal scores, as `spacy train` chooses model-best.
    best = max(rows, key=lambda row: -math.inf if row["score"] is None else row["score"])
    score = math.nan if best["score"] is None else best["score"]
    scores = {name: value for name, value in best["scores"].items() if value is not None}
    seconds = round(time.perf_counter() - start, 2)
    return Run(unfreeze, seed, score, scores, best["step"], seconds)


def summarize(runs: Sequence[Run]) -> List[Point]:
    """RETURNS (List[Point]): The points, from the fewest to the most trainable blocks."""
    points = []
    for unfreeze in sorted({run.unfreeze for run in runs}, key=depth_of):
        own = [run for run in runs if run.unfreeze == unfreeze]
        seconds = statistics.median(run.seconds for run in own)
        points.append(Point(unfreeze, *mean_and_std([r.score for r in own]), seconds, len(own)))
    return points


def smallest_good_point(points: Sequence[Point]) -> Tuple[Point, Point]:
    """Apply the one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees).

    points (Sequence[Point]): The result of `summarize`.
    RETURNS (Tuple[Point, Point]): The point with the fewest trainable blocks whose mean is within
        one standard error of the best mean, and the best point.
    """
    best = max(points, key=lambda point: point.mean)
    limit = best.mean - best.standard_error
    return next(point for point in points if point.mean >= limit), best


def _write(output: Path, own: str, runs: Sequence[Run], wanted: Sequence[Run]) -> None:
    points = summarize(wanted)
    content: Dict[str, Any] = {
        "fingerprint": own,
        "runs": [asdict(run) for run in sorted(runs, key=lambda r: (depth_of(r.unfreeze), r.seed))],
        "points": [{**asdict(p), "standard_error": p.standard_error} for p in points],
    }
    if points:
        smallest, best = smallest_good_point(points)
        content.update(best=best.unfreeze, smallest_within_one_standard_error=smallest.unfreeze)
    write_results(output, content)


def _without_points(config: Config) -> Config:
    """The config without values for the settings that a sweep varies. Others may refer to them."""
    plain = copy.deepcopy(config)
    for block in encoder_blocks(plain):
        block["unfreeze"] = None
    plain["training"]["seed"] = None
    if "seed" in plain.get("system", {}):
        plain["system"]["seed"] = None
    return plain


def caches_of(nlp: "Language") -> List[Any]:
    """RETURNS (List[PrefixCache]): The caches of a pipeline's encoders."""
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

    from ..bridge.encoder import Encoder_v1
    from ..encoder.load import resolve_encoder

    for block in blocks:
        settings = {key: value for key, value in block.items() if key != "@architectures"}
        for point in points:
            # Raises an error for a wrong combination before hours of training with the others.
            unfreeze = int(point) if point.isdigit() else point
            model = Encoder_v1(**{**settings, "unfreeze": unfreeze})
        made = model.shims[0].settings
        if made.keep_blocks is None:
            directory = str(resolve_encoder(made.name))
            depth = AutoConfig.from_pretrained(directory, local_files_only=True).num_hidden_layers
            why = ""
        else:
            depth, why = len(made.keep_blocks), ", because of its keep_blocks"
        above = [point for point in points if point.isdigit() and int(point) > depth]
        if above:
            raise ValueError(
                f"A sweep with {above[0]} trainable blocks is impossible: the encoder "
                f"'{block['name']}' has {depth}{why}. 'all' trains these and the embeddings."
            )
