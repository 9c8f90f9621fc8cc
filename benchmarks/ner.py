"""Entity recognition: this project, a Hugging Face loop and spacy-transformers.

MiniLM-L6, everything trainable, two epochs of batches of 16 sentences, lr 1e-4 with linear warm-up
over a tenth and linear decay. F1 is that of exact entities on the test set. Every system gets the
words of the data set, so tokenization makes no difference. Batches are grouped by length in this
project, and random in the peers' documentation; `_tuned` and `_grouped` are the peers with such
batches as well.

On `conll2003`, `ours` trains on whole documents and `sentences` on the same sentence by sentence,
both in steps of about 250 words. The other recipes are this project with other settings.

The quality part can be killed and goes on with the same `--results`; several processes with the
same file share the work. Its times mean nothing, so it may run beside others:

    python -m benchmarks.ner --parts quality --threads 1 --results FILE
    python -m benchmarks.ner --parts speed
"""

import argparse
import statistics
import time
from functools import partial
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import headline_precision, log, mean_std, order, ratio
from benchmarks.data import NER_FILES, Tagged, tagged
from benchmarks.ner_pipelines import make_docs
from benchmarks.ner_quality import (
    RECIPES,
    WHOLE_DOCUMENTS,
    Splits,
    make_system,
    measure_quality,
)
from benchmarks.pipelines import BATCH_SIZE

PARTS = ("speed", "quality")
SPEED_DATASET = "ncbi_disease"
WARM_UP_STEPS = 5
CHUNK_STEPS, QUICK_CHUNK_STEPS = 60, 3
QUICK_ITEMS = 160
PIPE_BATCH_SIZE = 128


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=5)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    add(
        "--sets",
        nargs="+",
        choices=NER_FILES,
        default=list(NER_FILES),
        help="data sets of the quality part",
    )
    add(
        "--recipes",
        nargs="+",
        choices=RECIPES,
        default=[],
        help="recipes instead of those of the claims",
    )
    add("--epochs", type=int, default=2, help="epochs of each training")
    add("--chunk-steps", type=int, default=CHUNK_STEPS, help="steps of a timed chunk")
    add("--train-texts", type=int, default=0, help="training sentences, 0 for all")
    common.add_results(parser)
    args = parser.parse_args(argv)
    speed, quality = ("speed" in args.parts), ("quality" in args.parts)
    common.fix_threads(args.threads, cores=speed)
    if args.quick:
        args.sets = [name for name in args.sets if name != WHOLE_DOCUMENTS]
        args.seeds, args.repeats, args.epochs = 1, 3, 1
        args.chunk_steps = QUICK_CHUNK_STEPS
    names = dict.fromkeys([*(args.sets if quality else []), *([SPEED_DATASET] if speed else [])])
    data = {name: tagged(args, name) for name in names}
    if args.quick:
        data = {name: quick(splits) for name, splits in data.items()}
    figures: Dict[str, Any] = {"precision": headline_precision()}
    if speed:
        figures.update(time_training(data[SPEED_DATASET]["train"], args))
        figures.update(time_inference(data[SPEED_DATASET], args))
    if quality:
        figures["epochs"] = args.epochs
        figures.update(measure_quality({name: data[name] for name in args.sets}, args))
        for error in ("ece_before", "ece_after"):
            values = figures.get(f"{SPEED_DATASET}_{error}_per_seed")
            figures.update(mean_std(error, values) if values else {})
    common.emit("ner", args, figures)


def quick(splits: Splits) -> Splits:
    """RETURNS (Splits): A few items of each split."""
    sizes = {"train": QUICK_ITEMS, "dev": 100, "test": 100}
    return {
        split: [items[i] for i in order(len(items), 0)[: sizes[split]]]
        for split, items in splits.items()
    }


def time_training(train: List[Tagged], args: argparse.Namespace) -> Dict[str, Any]:
    """Let every system train on the same chunk of sentences in turn.

    RETURNS (Dict[str, Any]): The speed-ups, and the sentences per second of each system.
    """
    common.seed_all(0)
    size = BATCH_SIZE * args.chunk_steps
    shuffled = order(len(train), 1)
    starts = [(i * size) % (len(train) - size + 1) for i in range(args.repeats)]
    chunks = [[train[i] for i in shuffled[start : start + size]] for start in starts]
    best = headline_precision()
    wanted = [
        (f"{recipe}_{precision}", recipe, precision)
        for precision in dict.fromkeys(["fp32", best])
        for recipe in ("ours", "hf")
    ]
    wanted.append((f"hf_tuned_{best}", "hf_tuned", best))
    for recipe in ("spacy_transformers", "spacy_transformers_grouped"):
        wanted.append((recipe, recipe, "fp32"))
    systems, before = {}, {}
    for name, recipe, precision in wanted:
        start = time.perf_counter()
        systems[name] = make_system(recipe, train, args.epochs, precision)
        # Ours fits a probe there, which no timed step has in it.
        before[name] = round(time.perf_counter() - start, 1)
    log(f"warming up {len(systems)} systems")
    for system in systems.values():
        system.train(chunks[-1][: WARM_UP_STEPS * BATCH_SIZE], 0)
    rounds = {
        name: lambda repeat, system=system: system.train(chunks[repeat], repeat)
        for name, system in systems.items()
    }
    times = common.interleave(rounds, args.repeats)
    grouped = "spacy_transformers_grouped"
    pairs = {
        "training_speedup_vs_hf": (f"hf_{best}", f"ours_{best}"),
        "training_speedup_vs_hf_fp32": ("hf_fp32", "ours_fp32"),
        "training_speedup_vs_hf_tuned": (f"hf_tuned_{best}", f"ours_{best}"),
        "training_speedup_vs_spacy_transformers": ("spacy_transformers", f"ours_{best}"),
        f"training_speedup_vs_{grouped}": (grouped, f"ours_{best}"),
        "training_speedup_vs_spacy_transformers_fp32": ("spacy_transformers", "ours_fp32"),
    }
    figures = common.ratios(times, pairs)
    figures["seconds_before_the_first_step"] = before
    figures["training_sentences_per_second"] = {
        name: round(size / statistics.median(values), 1) for name, values in times.items()
    }
    return figures


def time_inference(splits: Splits, args: argparse.Namespace) -> Dict[str, Any]:
    """Annotate the test sentences with `nlp.pipe` in turn, with the same weights in both precisions
    of this project; and compare what they predict.

    RETURNS (Dict[str, Any]): The speed-ups and the words per second.
    """
    common.seed_all(0)
    train = splits["train"][: BATCH_SIZE * args.chunk_steps]
    make: Callable[..., Any] = partial(make_system, train=train, epochs=1)
    fitted = make("ours", precision="fp32")
    fitted.train(train, 0)
    pipelines = {"ours_fp32": fitted.nlp}
    if headline_precision() == "bf16":
        pipelines["ours_bf16"] = make("ours", precision="bf16").nlp
        pipelines["ours_bf16"].get_pipe("ner").from_bytes(fitted.nlp.get_pipe("ner").to_bytes())
    stock = make("spacy_transformers", precision="fp32")
    stock.train(train, 0)
    pipelines["spacy_transformers"] = stock.nlp
    unique = {" ".join(item.words): item for item in [*splits["test"], *splits["dev"]]}
    items = list(unique.values())
    n_words = sum(len(item.words) for item in items)

    def annotate(nlp: Any) -> Callable[[int], None]:
        def run(repeat: int) -> None:
            for doc in nlp.pipe(make_docs(nlp, items), batch_size=PIPE_BATCH_SIZE):
                assert doc.has_annotation("ENT_IOB")

        return run

    for nlp in pipelines.values():
        annotate(nlp)(0)
    times = common.interleave({n: annotate(nlp) for n, nlp in pipelines.items()}, args.repeats)
    name, peer = "inference_speedup_vs_spacy_transformers", times["spacy_transformers"]
    figures = ratio(name, peer, times[f"ours_{headline_precision()}"])
    figures.update(ratio(f"{name}_fp32", peer, times["ours_fp32"]))
    figures["inference_words_per_second"] = {
        name: round(n_words / statistics.median(values)) for name, values in times.items()
    }
    if "ours_bf16" in pipelines:
        figures.update(compare_precisions(pipelines, items))
    return figures


def compare_precisions(pipelines: Dict[str, Any], items: List[Tagged]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): `agreement_bf16_fp32`, the F1 of the entities in bf16 with those in
    fp32 as gold, and the greatest difference of an entity's score that both have."""
    found = []
    for name in ("ours_fp32", "ours_bf16"):
        nlp = pipelines[name]
        docs = nlp.pipe(make_docs(nlp, items), batch_size=PIPE_BATCH_SIZE)
        found.append([{(e.start, e.end, e.label_): e._.score for e in doc.ents} for doc in docs])
    pairs = list(zip(*found, strict=True))
    both = [(a[key], b[key]) for a, b in pairs for key in a.keys() & b.keys()]
    total = sum(len(a) + len(b) for a, b in pairs)
    return {
        "agreement_bf16_fp32": round(2 * len(both) / max(total, 1), 4),
        "score_max_difference_bf16_fp32": round(max((abs(a - b) for a, b in both), default=0), 4),
    }


if __name__ == "__main__":
    main()
