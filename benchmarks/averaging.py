"""Whether the mean of the weights over the later steps is better than the last weights.

Each training is scored twice or more at its end: with the last weights, as every recipe does, and
with the mean over the weights after each step from a share of the steps on. So the systems have the
same steps, and a difference is paired by seed. The schedule is that of the recipes: linear warm-up,
then linear decay.
"""

import copy
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from benchmarks import common, data

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

SETS = ("rotten_tomatoes", "ncbi_disease", "wnut17")
TRAIN, TEST, EPOCHS = 2000, 1000, 1
SHARES = (0.5, 0.75)


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=1)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    figures: Dict[str, Any] = {}
    for name in args.sets:
        runs = [measure(args, name, seed) for seed in common.seed_range(args)]
        for system in runs[0]:
            for k, key in enumerate(("score", "ece")):
                values = [run[system][k] for run in runs]
                figures.update(common.mean_std(f"{name}_{system}_{key}", values))
                if system != "last":
                    gains = [run[system][k] - run["last"][k] for run in runs]
                    figures.update(common.mean_std(f"{name}_{system}_{key}_gain", gains))
    common.emit("averaging", args, figures)


def measure(args: Any, name: str, seed: int) -> Dict[str, Tuple[float, float]]:
    """RETURNS (Dict[str, Tuple[float, float]]): Score and calibration error on test, by system."""
    from benchmarks.pipelines import adam, batches_by_length, train_steps

    common.seed_all(seed)
    nlp, train, test = prepared(args, name)
    nlp.initialize(lambda: train)
    batches = [b for epoch in range(EPOCHS) for b in batches_by_length(train, 10 * seed + epoch)]
    optimizer = adam(len(batches), 5e-5)
    module = nlp.pipeline[0][1].shim.module  # type: ignore[attr-defined]
    means = {share: Mean(module) for share in SHARES}
    for step, batch in enumerate(batches, 1):
        train_steps(nlp, optimizer, [batch])
        for share, mean in means.items():
            if step > share * len(batches):
                mean.add()
    results = {"last": scored(nlp, test)}
    for share, mean in means.items():
        mean.use()
        results[f"from_{share:g}"] = scored(nlp, test)
    common.log(f"{name} {seed}, {len(batches)} steps: {results}")
    return results


class Mean:
    """The mean of a module's weights over some steps."""

    def __init__(self, module: Any) -> None:
        """module (Module): The module."""
        self.module, self.n_steps = module, 0
        self.sums: Dict[str, Any] = {}

    def add(self) -> None:
        """Count the present weights in."""
        self.n_steps += 1
        for name, weight in self.module.named_parameters():
            value = weight.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def use(self) -> None:
        """Give the mean to the module."""
        weights = dict(self.module.named_parameters())
        for name, total in self.sums.items():
            weights[name].data.copy_(total / self.n_steps)
        self.module.encoder.weights_changed()


def scored(nlp: "Language", test: List["Example"]) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): Macro F of texts or F of entities, and calibration error."""
    scores = nlp.evaluate(copy.copy(test))
    kind, key = ("cats", "cats_score") if "cats_score" in scores else ("ents", "ents_f")
    return scores[key], scores[f"{kind}_ece"] or 0.0


def prepared(args: Any, name: str) -> Tuple["Language", List["Example"], List["Example"]]:
    """RETURNS (Tuple[Language, List[Example], List[Example]]): A pipeline, and what it trains on
    and is scored on."""
    from benchmarks import ner_pipelines, pipelines

    n_train, n_test = (96, 60) if args.quick else (TRAIN, TEST)
    if name == "rotten_tomatoes":
        nlp, make = pipelines.reprtune_textcat("fp32"), pipelines.make_examples
        sets: Dict[str, Any] = data.rotten_tomatoes(args)
    else:
        nlp, make = ner_pipelines.reprtune_ner("fp32"), ner_pipelines.make_examples
        sets = data.tagged(args, name)
    parts = []
    for split, size in (("train", n_train), ("test", n_test)):
        items = sets[split]
        chosen = common.order(len(items), 0)[:size]
        part = items.take(chosen) if hasattr(items, "take") else [items[i] for i in chosen]
        parts.append(make(nlp, part))
    return nlp, parts[0], parts[1]


if __name__ == "__main__":
    main()
