"""One pipeline behind many threads: requests per second, latency, equality with sequential calls.

The pipeline is an untrained text classifier; its cost is that of a trained one. Beside it, the
`text-classification` pipeline of transformers with the same encoder and an untrained head.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.data import rotten_tomatoes
from benchmarks.pipelines import make_examples, reprtune_textcat


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    parser.add_argument("--clients", type=int, default=8, help="threads that send requests")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    texts = rotten_tomatoes(args)["train"]
    chosen = texts.take(common.order(len(texts), 0)[: 60 if args.quick else 2000])
    systems = {"reprtune": _reprtune(chosen), "transformers": _transformers()}
    figures: Dict[str, Any] = {"requests": len(chosen.texts), "clients": args.clients}
    for system in systems.values():
        for text in chosen.texts[:20]:
            system(text)
    for name, system in systems.items():
        figures.update({f"{name}_{k}": v for k, v in _measure(args, system, chosen.texts).items()})
    figures["p50_speedup"] = round(
        figures["transformers_p50_ms"] / max(figures["reprtune_p50_ms"], 1e-9), 3
    )
    common.emit("serving", args, figures)


def _measure(
    args: argparse.Namespace, system: Callable[[str], Any], texts: List[str]
) -> Dict[str, Any]:
    latencies: List[float] = []
    expected = []
    for text in texts:
        start = time.perf_counter()
        expected.append(system(text))
        latencies.append(1000 * (time.perf_counter() - start))
    with ThreadPoolExecutor(args.clients) as threads:
        start = time.perf_counter()
        found = list(threads.map(system, texts))
        concurrent = time.perf_counter() - start
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "p50_ms": round(statistics.median(latencies), 2),
        "p99_ms": round(cuts[98], 2),
        "requests_per_second_sequential": round(1000 * len(texts) / sum(latencies), 1),
        "requests_per_second_concurrent": round(len(texts) / concurrent, 1),
        "different_from_sequential": sum(a != b for a, b in zip(found, expected, strict=True)),
    }


def _reprtune(texts: Any) -> Callable[[str], Any]:
    nlp = reprtune_textcat("fp32")
    examples = make_examples(nlp, texts.take(list(range(32))))
    nlp.initialize(lambda: examples)
    return lambda text: nlp(text).cats


def _transformers() -> Callable[[str], Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    directory = str(common.encoder_directory())
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=2).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    return lambda text: classify(text, top_k=None)


if __name__ == "__main__":
    main()
