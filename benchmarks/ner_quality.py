"""How good entity recognizers get: a training for each data set, recipe and seed.

Each training is scored on the test set after every epoch of its schedule, with one scorer for all
systems: micro-averaged F1 of exact entities on the tokens of the data set.
"""

import argparse
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence, Tuple

from benchmarks import common
from benchmarks.common import ENCODER, headline_precision, log, mean_std, order
from benchmarks.data import Tagged, documents
from benchmarks.finished import Finished, Key, Result
from benchmarks.ner_pipelines import LEARN_RATE, VARIANTS, SpacyNer, make_examples, reprtune_ner
from benchmarks.peers.hf_token_classification import HFTokenClassification
from benchmarks.peers.spacy_transformers_ner import spacy_transformers_ner
from benchmarks.pipelines import BATCH_SIZE, batches_by_length, random_batches

WHOLE_DOCUMENTS = "conll2003"
# A step of 16 sentences of conll2003 has as many words as one document.
DOCUMENT_BATCH = 1
# The slowest peer last, so that a run that is cut short has the others whole.
CLAIMED = ("ours", "hf", "spacy_transformers")
CLAIMED_OF_DOCUMENTS = ("ours", "sentences")
RECIPES = (*CLAIMED[:-1], "sentences", *VARIANTS, CLAIMED[-1])

Splits = Dict[str, List[Tagged]]


class System(Protocol):
    """An entity recognizer that trains and predicts."""

    def train(self, items: List[Tagged], seed: int) -> None: ...

    def predict(self, items: List[Tagged]) -> List[Any]: ...


def measure_quality(data: Dict[str, Splits], args: argparse.Namespace) -> Dict[str, Any]:
    """Train each recipe with each seed at the precision that this machine calls for.

    data (Dict[str, Splits]): The data sets by name.
    args (Namespace): `recipes`, `epochs`, `train_texts`, `results`, and the seeds.
    RETURNS (Dict[str, Any]): F1 on the test set, and the calibration error of this project.
    """
    wanted: List[Tuple[str, str, Key]] = []
    trainings: List[Tuple[Key, Callable[[], Result]]] = []
    for name, all_items in data.items():
        splits = {**all_items, "train": some(all_items["train"], args.train_texts)}
        for recipe in recipes_of(name, args.recipes):
            for seed in common.seed_range(args):
                key = {
                    "set": name,
                    "recipe": recipe,
                    "seed": seed,
                    "epochs": args.epochs,
                    "train_texts": len(splits["train"]),
                    "test_texts": len(splits["test"]),
                    "precision": precision_of(recipe),
                    "encoder": ENCODER,
                }
                wanted.append((name, recipe, key))
                trainings.append((key, partial(train, name, splits, recipe, seed, args.epochs)))
    # Seed by seed, so that a run that is cut short has something of each recipe.
    order_of = {recipe: recipe == CLAIMED[-1] for recipe in RECIPES}
    at = sorted(range(len(wanted)), key=lambda i: (order_of[wanted[i][1]], trainings[i][0]["seed"]))
    results = Finished(args.results, threads=args.threads).run([trainings[i] for i in at])
    rows: Dict[Tuple[str, str], List[Result]] = {}
    for i, result in zip(at, results, strict=True):
        rows.setdefault(wanted[i][:2], []).append(result)
    return figures_of(rows)


def recipes_of(name: str, chosen: Sequence[str]) -> List[str]:
    """RETURNS (List[str]): The recipes that are trained on a data set: those of its claim, or of
    those that were asked for the ones that make sense with it."""
    if not chosen:
        return list(CLAIMED_OF_DOCUMENTS if name == WHOLE_DOCUMENTS else CLAIMED)
    return [recipe for recipe in chosen if recipe != "sentences" or name == WHOLE_DOCUMENTS]


def precision_of(recipe: str) -> str:
    """RETURNS (str): What a recipe computes in: spacy-transformers has no bf16 on a CPU."""
    return "fp32" if recipe == "spacy_transformers" else headline_precision()


def train(name: str, splits: Splits, recipe: str, seed: int, epochs: int) -> Result:
    """Train once.

    name (str): The data set.
    splits (Splits): Its sentences.
    recipe (str): What to train.
    seed (int): Decides the head, the order of the texts and dropout.
    epochs (int): How often each text is seen.
    RETURNS (Dict[str, Any]): `f1`, and of this project `ece_before` and `ece_after`. Of one that
        reads whole documents also `f1_by_sentence`: what it finds in their sentences.
    """
    peer = recipe in ("hf", "spacy_transformers")
    sentences: List[Tagged] = []
    if name == WHOLE_DOCUMENTS and recipe != "sentences" and not peer:
        sentences = splits["test"]
        splits = {split: documents(items) for split, items in splits.items()}
        size = DOCUMENT_BATCH
    else:
        size = BATCH_SIZE
    common.seed_all(seed)
    system = make_system(recipe, splits["train"], epochs, precision_of(recipe), size=size)
    by_epoch, seconds = [], 0.0
    for epoch in range(epochs):
        again = partial(system.train, splits["train"], 100 * seed + epoch)
        seconds += common.seconds(again)
        by_epoch.append(round(f1(system.predict(splits["test"]), splits["test"]), 5))
    result: Result = {"f1": by_epoch[-1], "f1_by_epoch": by_epoch, "seconds": round(seconds, 1)}
    if sentences:
        result["f1_by_sentence"] = round(f1(system.predict(sentences), sentences), 5)
    if not peer:
        result["ece_before"], result["ece_after"] = calibration(system, splits)
        result["temperature"] = system.nlp.get_pipe("ner").temperature  # type: ignore[attr-defined]
    log(f"{name}  {recipe}  seed {seed}  F1 {by_epoch}")
    return result


def make_system(
    recipe: str, train: List[Tagged], epochs: int, precision: str, *, size: int = BATCH_SIZE
) -> System:
    """Build a system, ready to train.

    recipe (str): One of RECIPES; or, for the comparison of speed, "hf_tuned" or
        "spacy_transformers_grouped", with batches grouped by length.
    train (List[Tagged]): The training data.
    epochs (int): How often each text will be seen: the length of the schedule.
    precision (str): "fp32" or "bf16".
    size (int): Texts in a batch.
    RETURNS (System): The system.
    """
    steps = epochs * -(-len(train) // size)
    if recipe.startswith("hf"):
        labels, tuned = labels_of(train), recipe == "hf_tuned"
        return HFTokenClassification(precision, labels, steps, LEARN_RATE, tuned=tuned)
    if recipe.startswith("spacy_transformers"):
        batcher = batches_by_length if recipe.endswith("grouped") else random_batches
        return SpacyNer(spacy_transformers_ner, batcher, train, steps, LEARN_RATE)
    build = partial(reprtune_ner, precision, **VARIANTS.get(recipe, {}))
    return SpacyNer(build, partial(batches_by_length, size=size), train, steps, LEARN_RATE)


def labels_of(items: List[Tagged]) -> List[str]:
    """RETURNS (List[str]): The labels, sorted."""
    return sorted({label for item in items for _, _, label in item.entities})


def some(items: List[Tagged], n: int) -> List[Tagged]:
    """Take some sentences at random, of sets with documents whole ones.

    items (List[Tagged]): The sentences.
    n (int): How many at least, or 0 for all.
    RETURNS (List[Tagged]): Those that were drawn, in their order.
    """
    if not n or n >= len(items):
        return items
    numbers = [item.document for item in items]
    if len(set(numbers)) == 1:
        return [items[i] for i in sorted(order(len(items), 0)[:n])]
    kept, count = set(), 0
    for document in (sorted(set(numbers))[i] for i in order(len(set(numbers)), 0)):
        if count < n:
            kept.add(document)
            count += numbers.count(document)
    return [item for item in items if item.document in kept]


def calibration(system: Any, splits: Splits) -> Tuple[Optional[float], Optional[float]]:
    """RETURNS (Tuple[Optional[float], Optional[float]]): The expected calibration error on the test
    set, without a temperature and with the one fitted to dev; None without any entity found."""
    nlp = system.nlp
    test = make_examples(nlp, splits["test"])
    errors = [nlp.evaluate(test)["ents_ece"]]
    nlp.get_pipe("ner").calibrate(make_examples(nlp, splits["dev"]), nlp=nlp)
    errors.append(nlp.evaluate(test)["ents_ece"])
    before, after = (None if error is None else round(error, 5) for error in errors)
    return before, after


def f1(found: List[Any], gold: List[Tagged]) -> float:
    """RETURNS (float): Micro-averaged F1 of exact entities."""
    pairs = [(set(a), set(item.entities)) for a, item in zip(found, gold, strict=True)]
    right = sum(len(a & b) for a, b in pairs)
    return 2 * right / max(sum(len(a) + len(b) for a, b in pairs), 1)


def figures_of(rows: Dict[Tuple[str, str], List[Result]]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Means and spreads over seeds."""
    figures: Dict[str, Any] = {}
    for (name, recipe), results in rows.items():
        suffix = "" if recipe == "ours" else f"_{recipe}"
        figures.update(mean_std(f"{name}_f1{suffix}", [r["f1"] for r in results]))
        epochs = zip(*(r["f1_by_epoch"] for r in results), strict=True)
        means = [round(sum(values) / len(values), 4) for values in epochs]
        figures[f"{name}_f1{suffix}_by_epoch"] = means
        for key in ("f1_by_sentence", "ece_before", "ece_after"):
            values = [r[key] for r in results if r.get(key) is not None]
            figures.update(mean_std(f"{name}_{key}{suffix}", values) if values else {})
    return figures
