"""Few-shot training: this project's SetFit, the library's own trainer, and the linear probe.

all-MiniLM-L6-v2. Ours: all pairs of batches of 32, the steps and rate of textcat_setfit.cfg.
The library: its default (all pairs), and the book's setting of 20 iterations. Time is from loading
the encoder to a model that can predict. The library computes in fp32; ours in the precision that
the machine calls for, `_fp32` compares like with like. Where the library's default would take
more than `--peer-steps` steps, so many are timed and scaled to all of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.common import ENCODER, headline_precision, log, mean_std, ratio
from benchmarks.data import Texts, rotten_tomatoes
from benchmarks.few_shot_data import FewShot, docstring_sets, rotten_tomatoes_few
from benchmarks.memory import _peak_mb
from benchmarks.peers.setfit_trainer import SetFitPeer, steps_of
from benchmarks.pipelines import best_labels

if TYPE_CHECKING:
    from spacy.language import Language

STEPS, RATE, BATCH_SIZE = 40, 5e-5, 32
BOOK_ITERATIONS = 20
STEP_COUNTS = (10, 20, 40, 60, 100, 160)
PARTS = ("compare", "exact", "memory", "steps")
SETS = ("rotten_tomatoes", "topics_8", "topics_16", "modules_8")
MEMORY_CLASSES = 77


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5, repeats=1)
    # "steps" is how the default number of steps was found; it compares with nobody.
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3], help="what to do")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="data sets")
    parser.add_argument(
        "--peer-steps", type=int, default=60, help="steps of the library's default that run"
    )
    parser.add_argument("--worker", nargs=2, metavar=("SYSTEM", "PER_CLASS"))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    if args.worker:
        print(json.dumps(measure_peak(args, args.worker[0], int(args.worker[1]))))
        return
    if args.quick:
        args.seeds, args.sets = 1, ["rotten_tomatoes"]
        args.parts = [part for part in args.parts if part != "memory"]
    sets = load_sets(args)
    figures: Dict[str, Any] = {"precision": headline_precision(), "steps": STEPS}
    if "compare" in args.parts:
        figures.update(compare(sets, args))
    if "exact" in args.parts:
        figures.update(check_exactness(sets[0]))
    if "memory" in args.parts:
        figures.update(compare_memory(args))
    if "steps" in args.parts:
        figures.update(find_steps(sets, args.seeds))
    common.emit("setfit", args, figures)


def load_sets(args: argparse.Namespace) -> List[FewShot]:
    """RETURNS (List[FewShot]): The sets that were asked for."""
    few, test = (8, 200) if args.quick else (16, 1066)
    made = {"rotten_tomatoes": rotten_tomatoes_few(args, few, test)}
    if set(args.sets) - set(made):
        made.update(docstring_sets())
    for name in args.sets:
        train, test_set = made[name].train, made[name].test
        log(f"{name}: {len(set(train.labels))} labels, {len(train)} and {len(test_set)} texts")
    return [made[name] for name in args.sets]


def compare(sets: List[FewShot], args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Accuracies, and speed-ups in rounds of all systems in turn."""
    figures: Dict[str, Any] = {}
    book_over_ours: List[float] = []
    default_over_ours: List[float] = []
    means: Dict[str, List[float]] = {"": [], "_setfit": [], "_probe": []}
    few = sets[0].sample(99)
    ours(few, 99, steps=2)
    run_peer(few, few, 99, None, 2)
    for data in sets:
        times: Dict[str, List[float]] = {}
        scores: Dict[str, List[float]] = {}
        for seed in range(args.seeds):
            sample = data.sample(seed)
            for name, (seconds, score) in one_round(data, sample, seed, args.peer_steps).items():
                times.setdefault(name, []).append(seconds)
                if score is not None:
                    scores.setdefault(name, []).append(score)
                log(f"{data.name} seed {seed}  {name:<10} {seconds:9.1f} s  accuracy {score}")
        for name, suffix in (
            ("ours", ""),
            ("ours_fp32", "_fp32"),
            ("book", "_setfit"),
            ("default", "_setfit_default"),
            ("probe", "_probe"),
        ):
            if name in scores:
                figures.update(mean_std(f"{data.name}_accuracy{suffix}", scores[name]))
        for suffix, values in means.items():
            values.append(figures[f"{data.name}_accuracy{suffix}"])
        prefix = f"{data.name}_speedup_vs_setfit"
        figures.update(ratio(f"{prefix}_book", times["book"], times["ours"]))
        figures.update(ratio(f"{prefix}_book_fp32", times["book"], times["ours_fp32"]))
        figures.update(ratio(f"{prefix}_default", times["default"], times["ours"]))
        figures[f"{data.name}_seconds"] = {
            name: round(statistics.median(values), 1) for name, values in times.items()
        }
        pairs = zip(times["book"], times["ours"], strict=True)
        book_over_ours += [peer / own for peer, own in pairs]
        if len(set(data.train.labels)) >= 16:
            pairs = zip(times["default"], times["ours"], strict=True)
            default_over_ours += [peer / own for peer, own in pairs]
    figures.update(ratio("speedup_vs_setfit_book", book_over_ours, [1.0] * len(book_over_ours)))
    if default_over_ours:
        ones = [1.0] * len(default_over_ours)
        figures.update(ratio("speedup_vs_setfit_default", default_over_ours, ones))
    for suffix, values in means.items():
        figures[f"mean_accuracy{suffix}"] = round(statistics.fmean(values), 4)
    return figures


def one_round(
    data: FewShot, sample: Texts, seed: int, peer_steps: int
) -> Dict[str, Tuple[float, Optional[float]]]:
    """RETURNS (Dict[str, Tuple[float, Optional[float]]]): Seconds and accuracy of each system."""
    results: Dict[str, Tuple[float, Optional[float]]] = {}
    start = time.perf_counter()
    nlp = ours(sample, seed, steps=0)
    results["probe"] = time.perf_counter() - start, accuracy(nlp, data.test)
    for name, precision in (("ours", headline_precision()), ("ours_fp32", "fp32")):
        start = time.perf_counter()
        nlp = ours(sample, seed, precision=precision)
        results[name] = time.perf_counter() - start, accuracy(nlp, data.test)
    results["book"] = run_peer(data.test, sample, seed, BOOK_ITERATIONS, None)
    results["default"] = run_peer(data.test, sample, seed, None, peer_steps)
    return results


def ours(
    sample: Texts, seed: int, *, steps: int = STEPS, precision: Optional[str] = None
) -> "Language":
    """Train this project's component from loading the encoder to a solved head.

    RETURNS (Language): The trained pipeline.
    """
    import spacy
    from spacy.training import Example
    from spacy.util import registry
    from thinc.api import Adam, warmup_linear

    common.seed_all(seed)
    nlp = spacy.blank("en")
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": ENCODER,
        "precision": precision or headline_precision(),
    }
    model = {"@architectures": "spacy_reprtune.SentenceClassifier.v1", "encoder": encoder}
    pipe: Any = nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": model})
    labels = sorted(set(sample.labels))
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {k: float(k == gold) for k in labels}})
        for text, gold in zip(sample.texts, sample.labels, strict=True)
    ]
    nlp.initialize(lambda: examples)
    optimizer = Adam(
        warmup_linear(RATE, max(1, steps // 10), steps) if steps else RATE,  # type: ignore[arg-type]
        L2=0.01,
        grad_clip=1.0,
        use_averages=False,
        L2_is_weight_decay=True,
    )
    batcher = registry.batchers.get("spacy_reprtune.batch_by_class.v1")(size=BATCH_SIZE, seed=seed)
    done = epoch = 0
    while done < steps:
        shuffled = [examples[i] for i in common.order(len(examples), 1000 * seed + epoch)]
        epoch += 1
        for batch in batcher(shuffled):
            if done < steps:
                nlp.update(batch, sgd=optimizer, losses={})
                optimizer.step_schedules()
                done += 1
    pipe.refit()
    return nlp


def run_peer(
    test: Texts, sample: Texts, seed: int, iterations: Optional[int], limit: Optional[int]
) -> Tuple[float, Optional[float]]:
    """Train with the library.

    test, sample (Texts): To score, and to train with.
    seed (int): Of the trainer.
    iterations (Optional[int]): The book's setting, or None for the library's default.
    limit (Optional[int]): The most steps that run, or None.
    RETURNS (Tuple[float, Optional[float]]): Seconds, scaled to all steps if there are more than
        the limit; and accuracy, None if there are.
    """
    steps = steps_of(sample.labels, iterations)
    start = time.perf_counter()
    if limit is None or steps <= limit:
        peer = SetFitPeer(sample.texts, sample.labels, num_iterations=iterations, seed=seed)
        peer.train()
        seconds = time.perf_counter() - start
        found = peer.predict(test.texts)
        return seconds, _share(found, test.labels)
    # Two lengths: what is not a step (loading, making pairs) is in both.
    timed = []
    for n in (max(1, limit // 4), limit):
        peer = SetFitPeer(
            sample.texts, sample.labels, num_iterations=iterations, seed=seed, max_steps=n
        )
        timed.append((n, peer.train_body()))
    (few, short), (many, long) = timed
    return long + (steps - many) * (long - short) / (many - few), None


def accuracy(nlp: "Language", test: Texts) -> float:
    """RETURNS (float): Share of texts whose best label is the gold one."""
    return _share(best_labels(nlp, test.texts), test.labels)


def check_exactness(data: FewShot) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Whether a seed decides all bytes, and how far probabilities move
    on the way to the library and back."""
    import numpy
    from setfit import SetFitModel

    from spacy_reprtune.components.setfit_exchange import export_setfit, import_setfit

    sample, texts = data.sample(0), data.test.texts[:200]
    runs = [ours(sample, 0, steps=20, precision="fp32") for _ in range(2)]
    nlp = runs[0]

    def probabilities(nlp: "Language") -> Any:
        return numpy.array([list(doc.cats.values()) for doc in nlp.pipe(texts)])

    with tempfile.TemporaryDirectory() as folder:
        out, back = Path(folder, "out"), Path(folder, "back")
        export_setfit(nlp.get_pipe("textcat"), out)  # type: ignore[arg-type]
        theirs = SetFitModel.from_pretrained(str(out))
        own, library = probabilities(nlp), theirs.predict_proba(texts, as_numpy=True)
        theirs.save_pretrained(str(back))
        again = probabilities(import_setfit(back, trust_pickle=True, precision="fp32"))
    return {
        "same_seed_same_bytes": runs[0].to_bytes() == runs[1].to_bytes(),
        "export_difference": float(numpy.abs(library - own).max()),
        "import_difference": float(numpy.abs(again - library).max()),
    }


def compare_memory(args: argparse.Namespace) -> Dict[str, Any]:
    """Peak memory of training with more and more texts a label, many labels.

    RETURNS (Dict[str, Any]): Peaks in MB, and how fast their growth grows from the first to the
        second doubling: 2 for what is linear in the texts, 4 for what is linear in pairs. A growth
        that drowns in noise gives nothing to divide.
    """
    sizes = (4, 8, 16)
    figures: Dict[str, Any] = {"memory_classes": MEMORY_CLASSES}
    for system, suffix in (("ours", ""), ("setfit", "_setfit")):
        peaks = {size: _worker(args, system, size) for size in sizes}
        low, middle, high = peaks.values()
        figures[f"peak_mb{suffix}"] = {str(size): peak for size, peak in peaks.items()}
        figures[f"peak_growth_mb{suffix}"] = [round(middle - low, 1), round(high - middle, 1)]
    return figures


def measure_peak(args: argparse.Namespace, system: str, per_class: int) -> float:
    """RETURNS (float): Peak memory in MB of making all that a training needs, and two steps."""
    n = MEMORY_CLASSES * per_class
    texts = rotten_tomatoes(args)["train"].texts[:n]
    sample = Texts(texts, [str(i % MEMORY_CLASSES) for i in range(n)])
    if system == "ours":
        ours(sample, 0, steps=2)
    else:
        peer = SetFitPeer(sample.texts, sample.labels, num_iterations=None, seed=0, max_steps=2)
        peer.train()
    return round(_peak_mb(), 1)


def find_steps(sets: List[FewShot], seeds: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Accuracy after trainings of several lengths."""
    figures: Dict[str, Any] = {}
    for data in sets:
        for steps in STEP_COUNTS:
            scores = [
                accuracy(ours(data.sample(seed), seed, steps=steps), data.test)
                for seed in range(seeds)
            ]
            figures.update(mean_std(f"{data.name}_accuracy_{steps}_steps", scores))
            log(f"{data.name}  {steps} steps: {statistics.fmean(scores):.4f}")
    return figures


def _share(found: List[str], gold: List[str]) -> float:
    return statistics.fmean(a == b for a, b in zip(found, gold, strict=True))


def _worker(args: argparse.Namespace, system: str, per_class: int) -> float:
    command = [sys.executable, "-m", "benchmarks.setfit", "--threads", str(args.threads)]
    command += ["--data", str(args.data.resolve())] if args.data else []
    command += ["--worker", system, str(per_class)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    peak = float(json.loads(done.stdout.splitlines()[-1]))
    log(f"{system}, {per_class} of each of {MEMORY_CLASSES} labels: {peak} MB")
    return peak


if __name__ == "__main__":
    main()
