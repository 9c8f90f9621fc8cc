"""Base-size encoders: training, annotating, freezing and memory beside the same peers.

    python -m benchmarks.base_size --encoder DIR

DIR is a Hugging Face directory, such as all-mpnet-base-v2 (12 blocks, 768 wide, 109 million
weights). The texts are those of rotten_tomatoes; batches of 16 are grouped by length in this
project and random in the peers, as in `benchmarks.textcat_training`, and `_tuned` is the loop with
length groups and fused AdamW.

- joint: chunks of the training set, everything trains.
- pipe: `nlp.pipe` on sentences of the test set, from raw text to `doc.cats`.
- freezing: five epochs with the last 4 of 12 blocks, from loading the encoder on; one epoch of the
  Hugging Face loop with the same blocks frozen is timed and counted five times.
- memory: the peak of a fresh process that trains jointly on batches of 16, ours and the loop's, at
  the lengths of the data and at 128 pieces.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import common

PARTS = ("joint", "pipe", "freezing", "memory")
LAST_BLOCKS = 4
CHUNK_STEPS = 15
FROZEN_TEXTS = 640
PIPE_TEXTS = 320
MEMORY_STEPS = 6
# Words that make 128 pieces and more; the peers cut at 128.
LONG_WORDS = 110


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    common.add_results(parser)
    parser.add_argument("--encoder", type=Path, required=True, help="directory of the encoder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--worker", nargs=2, metavar=("SYSTEM", "LENGTHS"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    # Before the modules below are imported: they read the encoder's name from there.
    os.environ["BENCHMARK_ENCODER"] = common.ENCODER = str(args.encoder.resolve())
    common.fix_threads(args.threads)
    if args.worker:
        print(json.dumps(peak_of_training(args, *args.worker)))
        return
    from benchmarks.finished import Finished

    finished = Finished(args.results, threads=args.threads)
    measures = {"joint": joint, "pipe": pipe, "freezing": freezing, "memory": memory}
    figures: Dict[str, Any] = {"encoder": args.encoder.name}
    for part in args.parts:
        run = {"part": part, "quick": args.quick, "repeats": args.repeats}
        figures.update(finished.once(lambda p=part: measures[p](args), **run))
    common.emit("base_size", args, figures)


def joint(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Speed-ups of joint training over both peers."""
    from benchmarks.peers.hf_loop import HFTextcat
    from benchmarks.peers.spacy_transformers_textcat import spacy_transformers_textcat
    from benchmarks.pipelines import (
        BATCH_SIZE,
        SpacyTextcat,
        batches_by_length,
        random_batches,
        reprtune_textcat,
    )

    train = _texts(args, "train")
    steps = 2 if args.quick else CHUNK_STEPS
    size = steps * BATCH_SIZE
    chunks = [train.take(range(i * size, (i + 1) * size)) for i in range(args.repeats + 1)]
    # Schedules as long as the timed steps of each.
    total = steps * (args.repeats + 1)
    made = {
        "ours": SpacyTextcat(lambda: reprtune_textcat("fp32"), batches_by_length, chunks[0], total),
        "hf": HFTextcat("fp32", total),
        "hf_tuned": HFTextcat("fp32", total, tuned=True),
        "spacy_transformers": SpacyTextcat(
            spacy_transformers_textcat, random_batches, chunks[0], total
        ),
    }
    for system in made.values():
        system.train(chunks[-1].take(range(2 * BATCH_SIZE)), 0)
    systems = {
        name: lambda r, system=system: system.train(chunks[r], r) for name, system in made.items()
    }
    times = common.interleave(systems, args.repeats)
    return {
        **common.ratio("joint_speedup_vs_hf", times["hf"], times["ours"]),
        **common.ratio("joint_speedup_vs_hf_tuned", times["hf_tuned"], times["ours"]),
        **common.ratio(
            "joint_speedup_vs_spacy_transformers", times["spacy_transformers"], times["ours"]
        ),
        "joint_seconds_per_step": {
            name: round(statistics.median(values) / steps, 2) for name, values in times.items()
        },
    }


def pipe(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The speed-up of `nlp.pipe` over spacy-transformers, in fp32."""
    from benchmarks.peers.spacy_transformers_textcat import spacy_transformers_textcat
    from benchmarks.pipelines import SpacyTextcat, random_batches, reprtune_textcat

    train = _texts(args, "train").take(range(32))
    texts = list(dict.fromkeys(_texts(args, "test").texts))[: 48 if args.quick else PIPE_TEXTS]
    systems = {}
    for name, build in (
        ("ours", lambda: reprtune_textcat("fp32")),
        ("spacy_transformers", spacy_transformers_textcat),
    ):
        nlp = SpacyTextcat(build, random_batches, train, 2).nlp

        def annotate(_: int, nlp: Any = nlp) -> None:
            for doc in nlp.pipe(texts, batch_size=128):
                assert doc.cats

        annotate(0)
        systems[name] = annotate
    times = common.interleave(systems, args.repeats)
    return {
        **common.ratio(
            "pipe_speedup_vs_spacy_transformers", times["spacy_transformers"], times["ours"]
        ),
        "pipe_texts_per_second": {
            name: round(len(texts) / statistics.median(values), 1) for name, values in times.items()
        },
    }


def freezing(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The speed-up of a whole training of the last blocks."""
    from benchmarks.freezing import forget_caches, ours, peer

    train = _texts(args, "train").take(range(64 if args.quick else FROZEN_TEXTS))
    dev = _texts(args, "dev").take(range(16 if args.quick else 80))
    repeats = 1 if args.quick else min(args.repeats, 2)
    # A peer's seconds are those of five epochs, of which one is run; ours are run.
    own: List[float] = []
    peers: List[float] = []
    for _ in range(repeats):
        forget_caches()
        own.append(common.seconds(lambda: ours(train, dev, LAST_BLOCKS)))
        peers.append(peer(train, dev, LAST_BLOCKS, 1))
        common.log(f"last {LAST_BLOCKS} blocks: ours {own[-1]:.0f} s, hf {peers[-1]:.0f} s")
    return {
        **common.ratio("last_blocks_speedup_vs_hf_frozen", peers, own),
        "last_blocks_seconds": {
            "ours": round(statistics.median(own)),
            "hf": round(statistics.median(peers)),
        },
    }


def memory(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Peaks of joint training in MB, and ours over the loop's."""
    figures: Dict[str, Any] = {}
    for lengths in ("data", "long"):
        peaks = {}
        for system in ("ours", "hf"):
            options = ("--encoder", args.encoder.resolve(), "--worker", system, lengths)
            result = common.fresh_process("benchmarks.base_size", args, *options)
            peaks[system] = result["peak_mb"]
            common.log(f"peak of {system}, {lengths}: {result['peak_mb']} MB")
        figures[f"memory_peak_mb_{lengths}"] = peaks
        figures[f"memory_over_hf_{lengths}"] = round(peaks["ours"] / peaks["hf"], 3)
    return figures


def peak_of_training(args: argparse.Namespace, system: str, lengths: str) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): The peak memory of this process after some steps."""
    from benchmarks.data import Texts
    from benchmarks.pipelines import BATCH_SIZE, SpacyTextcat, batches_by_length, reprtune_textcat
    from spacy_reprtune.memory import peak_memory_mb

    train = _texts(args, "train").take(range(MEMORY_STEPS * BATCH_SIZE))
    if lengths == "long":
        words = " ".join(train.texts).split()
        texts, labels = _long(words, train.labels)
        train = Texts(texts, labels)
    if system == "ours":
        made: Any = SpacyTextcat(
            lambda: reprtune_textcat("fp32", window=128), batches_by_length, train, MEMORY_STEPS
        )
    else:
        from benchmarks.peers import hf_loop

        hf_loop.MAX_LENGTH = 128
        made = hf_loop.HFTextcat("fp32", MEMORY_STEPS)
    made.train(train, 0)
    return {"peak_mb": peak_memory_mb()}


def _long(words: List[str], labels: List[str]) -> Tuple[List[str], List[str]]:
    # Texts of one window each, just below its 128 pieces, so that both systems compute the same.
    texts = [" ".join(words[i * 7 : i * 7 + LONG_WORDS - 20]) for i in range(len(labels))]
    return texts, labels


def _texts(args: argparse.Namespace, split: str) -> Any:
    from benchmarks.data import rotten_tomatoes

    texts = rotten_tomatoes(args)[split]
    return texts.take(common.order(len(texts), 0))


if __name__ == "__main__":
    main()
