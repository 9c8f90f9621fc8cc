"""What `tune` gains over the config that `init-config` writes, within five times one training.

Parts of rotten_tomatoes, wnut17 and ncbi_disease become corpora. For each, `init-config` chooses a
recipe, and `tune` searches around it for four times as long as one training takes; what it exceeds
that by is in `cost_in_trainings`. Then the config and the best one train with each seed, and the
pipelines of the last step are scored on dev and test.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import common
from benchmarks.common import log
from benchmarks.data import rotten_tomatoes, tagged

SETS = ("rotten_tomatoes", "wnut17", "ncbi_disease")
SIZES = {"train": 400, "dev": 300, "test": 600}
QUICK = {"train": 200, "dev": 60, "test": 60}
# Leaves the search, which may exceed its time by one training, below five.
BUDGET = 4


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=2, repeats=1)
    # The search trains with seed 0, which would repeat the training that it chose.
    parser.set_defaults(first_seed=1)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="data sets")
    parser.add_argument("--work", type=Path, default=None, help="folder to go on in")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    figures: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            found = measure(
                args, name, (args.work or Path(folder)) / f"{name}{'-quick' * args.quick}"
            )
            figures.update({f"{name}_{key}": value for key, value in found.items()})
    common.emit("tune", args, figures)


def measure(args: argparse.Namespace, name: str, folder: Path) -> Dict[str, Any]:
    """Search around the config of one data set.

    RETURNS (Dict[str, Any]): Scores of both configs, and what the search has cost.
    """
    from spacy.util import load_config

    from spacy_reprtune.data.advise import advise
    from spacy_reprtune.training.full_config import full_config
    from spacy_reprtune.training.tune import tune, with_settings

    folder.mkdir(parents=True, exist_ok=True)
    _write_corpus(args, name, folder)
    path = folder / "config.cfg"
    if not path.exists():
        advice = advise(folder, device="cpu")
        log(f"{name}: {advice.why}")
        path.write_text(advice.config, encoding="utf8")
    config = load_config(path, interpolate=False)
    if args.quick:
        config["training"].update({"max_steps": 18, "eval_frequency": 6})
    own = full_config(config)
    train = _Trainings(folder, own)
    baseline = [train({}, seed) for seed in common.seed_range(args)]
    config["tune"] = {"space": space_of(config)}
    start = time.perf_counter()
    trials = tune(config, BUDGET * baseline[0]["seconds"] / 60, folder / "tune.json")
    log(f"{name}: searched for {time.perf_counter() - start:.0f} s, {trials[0]}")
    with_settings(own, trials[0].settings)
    tuned = [train(trials[0].settings, seed) for seed in common.seed_range(args)]
    before = next(trial for trial in trials if not trial.settings)
    spent = _seconds_of(folder / "tune.json")
    return {
        "settings": trials[0].settings,
        "candidates": len(trials) - 1,
        "cost_in_trainings": round(spent / baseline[0]["seconds"], 2),
        "search_dev": round(trials[0].score, 4),
        "search_dev_of_init_config": round(before.score, 4),
        **_scores("init_config", baseline),
        **_scores("tuned", tuned),
    }


def space_of(config: Any) -> Dict[str, List[Any]]:
    """RETURNS (Dict[str, List[Any]]): What to try around a recipe, by dotted name."""
    [component] = config["nlp"]["pipeline"]
    steps = config["training"]["max_steps"]
    rate = config["training"]["optimizer"]["learn_rate"]["initial_rate"]
    encoder = f"components.{component}.model.encoder"
    return {
        "training.optimizer.learn_rate.initial_rate": [rate, 2 * rate, 4 * rate],
        "training.max_steps": [steps, 2 * steps],
        f"{encoder}.unfreeze": [3, "all"],
        f"{encoder}.lr_decay": [0.8, 1.0],
        f"components.{component}.head_init": ["probe", "random"],
    }


class _Trainings:
    """Trains with settings and a seed, and keeps the scores in a file."""

    def __init__(self, folder: Path, config: Any) -> None:
        self.folder = folder
        self.config = config

    def __call__(self, settings: Dict[str, Any], seed: int) -> Dict[str, float]:
        import srsly
        from spacy.training import Corpus

        from spacy_reprtune.training.experiments import train
        from spacy_reprtune.training.tune import with_settings

        path = self.folder / "trainings.jsonl"
        done = list(srsly.read_jsonl(path)) if path.exists() else []
        for row in done:
            if (row["settings"], row["seed"]) == (settings, seed):
                return row
        start = time.perf_counter()
        nlp, _ = train(with_settings(self.config, settings), seed)
        row = {"settings": settings, "seed": seed, "seconds": time.perf_counter() - start}
        for part in ("dev", "test"):
            scores = nlp.evaluate(list(Corpus(self.folder / f"{part}.spacy")(nlp)))
            row[part] = scores["ents_f" if "ner" in nlp.pipe_names else "cats_macro_f"]
        log(f"{self.folder.name} {row}")
        srsly.write_jsonl(path, [*done, row])
        return row


def _scores(name: str, rows: List[Dict[str, float]]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for part in ("dev", "test"):
        found.update(common.mean_std(f"{name}_{part}", [row[part] for row in rows]))
    return found


def _seconds_of(path: Path) -> float:
    import srsly

    return sum(trial["seconds"] for trial in srsly.read_json(path)["trials"])


def _write_corpus(args: argparse.Namespace, name: str, folder: Path) -> None:
    import spacy
    from spacy.tokens import DocBin

    from benchmarks import ner_pipelines, pipelines

    nlp = spacy.blank("en")
    for part, size in (QUICK if args.quick else SIZES).items():
        items: Any
        if name == "rotten_tomatoes":
            items = rotten_tomatoes(args)[part]
            make: Any = pipelines.make_examples
            chosen = items.take(common.order(len(items), 0)[:size])
        else:
            items = tagged(args, name)[part]
            make = ner_pipelines.make_examples
            chosen = [items[i] for i in common.order(len(items), 0)[:size]]
        docs = [eg.reference for eg in make(nlp, chosen)]
        DocBin(docs=docs).to_disk(folder / f"{part}.spacy")


if __name__ == "__main__":
    main()
