"""Annotating texts: this project, spacy-transformers, and the bare encoder as the limit.

`nlp.pipe` from raw text to `doc.cats`, on single sentences ("short") and on documents of 1 to 60
sentences ("mixed"). The limit is the bare encoder on ready windows sorted by length, at the same
precision and at its best batch size. `share_of_limit` is this project's documents per second over
the limit's.
"""

import argparse
import statistics
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import headline_precision, log, ratio
from benchmarks.data import Texts, mixed_documents, rotten_tomatoes
from benchmarks.peers.hf_loop import BareEncoder
from benchmarks.peers.spacy_transformers_textcat import HEADS, spacy_transformers_textcat
from benchmarks.pipelines import (
    BATCH_SIZE,
    SpacyTextcat,
    best_labels,
    make_examples,
    random_batches,
    reprtune_textcat,
)

if TYPE_CHECKING:
    from spacy.language import Language

BUDGETS = (1024, 2048, 4096)  # padded pieces in a batch of the limit
LIMIT_TRIES = 2  # timings of each setting, the better one counts
PIPE_BATCH_SIZE = 128


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=5)
    parser.add_argument(
        "--head", choices=sorted(HEADS), default="reduce", help="spacy-transformers' classifier"
    )
    args = parser.parse_args(argv)
    splits = rotten_tomatoes(args)
    common.fix_threads(args.threads)
    if args.quick:
        args.repeats = 3
    pipelines = make_pipelines(splits["train"], 5 if args.quick else 60, args.head)
    # No text twice: this project would encode it once.
    sentences = list(dict.fromkeys(splits["test"].texts + splits["dev"].texts))
    n_short, n_mixed = (200, 30) if args.quick else (len(sentences), 300)
    shuffled = [sentences[i] for i in common.order(len(sentences), 0)]
    corpora = {
        "short": shuffled[:n_short],
        "mixed": mixed_documents(splits["train"].texts, n_mixed, seed=0),
    }
    figures: Dict[str, Any] = {"precision": headline_precision()}
    for name, texts in corpora.items():
        log(f"{name}: {len(texts)} documents, {statistics.median(map(len, texts))} characters")
        figures.update(measure_speed(name, texts, pipelines, args))
    figures.update(compare_predictions(pipelines, corpora["short"] + corpora["mixed"][:30]))
    common.emit("textcat_inference", args, figures)


def make_pipelines(train: Texts, steps: int, head: str) -> "Dict[str, Language]":
    """Train this project's pipeline a little, and give the same weights to each precision.

    RETURNS (Dict[str, Language]): "ours_fp32", "ours_bf16" where the CPU has it, and
        "spacy_transformers" with an untrained classifier.
    """
    common.seed_all(0)
    train = train.take(common.order(len(train), 0)[: steps * BATCH_SIZE])
    fitted = SpacyTextcat(lambda: reprtune_textcat("fp32"), random_batches, train, steps)
    fitted.train(train, 0)
    pipelines = {"ours_fp32": fitted.nlp}
    if headline_precision() == "bf16":
        pipelines["ours_bf16"] = reprtune_textcat("bf16")
        # The precision is the new pipeline's own; the weights are the trained one's.
        examples = make_examples(pipelines["ours_bf16"], train)
        pipelines["ours_bf16"].initialize(lambda: examples)
        pipelines["ours_bf16"].get_pipe("textcat").from_bytes(
            fitted.nlp.get_pipe("textcat").to_bytes()
        )
    pipelines["spacy_transformers"] = SpacyTextcat(
        lambda: spacy_transformers_textcat(head), random_batches, train, steps
    ).nlp
    return pipelines


def measure_speed(
    corpus: str, texts: List[str], pipelines: "Dict[str, Language]", args: argparse.Namespace
) -> Dict[str, Any]:
    """Annotate the same texts with every system in turn.

    RETURNS (Dict[str, Any]): Speed-ups, shares of the limit and documents per second.
    """
    systems = {name: annotator(nlp, texts) for name, nlp in pipelines.items()}
    for system in systems.values():
        system(-1)
    limits = {}
    for precision in ["fp32"] + (["bf16"] if headline_precision() == "bf16" else []):
        systems[f"limit_{precision}"], limits[precision] = best_limit(texts, precision)
    times = common.interleave(systems, args.repeats)
    figures: Dict[str, Any] = {}
    for suffix, precision in (("", headline_precision()), ("_fp32", "fp32")):
        ours = times[f"ours_{precision}"]
        speedup = f"{corpus}_speedup_vs_spacy_transformers{suffix}"
        figures.update(ratio(speedup, times["spacy_transformers"], ours))
        figures.update(ratio(f"{corpus}_share_of_limit{suffix}", times[f"limit_{precision}"], ours))
    figures[f"{corpus}_docs_per_second"] = {
        name: round(len(texts) / statistics.median(values), 2) for name, values in times.items()
    }
    figures[f"{corpus}_limit"] = limits
    return figures


def annotator(nlp: "Language", texts: List[str]) -> Callable[[int], None]:
    """RETURNS (Callable): What annotates all texts and drops each doc when it has its scores."""

    def annotate(repeat: int) -> None:
        for doc in nlp.pipe(texts, batch_size=PIPE_BATCH_SIZE):
            assert doc.cats

    return annotate


def best_limit(texts: List[str], precision: str) -> "tuple[Callable[[int], None], str]":
    """Find the bare encoder's best setting: of bf16, weights or products in it; of batch sizes.

    RETURNS (Tuple[Callable, str]): What encodes everything, warmed up, and its setting.
    """
    variants = ("bf16", "autocast") if precision == "bf16" else ("fp32",)
    found = []
    for variant in variants:
        encoder = BareEncoder(variant)
        for budget in BUDGETS:
            batches = encoder.batches(texts, budget)
            encoder.run(batches[:2])
            elapsed = min(
                common.seconds(lambda e=encoder, b=batches: e.run(b)) for _ in range(LIMIT_TRIES)
            )
            log(f"limit  {variant:<9} {budget} pieces {elapsed:8.2f} s")
            found.append((elapsed, f"{variant}, {budget} pieces", encoder, batches))
    _, setting, encoder, batches = min(found, key=lambda row: row[0])
    return lambda repeat: encoder.run(batches), setting


def compare_predictions(pipelines: "Dict[str, Language]", texts: List[str]) -> Dict[str, Any]:
    """Compare precisions, and one text at a time with `nlp.pipe`.

    RETURNS (Dict[str, Any]): `agreement_bf16_fp32`, the share of texts with the same best label,
        and `call_pipe_max_difference` of the fp32 scores.
    """
    nlp = pipelines["ours_fp32"]
    together = [doc.cats for doc in nlp.pipe(texts, batch_size=PIPE_BATCH_SIZE)]
    alone = [nlp(text).cats for text in texts]
    figures: Dict[str, Any] = {
        "call_pipe_max_difference": max(
            abs(a[label] - b[label]) for a, b in zip(together, alone, strict=True) for label in a
        )
    }
    if "ours_bf16" in pipelines:
        labels = [best_labels(pipelines[name], texts) for name in ("ours_fp32", "ours_bf16")]
        same = [a == b for a, b in zip(*labels, strict=True)]
        figures["agreement_bf16_fp32"] = round(statistics.fmean(same), 4)
        figures["agreement_texts"] = len(texts)
    return figures


if __name__ == "__main__":
    main()
