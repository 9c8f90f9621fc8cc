"""To how many texts a head that starts from a probe has to be fitted before the encoder trains.

Each training is joint and has the same steps. The systems differ in the start of the head: random,
or a probe on so many texts. Accuracy on test right after the start and after training, and seconds
of `nlp.initialize`, on rotten_tomatoes.
"""

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from benchmarks import common, data

if TYPE_CHECKING:
    from spacy.training import Example

STEPS, RATE = 250, 1e-4
# 0 stands for a random head, and the last one for all texts.
SIZES = (0, 1000, 2000, 1_000_000)


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    args = common.parser(__doc__, seeds=3, repeats=1).parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    runs: Dict[int, List[Dict[str, float]]] = {size: [] for size in SIZES}
    for seed in common.seed_range(args):
        for size in SIZES:
            runs[size].append(measure(args, size, seed))
            common.log(f"{size} texts, seed {seed}: {runs[size][-1]}")
    figures: Dict[str, Any] = {"precision": "fp32", "steps": 2 if args.quick else STEPS}
    for size, found in runs.items():
        for key in found[0]:
            figures.update(common.mean_std(f"{size}_texts_{key}", [run[key] for run in found]))
    common.emit("probe_start", args, figures)


def measure(args: Any, size: int, seed: int) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Accuracy before and after training, seconds to initialize."""
    from benchmarks import pipelines
    from spacy_reprtune.components import probe_start

    texts = data.rotten_tomatoes(args)
    probe_start.PROBE_TEXTS = size
    common.seed_all(seed)
    nlp = pipelines.reprtune_textcat("fp32", head_init="probe" if size else "random")
    most = 64 if args.quick else None
    train, test = (
        pipelines.make_examples(nlp, part.take(common.order(len(part.texts), 0)[:most]))
        for part in (texts["train"], texts["test"])
    )
    start = time.perf_counter()
    nlp.initialize(lambda: train)
    seconds = time.perf_counter() - start
    before = nlp.evaluate(test)["cats_micro_f"]
    steps = 2 if args.quick else STEPS
    batches: List[List[Example]] = []
    while len(batches) < steps:
        batches += pipelines.batches_by_length(train, 1000 * seed + len(batches))
    pipelines.train_steps(nlp, pipelines.adam(steps, RATE), batches[:steps])
    after = nlp.evaluate(test)["cats_micro_f"]
    return {"start": before, "trained": after, "initialize_s": round(seconds, 1)}


if __name__ == "__main__":
    main()
