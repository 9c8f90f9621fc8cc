"""One pipeline behind many threads: latency, requests per second, equality, and memory.

The pipelines are untrained text classifiers with the encoder of all benchmarks; they cost what
trained ones do. `reprtune_batched` collects what waits and gives it to `nlp.pipe`, as the server of
docs/serving.md does. The peers are the quickstart of spacy-transformers and the
`text-classification` pipeline of transformers. Memory is measured with a small encoder.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Callable, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.common import log
from benchmarks.data import rotten_tomatoes
from benchmarks.pipelines import make_examples, reprtune_textcat
from benchmarks.small_pipeline import small_pipeline

PARTS = ("latency", "threads", "memory")
CLIENTS = 8
CONCURRENT = 64
# Requests after which memory is compared.
EARLY, LATE = 10_000, 100_000
System = Callable[[str], Any]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=5)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to measure")
    parser.add_argument("--requests", type=int, default=None, help="default 2,000; quick 60")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    texts = rotten_tomatoes(args)["train"]
    requests = args.requests or (60 if args.quick else 2000)
    chosen = texts.take(common.order(len(texts), 0)[:requests]).texts
    figures: Dict[str, Any] = {}
    for part in args.parts:
        figures.update(globals()[f"measure_{part}"](args, chosen))
        log(f"{part}: {figures}")
    common.emit("serving", args, figures)


def measure_latency(args: argparse.Namespace, texts: List[str]) -> Dict[str, Any]:
    """Send texts one after the other, then 64 at a time, to each system in turn.

    RETURNS (Dict[str, Any]): Median and 99th percentile of the latency in milliseconds, requests
        per second, and how many times faster than each peer this project is.
    """
    spacy_transformers, ours = _spacy_transformers(args), _reprtune(args)
    systems: Dict[str, System] = {
        "reprtune": lambda text: ours(text).cats,
        "reprtune_batched": _Batched(ours),
        "spacy_transformers": lambda text: spacy_transformers(text).cats,
        "transformers": _transformers(),
    }
    for system in systems.values():
        _one_by_one(system, texts[:10])
    one_by_one: Dict[str, List[List[float]]] = {name: [] for name in systems}
    together: Dict[str, List[Tuple[List[float], float]]] = {name: [] for name in systems}
    for repeat in range(args.repeats):
        some = texts[repeat :: args.repeats]
        for name, system in systems.items():
            one_by_one[name].append(_one_by_one(system, some))
            together[name].append(_at_once(system, (some * CONCURRENT)[:CONCURRENT]))
    figures: Dict[str, Any] = {}
    for name in systems:
        latencies = [ms for round_ in one_by_one[name] for ms in round_]
        waits = [ms for round_, _ in together[name] for ms in round_]
        total = sum(seconds for _, seconds in together[name])
        figures.update(
            {
                f"{name}_p50_ms": round(statistics.median(latencies), 2),
                f"{name}_p99_ms": round(statistics.quantiles(latencies, n=100)[98], 2),
                f"{name}_per_second": round(1000 * len(latencies) / sum(latencies), 1),
                f"{name}_of_64_p50_ms": round(statistics.median(waits), 1),
                f"{name}_of_64_p99_ms": round(statistics.quantiles(waits, n=100)[98], 1),
                f"{name}_of_64_per_second": round(len(waits) / total, 1),
            }
        )
    for peer in ("spacy_transformers", "transformers"):
        medians = {n: [statistics.median(x) for x in one_by_one[n]] for n in (peer, "reprtune")}
        figures.update(common.ratio(f"speedup_vs_{peer}", medians[peer], medians["reprtune"]))
    # Each system as it is; what batching gains, the peers could gain with a server of their own.
    seconds = {name: [s for _, s in together[name]] for name in systems}
    for name in ("spacy_transformers", "transformers", "reprtune_batched"):
        figures.update(common.ratio(f"of_64_time_of_{name}", seconds[name], seconds["reprtune"]))
    return figures


def measure_threads(args: argparse.Namespace, texts: List[str]) -> Dict[str, Any]:
    """Send all texts from 8 threads to one pipeline, and compare with sequential calls.

    RETURNS (Dict[str, Any]): Requests, threads, and how many answers differ.
    """
    nlp = _reprtune(args)
    expected = [nlp(text).cats for text in texts]
    with ThreadPoolExecutor(CLIENTS) as threads:
        found = list(threads.map(lambda text: nlp(text).cats, texts))
    return {
        "threads_requests": len(texts),
        "threads_clients": CLIENTS,
        "threads_different": sum(a != b for a, b in zip(found, expected, strict=True)),
    }


def measure_memory(args: argparse.Namespace, texts: List[str]) -> Dict[str, Any]:
    """Send different texts, as a server that opens a memory zone for each batch.

    RETURNS (Dict[str, Any]): Memory in MB after 10,000 and 100,000 requests.
    """
    import spacy

    early, late = (EARLY // 20, LATE // 20) if args.quick else (EARLY, LATE)
    with tempfile.TemporaryDirectory() as folder:
        nlp = spacy.load(small_pipeline(args, Path(folder)))
    megabytes: Dict[int, float] = {}
    for number in range(1, late + 1):
        words = texts[number % len(texts)].split()[:6]
        with nlp.memory_zone():
            # A word that no request has had before.
            nlp(" ".join([*words, f"word{number}"]))
        if number in (early, late):
            megabytes[number] = common.memory_mb()
            log(f"{number:,} requests: {megabytes[number]:.1f} MB")
    return {
        "memory_requests": [early, late],
        "memory_mb": [round(megabytes[early], 1), round(megabytes[late], 1)],
        "memory_late_to_early": round(megabytes[late] / megabytes[early], 4),
    }


class _Batched:
    """Collects the texts that wait, and annotates them together in a thread of its own."""

    def __init__(self, nlp: Any) -> None:
        self.nlp = nlp
        self.waiting: Queue[Tuple[str, Future]] = Queue()
        Thread(target=self._work, daemon=True).start()

    def __call__(self, text: str) -> Any:
        answer: Future[Any] = Future()
        self.waiting.put((text, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            batch = [self.waiting.get()]
            while len(batch) < CONCURRENT and not self.waiting.empty():
                batch.append(self.waiting.get())
            docs = self.nlp.pipe([text for text, _ in batch])
            for (_, answer), doc in zip(batch, docs, strict=True):
                answer.set_result(doc.cats)


def _one_by_one(system: System, texts: List[str]) -> List[float]:
    return [1000 * common.seconds(lambda t=text: system(t)) for text in texts]


def _at_once(system: System, texts: List[str]) -> Tuple[List[float], float]:
    """RETURNS (Tuple[List[float], float]): Milliseconds until each answer is there, and seconds
    until all are."""
    with ThreadPoolExecutor(len(texts)) as threads:
        start = time.perf_counter()

        def timed(text: str) -> float:
            system(text)
            return 1000 * (time.perf_counter() - start)

        waits = list(threads.map(timed, texts))
        return waits, time.perf_counter() - start


def _reprtune(args: argparse.Namespace) -> Any:
    return _initialized(args, reprtune_textcat("fp32"))


def _spacy_transformers(args: argparse.Namespace) -> Any:
    from benchmarks.peers.spacy_transformers_textcat import spacy_transformers_textcat

    return _initialized(args, spacy_transformers_textcat())


def _initialized(args: argparse.Namespace, nlp: Any) -> Any:
    texts = rotten_tomatoes(args)["train"]
    examples = make_examples(nlp, texts.take(common.order(len(texts), 0)[:32]))
    nlp.initialize(lambda: examples)
    return nlp


def _transformers() -> System:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    directory = str(common.encoder_directory())
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=2).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    return lambda text: classify(text, top_k=None)


if __name__ == "__main__":
    main()
