"""Annotating one very long document: peak memory and time, beside many documents of 1,000 words.

Each measurement is a fresh process that loads the same saved pipeline and reads its own peak
resident set. Texts are rotten_tomatoes sentences in an order that is new each time round, so
all documents differ.
"""

import argparse
import json
import tempfile
from typing import Any, Dict, List, Optional

from benchmarks import common
from benchmarks.common import headline_precision, log
from benchmarks.data import long_document, rotten_tomatoes
from benchmarks.pipelines import make_examples, reprtune_textcat

WORDS_PER_DOC = 1000


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--words", type=int, default=None, help="default 1,000,000; quick 50,000")
    parser.add_argument("--precision", default=None, help="default: bf16 where the CPU has it")
    parser.add_argument("--worker", nargs=3, metavar=("PIPELINE", "DOCS", "WORDS"))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    if args.worker:
        pipeline, docs, words = args.worker
        print(json.dumps(annotate(args, pipeline, int(docs), int(words))))
        return
    with tempfile.TemporaryDirectory() as directory:
        save_pipeline(args, directory)
        figures = measure(args, directory)
    common.emit("memory", args, figures)


def save_pipeline(args: argparse.Namespace, directory: str) -> None:
    """Save a pipeline with an untrained head: its cost is that of a trained one."""
    train = rotten_tomatoes(args)["train"]
    sample = train.take(common.order(len(train), 0)[:32])
    nlp = reprtune_textcat(args.precision or headline_precision())
    examples = make_examples(nlp, sample)
    nlp.initialize(lambda: examples)
    nlp.to_disk(directory)


def measure(args: argparse.Namespace, directory: str) -> Dict[str, Any]:
    """Run the workers one after the other.

    RETURNS (Dict[str, Any]): Peaks in MB, and time per word relative to the shortest document.
    """
    words = args.words or (50_000 if args.quick else 1_000_000)
    lengths = [words // 8, words // 4, words // 2, words]
    baseline = _worker(args, directory, 1, 20)
    singles = [_worker(args, directory, 1, length) for length in lengths]
    many = _worker(args, directory, words // WORDS_PER_DOC, WORDS_PER_DOC)
    single = singles[-1]
    per_word = [s["seconds"] / length for s, length in zip(singles, lengths, strict=True)]
    return {
        "precision": args.precision or headline_precision(),
        "words": words,
        "peak_ratio": round(single["peak_mb"] / many["peak_mb"], 3),
        "peak_single_mb": single["peak_mb"],
        "peak_many_mb": many["peak_mb"],
        "baseline_mb": baseline["peak_mb"],
        "peak_mb_by_words": {
            str(length): s["peak_mb"] for s, length in zip(singles, lengths, strict=True)
        },
        "time_linearity": {
            str(length): round(value / per_word[0], 3)
            for value, length in zip(per_word, lengths, strict=True)
        },
        "words_per_second_single": round(words / single["seconds"]),
        "words_per_second_many": round(words / many["seconds"]),
    }


def annotate(args: argparse.Namespace, pipeline: str, docs: int, words: int) -> Dict[str, float]:
    """Annotate documents one by one, keeping none: what a worker process does.

    RETURNS (Dict[str, float]): Seconds of `nlp.pipe` after a first document, and the peak.
    """
    import spacy

    from spacy_reprtune.memory import peak_memory_mb

    sentences = rotten_tomatoes(args)["train"].texts
    nlp = spacy.load(pipeline)
    # The first window of each length costs extra; what is timed comes after it.
    nlp(long_document(sentences, min(words, 2 * WORDS_PER_DOC), seed=docs))
    texts = [long_document(sentences, words, seed) for seed in range(docs)]
    nlp.max_length = max(nlp.max_length, *(len(text) + 1 for text in texts))

    def consume() -> None:
        for doc in nlp.pipe(texts):
            assert doc.cats

    return {"seconds": common.seconds(consume), "peak_mb": peak_memory_mb()}


def _worker(args: argparse.Namespace, directory: str, docs: int, words: int) -> Dict[str, float]:
    result = common.fresh_process("benchmarks.memory", args, "--worker", directory, docs, words)
    log(f"{docs} documents of {words} words: {result['seconds']:.1f} s, {result['peak_mb']} MB")
    return result


if __name__ == "__main__":
    main()
