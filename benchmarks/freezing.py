"""Freezing: whole trainings with cached frozen blocks against loops that recompute them.

MiniLM-L6 on rotten_tomatoes, five epochs, batches of 16, lr 5e-5 with linear warm-up over a tenth
and linear decay, the dev set predicted after each epoch. A training of this project starts at
loading the encoder and includes filling the cache and fitting the probe. The Hugging Face loop
loads and tokenizes once and does the same work in every epoch, so `--peer-epochs` of its epochs are
timed and counted as five.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from benchmarks import common
from benchmarks.common import headline_precision, log, mean_std, order, ratio
from benchmarks.data import LABELS, Texts, rotten_tomatoes
from benchmarks.peers.hf_loop import HFTextcat
from benchmarks.pipelines import (
    BATCH_SIZE,
    adam,
    batches_by_length,
    best_labels,
    make_examples,
    reprtune_textcat,
    train_steps,
)

if TYPE_CHECKING:
    from spacy.language import Language

EPOCHS = 5
Unfreeze = Union[str, int]
# From the most to the least work: each leaves what the next one starts from in the cache.
POINTS: Tuple[Unfreeze, ...] = ("all", 5, 4, 3, 2, 1, "none")
PARTS = ("speed", "sweep", "cache", "accuracy")
# Texts of the sweep part, which trains at seven points: ratios do not depend on their number.
SWEEP_TEXTS = 1600


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--peer-epochs", type=int, default=1, help="epochs of the peer that run")
    parser.add_argument("--texts", type=int, default=None, help="training texts  [default: all]")
    args = parser.parse_args(argv)
    splits = rotten_tomatoes(args)
    common.fix_threads(args.threads)
    train, dev, test = splits["train"], splits["dev"], splits["test"]
    if args.texts:
        train = train.take(order(len(train), 0)[: args.texts])
    if args.quick:
        train, dev, test = (
            part.take(order(len(part), 0)[:n]) for part, n in ((train, 320), (dev, 40), (test, 100))
        )
        args.seeds, args.repeats = 1, 1
    figures: Dict[str, Any] = {"precision": headline_precision(), "epochs": EPOCHS}
    figures["texts"] = len(train)
    if "speed" in args.parts:
        figures.update(compare_speed(train, dev, test, args))
    if "sweep" in args.parts:
        few = train.take(order(len(train), 0)[:SWEEP_TEXTS])
        figures.update(compare_sweeps(few, dev.take(order(len(dev), 0)[:200]), args))
    if "cache" in args.parts:
        figures.update(measure_cache(train))
    if "accuracy" in args.parts:
        figures.update(measure_accuracy(train, dev, test, common.seed_range(args)))
    common.emit("freezing", args, figures)


def compare_speed(
    train: Texts, dev: Texts, test: Texts, args: argparse.Namespace
) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Speed-ups of whole trainings, in rounds of all systems in turn, and
    the test accuracy of ours, whose seed is the number of the round."""
    fitted: Dict[str, List[Any]] = {"2": [], "none": []}

    def train_ours(unfreeze: Unfreeze, seed: int) -> None:
        forget_caches()
        fitted[str(unfreeze)].append(ours(train, dev, unfreeze, seed=seed))

    peers: Dict[str, List[float]] = {"hf_last_2": [], "hf_head": [], "hf_joint": []}
    systems = {
        "ours_last_2": lambda seed: train_ours(2, seed),
        "hf_last_2": lambda _: peers["hf_last_2"].append(peer(train, dev, 2, args.peer_epochs)),
        "ours_head": lambda seed: train_ours("none", seed),
        "hf_head": lambda _: peers["hf_head"].append(peer(train, dev, "none", args.peer_epochs)),
        "hf_joint": lambda _: peers["hf_joint"].append(peer(train, dev, "all", args.peer_epochs)),
    }
    log("warming up")
    # The classes stand one after the other.
    few = train.take(order(len(train), 0)[: 5 * BATCH_SIZE])
    ours(few, few, 2)
    peer(few, few, 2, 1)
    times = common.interleave(systems, args.repeats)
    times.update(peers)
    accuracy: Dict[str, Any] = {}
    for name, pipelines in fitted.items():
        scores = [_accuracy(best_labels(nlp, test.texts), test.labels) for nlp in pipelines]
        accuracy.update(mean_std(f"accuracy_{name}", scores))
    return {
        "peer_epochs_timed": args.peer_epochs,
        **ratio("last_blocks_speedup_vs_hf_frozen", times["hf_last_2"], times["ours_last_2"]),
        **ratio("last_blocks_speedup_vs_hf_joint", times["hf_joint"], times["ours_last_2"]),
        **ratio("head_only_speedup_vs_hf_frozen", times["hf_head"], times["ours_head"]),
        "seconds": {name: round(statistics.median(values), 1) for name, values in times.items()},
        **accuracy,
    }


def compare_sweeps(train: Texts, dev: Texts, args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What all points of a sweep cost, on one cache and in HF loops."""
    from spacy_reprtune.encoder.cache import shared_cache

    cache = shared_cache(2000, None)
    own: List[float] = []
    peers: List[float] = []
    for point in POINTS:
        own.append(common.seconds(lambda p=point: ours(train, dev, p, cache_mb=2000)))
        peers.append(peer(train, dev, point, args.peer_epochs))
        log(f"unfreeze {point!s:<5} ours {own[-1]:7.1f} s  hf {peers[-1]:7.1f} s")
    return {
        "sweep_over_joint": round(sum(own) / own[0], 2),
        "sweep_speedup_vs_hf": round(sum(peers) / sum(own), 2),
        "sweep_seconds": dict(zip(map(str, POINTS), map(round, own), strict=True)),
        "sweep_seconds_hf": dict(zip(map(str, POINTS), map(round, peers), strict=True)),
        "sweep_hit_rate": round(cache.stats.hit_rate, 3),
    }


def measure_cache(train: Texts) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Memory of the cache, and whether a spill changes anything."""
    texts = train.take(order(len(train), 0)[:2000])
    forget_caches()
    nlp = ours(texts, texts.take([0]), 2, epochs=1)
    encoder = nlp.get_pipe("textcat").encoder
    pieces = encoder.tokenize(list(dict.fromkeys(texts.texts)), cached=True)
    payload = sum(len(p) + 2 for p in pieces) * encoder.width * 2
    lengths = [len(row) for row in encoder.cache._rows.values()]
    # A fresh process has no freed memory that rows could go to unnoticed.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        resident = pool.apply(_resident_growth, (lengths, encoder.width))
    with tempfile.TemporaryDirectory() as folder:
        budget = max(1, payload // 10_000_000)
        start = time.perf_counter()
        spilled = ours(texts, texts.take([0]), 2, epochs=2, cache_mb=budget, cache_dir=folder)
        seconds = time.perf_counter() - start
        used = spilled.get_pipe("textcat").encoder.cache.stats
    forget_caches()
    start = time.perf_counter()
    kept = ours(texts, texts.take([0]), 2, epochs=2)
    in_memory = time.perf_counter() - start
    plain = ours(texts, texts.take([0]), 2, epochs=2, cache_mb=0)
    return {
        "cache_bytes_over_payload": round(encoder.cache.stats.memory_bytes / payload, 3),
        "cache_resident_over_payload": round(resident / payload, 3),
        "uncached_bit_equal": _equal(plain, kept),
        "spill_bit_equal": _equal(spilled, kept),
        "spill_disk_mb": round(used.disk_bytes / 1e6, 1),
        "spill_memory_over_budget": round(used.memory_bytes / (budget * 1e6), 3),
        "spill_slowdown": round(seconds / in_memory, 3),
    }


def measure_accuracy(train: Texts, dev: Texts, test: Texts, seeds: Iterable[int]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Test accuracy after the last epoch, and of the probe."""
    from sklearn.linear_model import LogisticRegression

    points: Tuple[Unfreeze, ...] = (3, "all")
    scores: Dict[str, List[float]] = {str(point): [] for point in points}
    for seed in seeds:
        for point in points:
            found = best_labels(ours(train, dev, point, seed=seed), test.texts)
            scores[str(point)].append(_accuracy(found, test.labels))
            log(f"seed {seed}  unfreeze {point!s:<5} accuracy {scores[str(point)][-1]:.4f}")
    figures: Dict[str, Any] = {}
    for name, values in scores.items():
        figures.update(mean_std(f"accuracy_{name}", values))
    figures["last_half_keeps"] = round(figures["accuracy_3"] / figures["accuracy_all"], 4)
    module = ours(train, dev, "none", epochs=1).get_pipe("textcat").head
    regression = LogisticRegression(max_iter=1000).fit(module.vectors(train.texts), train.labels)
    found = regression.predict(module.vectors(test.texts)).tolist()
    figures["probe_accuracy"] = round(_accuracy(found, test.labels), 4)
    return figures


def ours(
    train: Texts,
    dev: Texts,
    unfreeze: Unfreeze = 2,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    **settings: Any,
):
    """Train this project's classifier from loading the encoder on.

    RETURNS (Language): The trained pipeline.
    """
    common.seed_all(seed)
    # Joint training as users of the joint recipe run it; the others start from a probe.
    head_init = "random" if unfreeze == "all" else "probe"
    nlp = reprtune_textcat(headline_precision(), head_init=head_init, unfreeze=unfreeze, **settings)
    examples = make_examples(nlp, train)
    nlp.initialize(lambda: examples)
    optimizer = adam(epochs * -(-len(train) // BATCH_SIZE))
    for epoch in range(epochs):
        train_steps(nlp, optimizer, batches_by_length(examples, 100 * seed + epoch))
        best_labels(nlp, dev.texts)
    return nlp


def peer(train: Texts, dev: Texts, unfreeze: Unfreeze, epochs: int) -> float:
    """Train Hugging Face's classifier in a plain loop.

    RETURNS (float): Seconds of EPOCHS epochs, extrapolated from those that were run.
    """
    common.seed_all(0)
    steps = EPOCHS * -(-len(train) // BATCH_SIZE)
    start = time.perf_counter()
    system = HFTextcat(headline_precision(), steps, unfreeze=unfreeze)
    # Remembers the pieces of both sets, as loops do that tokenize ahead.
    system.encode(train.texts)
    system.encode(dev.texts)
    once = time.perf_counter() - start
    start = time.perf_counter()
    for epoch in range(epochs):
        system.train(train, epoch)
        system.predict(dev.texts)
    return once + (time.perf_counter() - start) * EPOCHS / epochs


def forget_caches() -> None:
    """Let the next training begin without what an earlier one of this process has computed."""
    import gc

    from benchmarks import pipelines
    from spacy_reprtune.encoder import cache

    gc.collect()
    cache._CACHES.clear()
    pipelines._length_batcher.cache_clear()


def _accuracy(found: Sequence[str], gold: Sequence[str]) -> float:
    assert set(found) <= set(LABELS)
    return statistics.fmean(a == b for a, b in zip(found, gold, strict=True))


def _equal(one: "Language", other: "Language") -> bool:
    import torch

    modules = [nlp.get_pipe("textcat").head for nlp in (one, other)]
    return all(map(torch.equal, *(module.parameters() for module in modules)))


def _resident_growth(lengths: Sequence[int], width: int) -> int:
    """RETURNS (int): Bytes by which this process grows with a cache of rows of these lengths."""
    import torch

    from spacy_reprtune.encoder.cache import PrefixCache

    cache = PrefixCache(10**10)
    before = _resident_bytes()
    for i, length in enumerate(lengths):
        cache.put("", [i.to_bytes(16, "big")], [torch.ones(length, width, dtype=torch.bfloat16)])
    return _resident_bytes() - before


def _resident_bytes() -> int:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
