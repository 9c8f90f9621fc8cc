"""Entity recognition: this project, a Hugging Face loop and spacy-transformers.

MiniLM-L6, everything trainable, two epochs of batches of 16 sentences, lr 1e-4 with linear warm-up
over a tenth and linear decay. F1 is that of exact entities on the test set. Every system gets the
words of the data set, so tokenization makes no difference. Batches are grouped by length in this
project, and random in the peers' documentation.

`conll2003` is this project alone: whole documents, and the same sentence by sentence, both in steps
of about 250 words. `--variants` compares this project's own settings.
"""

import argparse
import itertools
import statistics
from typing import Any, Callable, Dict, List, Optional, Protocol, Tuple

from benchmarks import common
from benchmarks.common import headline_precision, log, mean_std, order, ratio
from benchmarks.data import NER_FILES, Tagged, documents, tagged
from benchmarks.ner_pipelines import (
    LEARN_RATE,
    VARIANTS,
    SpacyNer,
    make_docs,
    make_examples,
    reprtune_ner,
)
from benchmarks.peers.hf_token_classification import HFTokenClassification
from benchmarks.peers.spacy_transformers_ner import spacy_transformers_ner
from benchmarks.pipelines import BATCH_SIZE, batches_by_length, random_batches

SPEED_DATASET = "ncbi_disease"
WHOLE_DOCUMENTS = "conll2003"
# A step of 16 sentences of conll2003 has as many words as one document.
DOCUMENT_BATCH = 1
WARM_UP_STEPS = 5
CHUNK_STEPS = 60
QUICK_CHUNK_STEPS = 3
QUICK_ITEMS = 160
PIPE_BATCH_SIZE = 128

Splits = Dict[str, List[Tagged]]


class System(Protocol):
    """An entity recognizer that trains and predicts."""

    def train(self, items: List[Tagged], seed: int) -> None: ...

    def predict(self, items: List[Tagged]) -> List[Any]: ...


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=5)
    parser.add_argument("--datasets", default=",".join(NER_FILES), help="which data sets")
    parser.add_argument("--variants", default="", help=f"of {','.join(VARIANTS)}: also train these")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each training")
    parser.add_argument(
        "--only", choices=("speed", "quality"), default=None, help="leave the other part out"
    )
    args = parser.parse_args(argv)
    names = [name for name in args.datasets.split(",") if name]
    variants = [name for name in args.variants.split(",") if name]
    for wrong in [n for n in names if n not in NER_FILES] + [
        v for v in variants if v not in VARIANTS
    ]:
        common.fail(f"{wrong!r} is no data set and no variant of this benchmark")
    data = {name: tagged(args, name) for name in dict.fromkeys([*names, SPEED_DATASET])}
    common.fix_threads(args.threads)
    if args.quick:
        data = {name: quick(splits) for name, splits in data.items()}
        names = [name for name in names if name != WHOLE_DOCUMENTS]
        args.seeds, args.repeats, args.epochs = 1, 3, 1
    figures: Dict[str, Any] = {"precision": headline_precision()}
    if args.only != "quality":
        makers = system_makers(data[SPEED_DATASET]["train"], args.epochs)
        figures.update(time_training(makers, data[SPEED_DATASET]["train"], args))
        figures.update(time_inference(data[SPEED_DATASET], args))
    if args.only != "speed":
        for name in names:
            figures.update(measure_quality(name, data[name], variants, args))
    common.emit("ner", args, figures)


def quick(splits: Splits) -> Splits:
    """RETURNS (Splits): A few items of each split."""
    sizes = {"train": QUICK_ITEMS, "dev": 100, "test": 100}
    return {
        split: [items[i] for i in order(len(items), 0)[: sizes[split]]]
        for split, items in splits.items()
    }


def labels_of(items: List[Tagged]) -> List[str]:
    """RETURNS (List[str]): The labels, sorted."""
    return sorted({label for item in items for _, _, label in item.entities})


def ours(
    train: List[Tagged], epochs: int, precision: str, *, size: int = BATCH_SIZE, **settings: Any
) -> Callable[[], SpacyNer]:
    """RETURNS (Callable): What makes this project's system anew, ready to train."""
    steps = epochs * -(-len(train) // size)

    def batcher(examples: List[Any], seed: int) -> Any:
        return batches_by_length(examples, seed, size)

    build = lambda: reprtune_ner(precision, **settings)  # noqa: E731
    return lambda: SpacyNer(build, batcher, train, steps, LEARN_RATE)


def system_makers(train: List[Tagged], epochs: int) -> Dict[str, Callable[[], System]]:
    """RETURNS (Dict[str, Callable]): What makes each system anew, ready to train."""
    steps = epochs * -(-len(train) // BATCH_SIZE)
    labels = labels_of(train)

    def stock(batcher: Any) -> Callable[[], System]:
        return lambda: SpacyNer(spacy_transformers_ner, batcher, train, steps, LEARN_RATE)

    def hf(precision: str) -> Callable[[], System]:
        return lambda: HFTokenClassification(precision, labels, steps, LEARN_RATE)

    makers: Dict[str, Callable[[], System]] = {
        "ours_fp32": ours(train, epochs, "fp32"),
        "hf_fp32": hf("fp32"),
        "spacy_transformers": stock(random_batches),
    }
    if headline_precision() == "bf16":
        makers["ours_bf16"] = ours(train, epochs, "bf16")
        makers["hf_bf16"] = hf("bf16")
    return makers


def time_training(
    makers: Dict[str, Callable[[], System]], train: List[Tagged], args: argparse.Namespace
) -> Dict[str, Any]:
    """Let every system train on the same chunk of sentences in turn.

    RETURNS (Dict[str, Any]): The speed-ups, and the sentences per second of each system.
    """
    common.seed_all(0)
    size = BATCH_SIZE * (QUICK_CHUNK_STEPS if args.quick else CHUNK_STEPS)
    shuffled = order(len(train), 1)
    starts = [(i * size) % (len(train) - size + 1) for i in range(args.repeats)]
    chunks = [[train[i] for i in shuffled[start : start + size]] for start in starts]
    systems = {name: make() for name, make in makers.items()}
    log(f"warming up {len(systems)} systems")
    for system in systems.values():
        system.train(chunks[-1][: WARM_UP_STEPS * BATCH_SIZE], 0)
    rounds = {
        name: lambda repeat, system=system: system.train(chunks[repeat], repeat)
        for name, system in systems.items()
    }
    times = common.interleave(rounds, args.repeats)
    best = headline_precision()
    figures: Dict[str, Any] = {}
    for name, peer, mine in (
        ("training_speedup_vs_hf", f"hf_{best}", f"ours_{best}"),
        ("training_speedup_vs_hf_fp32", "hf_fp32", "ours_fp32"),
        ("training_speedup_vs_spacy_transformers", "spacy_transformers", f"ours_{best}"),
        ("training_speedup_vs_spacy_transformers_fp32", "spacy_transformers", "ours_fp32"),
    ):
        figures.update(ratio(name, times[peer], times[mine]))
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
    steps = 3 if args.quick else 60
    train = splits["train"][: steps * BATCH_SIZE]
    fitted = ours(train, 1, "fp32")()
    fitted.train(train, 0)
    pipelines = {"ours_fp32": fitted.nlp}
    if headline_precision() == "bf16":
        pipelines["ours_bf16"] = ours(train, 1, "bf16")().nlp
        pipelines["ours_bf16"].get_pipe("ner").from_bytes(fitted.nlp.get_pipe("ner").to_bytes())
    stock = SpacyNer(spacy_transformers_ner, random_batches, train, steps, LEARN_RATE)
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


def measure_quality(
    name: str, splits: Splits, variants: List[str], args: argparse.Namespace
) -> Dict[str, Any]:
    """Train each system with each seed at the precision this machine calls for.

    RETURNS (Dict[str, Any]): F1 on the test set, and the calibration error of this project.
    """
    best = headline_precision()
    train = splits["train"]
    makers: Dict[str, Tuple[Callable[[], System], Splits]] = {}
    if name == WHOLE_DOCUMENTS:
        whole = {split: documents(items) for split, items in splits.items()}
        by_document = ours(whole["train"], args.epochs, best, size=DOCUMENT_BATCH)
        makers[""] = by_document, whole
        makers["_sentences"] = ours(train, args.epochs, best), splits
    else:
        peers = system_makers(train, args.epochs)
        makers[""] = peers[f"ours_{best}"], splits
        makers["_hf"] = peers[f"hf_{best}"], splits
        makers["_spacy_transformers"] = peers["spacy_transformers"], splits
    for variant in variants:
        makers[f"_{variant}"] = ours(train, args.epochs, best, **VARIANTS[variant]), splits
    scores: Dict[str, List[float]] = {suffix: [] for suffix in makers}
    errors: Dict[str, List[float]] = {"ece_before": [], "ece_after": []}
    # The slowest peer last, so that a run that is cut short has the others whole in its log.
    slowest = "_spacy_transformers"
    pairs = itertools.product(range(args.seeds), makers)
    for seed, suffix in sorted(pairs, key=lambda pair: pair[1] == slowest):
        make, own = makers[suffix]
        common.seed_all(seed)
        system = make()
        for epoch in range(args.epochs):
            system.train(own["train"], 100 * seed + epoch)
        scores[suffix].append(f1(system.predict(own["test"]), own["test"]))
        log(f"{name}  seed {seed}  {suffix or 'ours':<22} F1 {scores[suffix][-1]:.4f}")
        if suffix == "":
            before, after = calibration(system, own)
            errors["ece_before"].append(before)
            errors["ece_after"].append(after)
            log(f"{name}  seed {seed}  calibration error {before:.4f}, then {after:.4f}")
    figures: Dict[str, Any] = {}
    for suffix, values in scores.items():
        figures.update(mean_std(f"{name}_f1{suffix}", values))
    for figure, values in errors.items():
        figures.update(mean_std(f"{name}_{figure}", values))
        if name == SPEED_DATASET:
            figures.update(mean_std(figure, values))
    return figures


def calibration(system: Any, splits: Splits) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): The expected calibration error on the test set, without a
    temperature and with the one fitted to dev."""
    nlp = system.nlp
    test = make_examples(nlp, splits["test"])
    nlp.evaluate(make_examples(nlp, splits["dev"]))
    errors = [nlp.evaluate(test)["ents_ece"]]
    nlp.get_pipe("ner").calibrate()
    errors.append(nlp.evaluate(test)["ents_ece"])
    before, after = (error or 0.0 for error in errors)
    return before, after


def f1(found: List[Any], gold: List[Tagged]) -> float:
    """RETURNS (float): Micro-averaged F1 of exact entities."""
    pairs = [(set(a), set(item.entities)) for a, item in zip(found, gold, strict=True)]
    right = sum(len(a & b) for a, b in pairs)
    return 2 * right / max(sum(len(a) + len(b) for a, b in pairs), 1)


if __name__ == "__main__":
    main()
