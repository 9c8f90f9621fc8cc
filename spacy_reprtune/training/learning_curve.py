"""Measure the gain from more annotated texts: probe, SetFit and joint training on samples."""

import copy
import logging
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

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
from .setfit.readers import texts_by_label

if TYPE_CHECKING:
    from spacy.language import Language

logger = logging.getLogger("spacy")

RECIPES = ("probe", "setfit", "joint")


@dataclass(frozen=True)
class Result:
    """One trained model.

    recipe (str): "probe", "setfit" or "joint".
    per_class (int): Texts per label that it was trained on.
    seed (int): Seed of the sample and of the training.
    score (float): Score on dev after the last step.
    """

    recipe: str
    per_class: int
    seed: int
    score: float


def parse_sizes(text: str) -> List[int]:
    """Read a list such as "1,2,4,8".

    text (str): Numbers of texts per label, separated by commas.
    RETURNS (List[int]): The numbers, ascending, each once.
    RAISES (ValueError): The list is empty, or a value is not a number of at least 1.
    """
    sizes = parse_list(
        text,
        lambda part: part.isdigit() and int(part) >= 1,
        "a number of texts per label. Use numbers from 1, with commas between them: 1,2,4,8",
    )
    return sorted({int(size) for size in sizes})


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
    """Train all recipes on samples of each size, and save each result as soon as it is known.

    For a given size and seed, all recipes have the same texts. Every model is scored after its
    last step, because with few annotated texts none can be spared to choose the best step.

    setfit (Config): A config with a `reprtune_setfit`, not interpolated. Its untrained pipeline is
        the probe.
    joint (Config): A config of joint training, not interpolated.
    sizes (Sequence[int]): Texts per label. Sizes beyond the label with the most texts become one,
        that of all texts.
    seeds (int): Number of seeds: 0, 1, …
    output (Path): The JSON file. Results that it has already, for the same configs and data, are
        not computed again.
    use_gpu (int): GPU id, or -1.
    progress (bool): Whether to show a progress bar.
    RETURNS (List[Result]): The results for these sizes and seeds.
    RAISES (ValueError): A config is of the other kind, or the file has results of other configs or
        data.
    """
    for config, few_shot in ((setfit, True), (joint, False)):
        factories = [block.get("factory") for block in config["components"].values()]
        if ("reprtune_setfit" in factories) != few_shot:
            raise ValueError(
                "A learning curve takes a config with a reprtune_setfit first, and one of joint "
                f"training without it second. One has {', '.join(map(str, factories))}."
            )
    setfit, joint = full_config(setfit), full_config(joint)
    most = _most_texts(setfit)
    if max(sizes) > most:
        logger.warning("No label has more than %d texts, so that is the largest size", most)
        sizes = sorted({min(size, most) for size in sizes})
    own = fingerprint(setfit, joint, output=output)
    results = read_results(output, "results", Result, own, what="learning curve")

    def keep(size: int, seed: int, scores: Dict[str, float]) -> None:
        for recipe, score in scores.items():
            results.append(Result(recipe, size, seed, score))
            logger.info("%s, %d per label, seed %d: %.4f", recipe, size, seed, score)
        content = {"results": list(map(asdict, results)), "points": summarize(results)}
        write_results(output, {"fingerprint": own, **content})

    pairs = list(product(sizes, range(seeds)))
    with bar(pairs, unit="sizes and seeds", shown=progress) as shown:
        for size, seed in shown:
            shown.set_description(f"Training on {size} per label")
            done = {r.recipe for r in results if (r.per_class, r.seed) == (size, seed)}
            if not {"probe", "setfit"} <= done:
                keep(
                    size, seed, _train(setfit, size, seed, use_gpu, before="probe", after="setfit")
                )
            if "joint" not in done:
                keep(size, seed, _train(joint, size, seed, use_gpu, after="joint"))
    return [r for r in results if r.per_class in sizes and r.seed < seeds]


def summarize(results: Sequence[Result]) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): Mean, standard deviation and number of the scores for each
    recipe and size."""
    points = []
    for recipe, size in product(RECIPES, sorted({r.per_class for r in results})):
        scores = [r.score for r in results if (r.recipe, r.per_class) == (recipe, size)]
        if scores:
            mean, std = mean_and_std(scores)
            point = {"recipe": recipe, "per_class": size, "mean": mean, "std": std}
            points.append({**point, "n": len(scores)})
    return points


def _train_path(config: Config) -> str:
    path = config["corpora"]["train"].get("path")
    if path is None:
        raise ValueError(
            "A learning curve draws its texts from a file, so the reader in [corpora.train] of "
            "both configs needs a path, as spacy.Corpus.v1 and spacy_reprtune.FewShot.v1 have."
        )
    return path


def _most_texts(config: Config) -> int:
    """RETURNS (int): The number of training texts of the label that has the most."""
    import spacy
    from spacy.training import Corpus

    config = config.interpolate()
    examples = Corpus(_train_path(config))(spacy.blank(config["nlp"]["lang"]))
    return max(map(len, texts_by_label(eg.reference for eg in examples).values()), default=1)


def _train(
    config: Config, size: int, seed: int, use_gpu: int, *, after: str, before: str = ""
) -> Dict[str, float]:
    """Train once and score the last step, and also the start if `before` names it."""
    config = copy.deepcopy(config)
    config["corpora"]["train"] = {
        "@readers": "spacy_reprtune.FewShot.v1",
        "path": _train_path(config),
        "per_class": size,
        "seed": seed,
    }
    training = config["training"]
    # No evaluation except at the start, where spaCy's loop always has one.
    training["eval_frequency"] = (config.interpolate()["training"]["max_steps"] or sys.maxsize) + 1
    # That only evaluation stays the best one, so patience would end the training.
    training["patience"] = 0
    scores: Dict[str, float] = {}

    def score_start(nlp: "Language") -> None:
        if before:
            scores[before] = _score(nlp)

    nlp, _ = train(config, seed, use_gpu=use_gpu, on_start=score_start)
    return {**scores, after: _score(nlp)}


def _score(nlp: "Language") -> float:
    from spacy.util import resolve_dot_names

    config = nlp.config.interpolate()
    (corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
    return float(nlp.evaluate(list(corpus(nlp)))["cats_score"])
