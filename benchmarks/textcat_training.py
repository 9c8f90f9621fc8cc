"""Fine-tuning a text classifier: this project, a Hugging Face loop and spacy-transformers.

One epoch of rotten_tomatoes over MiniLM-L6, everything trainable: batches of 16, lr 5e-5 with
linear warm-up over a tenth and linear decay, weight decay 0.01, from raw text on. Speed is measured
on chunks of the same training texts in turn; accuracy on whole epochs, on the test set.

Batches of 16 are grouped by length in this project, and random in the peers' documentation. The
figures `speedup_vs_hf_tuned` (length groups and fused AdamW) and
`speedup_vs_spacy_transformers_grouped` (this project's batcher) give the peers what they lack.
"""

import argparse
import itertools
import statistics
from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence

from benchmarks import common
from benchmarks.common import headline_precision, log, mean_std, order
from benchmarks.data import Texts, rotten_tomatoes
from benchmarks.peers.hf_loop import HFTextcat
from benchmarks.peers.spacy_transformers_textcat import HEADS, spacy_transformers_textcat
from benchmarks.pipelines import (
    BATCH_SIZE,
    SpacyTextcat,
    length_batches,
    random_batches,
    reprtune_textcat,
)

WARM_UP_STEPS = 5
CHUNK_STEPS = 60
QUICK_CHUNK_STEPS = 5
QUICK_TEXTS = 240
PARTS = ("speed", "accuracy")


class System(Protocol):
    """A classifier that trains and predicts."""

    def train(self, texts: Texts, seed: int) -> None: ...

    def predict(self, texts: List[str]) -> List[str]: ...


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=5)
    parser.add_argument(
        "--head", choices=sorted(HEADS), default="reduce", help="spacy-transformers' classifier"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    args = parser.parse_args(argv)
    splits = rotten_tomatoes(args)
    common.fix_threads(args.threads)
    train, test = splits["train"], splits["test"]
    if args.quick:
        train = train.take(order(len(train), 0)[:QUICK_TEXTS])
        test = test.take(order(len(test), 0)[:100])
        args.seeds, args.repeats = 1, 3
    makers = system_makers(train, args.head)
    figures: Dict[str, Any] = {"precision": headline_precision()}
    if "speed" in args.parts:
        figures.update(time_chunks(makers, train, args))
    if "accuracy" in args.parts:
        figures.update(measure_accuracy(makers, train, test, common.seed_range(args)))
    common.emit("textcat_training", args, figures)


def system_makers(train: Texts, head: str) -> Dict[str, Callable[[], System]]:
    """RETURNS (Dict[str, Callable]): Makers of each system, ready to train."""
    steps = -(-len(train) // BATCH_SIZE)

    def ours(precision: str) -> Callable[[], System]:
        return lambda: SpacyTextcat(
            lambda: reprtune_textcat(precision), length_batches(), train, steps
        )

    def stock(batcher: Any) -> Callable[[], System]:
        return lambda: SpacyTextcat(lambda: spacy_transformers_textcat(head), batcher, train, steps)

    makers: Dict[str, Callable[[], System]] = {
        "ours_fp32": ours("fp32"),
        "hf_fp32": lambda: HFTextcat("fp32", steps),
        "spacy_transformers": stock(random_batches),
        "spacy_transformers_grouped": stock(length_batches()),
        "hf_tuned": lambda: HFTextcat(headline_precision(), steps, tuned=True),
    }
    if headline_precision() == "bf16":
        makers["ours_bf16"] = ours("bf16")
        makers["hf_bf16"] = lambda: HFTextcat("bf16", steps)
    return makers


def time_chunks(
    makers: Dict[str, Callable[[], System]], train: Texts, args: argparse.Namespace
) -> Dict[str, Any]:
    """Let every system train on the same chunk of texts in turn.

    RETURNS (Dict[str, Any]): The speed-ups, and the examples per second of each system.
    """
    common.seed_all(0)
    size = BATCH_SIZE * (QUICK_CHUNK_STEPS if args.quick else CHUNK_STEPS)
    shuffled = order(len(train), 1)
    starts = [(i * size) % (len(train) - size + 1) for i in range(args.repeats)]
    chunks = [train.take(shuffled[start : start + size]) for start in starts]
    systems = {name: make() for name, make in makers.items()}
    log(f"warming up {len(systems)} systems")
    for system in systems.values():
        system.train(chunks[-1].take(list(range(WARM_UP_STEPS * BATCH_SIZE))), 0)
    rounds = {name: _trainer(system, chunks) for name, system in systems.items()}
    times = common.interleave(rounds, args.repeats)
    best = headline_precision()
    pairs = {
        "speedup_vs_hf": (f"hf_{best}", f"ours_{best}"),
        "speedup_vs_hf_fp32": ("hf_fp32", "ours_fp32"),
        "speedup_vs_hf_bf16": ("hf_bf16", "ours_bf16"),
        "speedup_vs_hf_tuned": ("hf_tuned", f"ours_{best}"),
    }
    for peer in ("spacy_transformers", "spacy_transformers_grouped"):
        pairs[f"speedup_vs_{peer}"] = (peer, f"ours_{best}")
        pairs[f"speedup_vs_{peer}_fp32"] = (peer, "ours_fp32")
    figures = common.ratios(times, pairs)
    figures["examples_per_second"] = {
        name: round(size / statistics.median(values), 1) for name, values in times.items()
    }
    return figures


def measure_accuracy(
    makers: Dict[str, Callable[[], System]], train: Texts, test: Texts, seeds: Sequence[int]
) -> Dict[str, Any]:
    """Train for an epoch with each seed, at the precision this machine calls for.

    RETURNS (Dict[str, Any]): Test accuracy, and the seconds of each epoch from loading on.
    """
    best = headline_precision()
    names = {
        "": f"ours_{best}",
        "_hf": f"hf_{best}",
        "_spacy_transformers": "spacy_transformers",
    }
    accuracy: Dict[str, List[float]] = {suffix: [] for suffix in names}
    epoch: Dict[str, List[float]] = {suffix: [] for suffix in names}
    # The slowest peer last, so that a run that is cut short has the others whole in its log.
    for group in (["", "_hf"], ["_spacy_transformers"]):
        for seed, suffix in itertools.product(seeds, group):
            name = names[suffix]
            common.seed_all(seed)
            fitted: List[System] = []
            epoch[suffix].append(
                round(common.seconds(lambda n=name, f=fitted, s=seed: _fit(makers[n], train, s, f)))
            )
            found = fitted[0].predict(test.texts)
            hits = [a == b for a, b in zip(found, test.labels, strict=True)]
            accuracy[suffix].append(statistics.fmean(hits))
            log(f"seed {seed}  {name:<28} accuracy {accuracy[suffix][-1]:.4f}")
    figures: Dict[str, Any] = {}
    for suffix in names:
        figures.update(mean_std(f"accuracy{suffix}", accuracy[suffix]))
        figures[f"epoch_seconds{suffix}"] = epoch[suffix]
    return figures


def _fit(make: Callable[[], System], train: Texts, seed: int, into: List[System]) -> None:
    system = make()
    system.train(train, seed)
    into.append(system)


def _trainer(system: System, chunks: List[Texts]) -> Callable[[int], None]:
    return lambda repeat: system.train(chunks[repeat], repeat)


if __name__ == "__main__":
    main()
