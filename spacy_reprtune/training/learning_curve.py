"""What each further annotated text brings: probe, SetFit and joint training on more and more."""

import copy
import hashlib
import io
import logging
import statistics
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

import srsly
from thinc.api import Config

from ..files import replaced_file
from ..progress import bar

if TYPE_CHECKING:
    from spacy.language import Language

logger = logging.getLogger("spacy")

RECIPES = ("probe", "setfit", "joint")


@dataclass(frozen=True)
class Result:
    """One trained model.

    recipe (str): "probe", "setfit" or "joint".
    per_class (int): Texts of each label that it had.
    seed (int): Of the sample and of the training.
    score (float): On the dev data after the last step.
    """

    recipe: str
    per_class: int
    seed: int
    score: float


def parse_sizes(text: str) -> List[int]:
    """Read a list such as "1,2,4,8".

    text (str): Texts a label, with commas between the numbers.
    RETURNS (List[int]): The numbers, once each, in order.
    RAISES (ValueError): There is none, or one is no number from 1.
    """
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdigit() or int(part) < 1]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is no number of texts a label. Use numbers from 1, with commas between "
            "them: 1,2,4,8"
        )
    return sorted({int(part) for part in parts})


def learning_curve(
    setfit: Config,
    joint: Config,
    sizes: Sequence[int],
    seeds: int,
    output: Path,
    *,
    use_gpu: int = -1,
    progress: bool = False,
) -> List[Result]:
    """Train all recipes on samples of each size, and write down each result as soon as it is there.

    Within a size and seed all recipes have the same texts. Every model is scored after its last
    step: few annotated texts leave none over to choose the best step by.

    setfit (Config): A config with a `reprtune_setfit`, not interpolated. Its pipeline before any
        training is the probe.
    joint (Config): A config of joint training, not interpolated.
    sizes (Sequence[int]): Texts a label.
    seeds (int): Seeds 0 to this one are used.
    output (Path): The JSON file. What it has already, of the same configs and data, is not done
        again.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Result]): The results of these sizes and seeds.
    RAISES (ValueError): The file is of other configs or data.
    """
    fingerprint = _fingerprint(setfit, joint)
    results = _read(output, fingerprint)
    pairs = list(product(sizes, range(seeds)))
    with bar(pairs, unit="sizes and seeds", shown=progress) as shown:
        for size, seed in shown:
            shown.set_description(f"Training on {size} a label")
            done = {r.recipe for r in results if (r.per_class, r.seed) == (size, seed)}
            scores: Dict[str, float] = {}
            if not {"probe", "setfit"} <= done:
                scores.update(_train(setfit, size, seed, use_gpu, before="probe", after="setfit"))
            if "joint" not in done:
                scores.update(_train(joint, size, seed, use_gpu, after="joint"))
            for recipe, score in scores.items():
                results.append(Result(recipe, size, seed, score))
                logger.info("%s, %d a label, seed %d: %.4f", recipe, size, seed, score)
            write(output, fingerprint, results)
    return [r for r in results if r.per_class in sizes and r.seed < seeds]


def summarize(results: Sequence[Result]) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): Mean, standard deviation and number of the scores of each
    recipe and size."""
    points = []
    for recipe in RECIPES:
        for size in sorted({r.per_class for r in results}):
            scores = [r.score for r in results if (r.recipe, r.per_class) == (recipe, size)]
            if scores:
                std = statistics.stdev(scores) if len(scores) > 1 else 0.0
                mean = statistics.fmean(scores)
                points.append(
                    {
                        "recipe": recipe,
                        "per_class": size,
                        "mean": mean,
                        "std": std,
                        "n": len(scores),
                    }
                )
    return points


def write(output: Path, fingerprint: str, results: Sequence[Result]) -> None:
    """Write the results; a file that is there is replaced at the end.

    output (Path): The JSON file.
    fingerprint (str): Of configs and data.
    results (Sequence[Result]): The results so far.
    """
    content = {
        "fingerprint": fingerprint,
        "results": [asdict(result) for result in results],
        "points": summarize(results),
    }
    with replaced_file(output) as fresh:
        srsly.write_json(fresh, content)


def _train(
    config: Config, size: int, seed: int, use_gpu: int, *, after: str, before: str = ""
) -> Dict[str, float]:
    """Train once and score the last step, and the start as well if it has a name."""
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    config = copy.deepcopy(config)
    path = config["corpora"]["train"].get("path")
    if path is None:
        raise ValueError(
            "A learning curve draws its texts from a file: the reader in [corpora.train] of both "
            "configs has to have a path, as spacy.Corpus.v1 and spacy_reprtune.FewShot.v1 do."
        )
    config["corpora"]["train"] = {
        "@readers": "spacy_reprtune.FewShot.v1",
        "path": path,
        "per_class": size,
        "seed": seed,
    }
    training = config["training"]
    training["seed"] = config["system"]["seed"] = seed
    # Never but at the start, which spaCy's loop always looks at.
    training["eval_frequency"] = config.interpolate()["training"]["max_steps"] + 1
    # As the only evaluation that one stays the best, and patience would end the training.
    training["patience"] = 0
    training["logger"] = {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False}
    nlp = init_nlp(config, use_gpu=use_gpu)
    scores = {before: _score(nlp)} if before else {}
    train(nlp, None, use_gpu=use_gpu, stdout=io.StringIO(), stderr=io.StringIO())
    return {**scores, after: _score(nlp)}


def _score(nlp: "Language") -> float:
    from spacy.util import resolve_dot_names

    config = nlp.config.interpolate()
    (corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
    return float(nlp.evaluate(list(corpus(nlp)))["cats_score"])


def _fingerprint(*configs: Config) -> str:
    """Digest of the configs and of the files under [paths]."""
    state = hashlib.blake2b(digest_size=12)
    for config in configs:
        state.update(config.to_str(interpolate=False).encode())
        for value in config.interpolate().get("paths", {}).values():
            path = Path(value) if isinstance(value, str) else None
            if path is not None and path.is_file():
                state.update(path.read_bytes())
    return state.hexdigest()


def _read(output: Path, fingerprint: str) -> List[Result]:
    if not output.exists():
        return []
    try:
        saved = srsly.read_json(output)
        results = [Result(**result) for result in saved["results"]]
        theirs = saved["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{output} is not what a learning curve writes ({error}). Move it away, or name "
            "another --output."
        ) from error
    if theirs != fingerprint:
        raise ValueError(
            f"{output} has the results of other configs or other data. Move it away to start "
            "anew, or name another --output."
        )
    return results
