"""Few-shot training: this project's SetFit, the library's own trainer, and the linear probe.

all-MiniLM-L6-v2. Ours: all pairs of batches of 32, the steps and rate of textcat_setfit.cfg, and
the library's loss, "cosine"; `_supcon` has the supervised contrastive loss, the default, and
`_names` is trained with it twice, the second time with texts made of the names of the labels, and
the better one on dev counts. The library: its default (all pairs), and the book's setting of 20
iterations. Time is from loading the encoder to a model that can predict. The library computes in
fp32; ours in the precision that the machine calls for, `_fp32` compares like with like. Where the
library's default would take more than `--cap-minutes`, some steps are timed and the rest is
extrapolated; the figures say so. With `--results FILE` a run that was stopped resumes where it
stopped.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from benchmarks import common
from benchmarks.common import headline_precision, log, mean_std, ratio
from benchmarks.data import Texts, rotten_tomatoes
from benchmarks.few_shot_data import FewShot, docstring_sets, rotten_tomatoes_few
from benchmarks.few_shot_systems import (
    BATCH_SIZE,
    RATE,
    STEPS,
    SYSTEMS,
    accuracy,
    ours,
    run_peer,
    train,
)
from benchmarks.finished import Finished
from benchmarks.peers.setfit_trainer import SetFitPeer

if TYPE_CHECKING:
    from spacy.language import Language

STEP_COUNTS = (10, 20, 30, 40)
VARIANTS: Dict[str, Dict[str, Any]] = {
    "cosine": {"contrastive": "cosine"},
    "supcon": {"contrastive": "supcon"},
    "steps_30": {"steps": 30},
    "rate_7.5e-5": {"rate": 7.5e-5},
    "rate_1e-4": {"rate": 1e-4},
}
PARTS = ("compare", "exact", "memory", "steps", "variants")
SETS = ("rotten_tomatoes", "topics_8", "topics_16", "modules_8")
MEMORY_CLASSES = 77


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5, repeats=1)
    # "steps" and "variants" are how defaults were found; they compare with nobody.
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3], help="what to do")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="data sets")
    # The library pads to the longest of a batch: on long texts its trainings take hours on a CPU.
    parser.add_argument(
        "--words", type=int, help="cut the texts of every system to this many words"
    )
    parser.add_argument(
        "--cap-minutes",
        type=float,
        default=20.0,
        help="the longest training with the library's default that runs; longer ones are "
        "extrapolated from some steps",
    )
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="what to compare"
    )
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="on dev"
    )
    common.add_results(parser)
    parser.add_argument("--worker", nargs=2, metavar=("SYSTEM", "PER_CLASS"))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores="compare" in args.parts)
    if args.worker:
        print(json.dumps(measure_peak(args, args.worker[0], int(args.worker[1]))))
        return
    if args.quick:
        args.seeds, args.sets = 1, ["rotten_tomatoes"]
        args.parts = [part for part in args.parts if part != "memory"]
    sets = load_sets(args)
    # Another machine or other settings give other results; they can share a file all the same.
    results = Finished(
        args.results,
        threads=args.threads,
        quick=args.quick,
        recipe=[STEPS, RATE, BATCH_SIZE],
    )
    figures: Dict[str, Any] = {"precision": headline_precision(), "steps": STEPS}
    if "compare" in args.parts:
        figures.update(compare(sets, args, results))
    if "exact" in args.parts:
        found = results.once(lambda: check_exactness(sets[0]), part="exact", set=sets[0].name)
        figures.update(found)
    if "memory" in args.parts:
        figures.update(compare_memory(args, results))
    if "steps" in args.parts:
        figures.update(find_steps(sets, args, results))
    if "variants" in args.parts:
        figures.update(compare_variants(sets, args, results))
    common.emit("setfit", args, figures)


def load_sets(args: argparse.Namespace) -> List[FewShot]:
    """RETURNS (List[FewShot]): The sets that were asked for."""
    few, test = (8, 200) if args.quick else (16, 1066)
    made = {"rotten_tomatoes": rotten_tomatoes_few(args, few, test)}
    if set(args.sets) - set(made):
        made.update(docstring_sets())
    sets = [made[name] for name in args.sets]
    if args.words:
        sets = [data.shortened(args.words) for data in sets]
    for data in sets:
        n_labels = len(set(data.train.labels))
        log(f"{data.name}: {n_labels} labels, {len(data.train)} and {len(data.test)} texts")
    return sets


def compare(sets: List[FewShot], args: argparse.Namespace, results: Finished) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Accuracies, and speed-ups in rounds of all systems in turn."""
    figures: Dict[str, Any] = {}
    book_over_ours: List[float] = []
    default_over_ours: List[float] = []
    means: Dict[str, List[float]] = {}
    warm = False
    for data in sets:
        rows: Dict[str, Dict[int, Dict[str, Any]]] = {name: {} for name in SYSTEMS}
        for seed in common.seed_range(args):
            for name in SYSTEMS:
                key = {"part": "compare", "set": data.name, "system": name, "seed": seed}
                if name == "default":
                    key["cap_minutes"] = args.cap_minutes
                known = results.has(**key)
                if name not in args.systems and not known:
                    continue
                if not warm and not known:
                    # Imports and first calls do not belong to any training.
                    few = sets[0].sample(99)
                    ours(few, 99, steps=2)
                    run_peer(few, few, 99, None, cap_seconds=0.0)
                    warm = True
                row = results.once(lambda n=name, d=data, s=seed: train(n, d, s, args), **key)
                rows[name][seed] = row
                log(f"{data.name} seed {seed}  {name:<11} {_shown(row)}")
        for name, suffix in SYSTEMS.items():
            for score in ("accuracy", "f1"):
                found = [row[score] for row in rows[name].values() if row.get(score) is not None]
                if found:
                    figures.update(mean_std(f"{data.name}_{score}{suffix}", found))
            if f"{data.name}_accuracy{suffix}" in figures:
                means.setdefault(suffix, []).append(figures[f"{data.name}_accuracy{suffix}"])
        prefix = f"{data.name}_speedup_vs_setfit"
        book = _times_faster(rows["ours"], rows["book"])
        book_fp32 = _times_faster(rows["ours_fp32"], rows["book"])
        default = _times_faster(rows["ours"], rows["default"])
        figures.update(_speedup(f"{prefix}_book", book))
        figures.update(_speedup(f"{prefix}_book_fp32", book_fp32))
        figures.update(_speedup(f"{prefix}_default", default))
        book_over_ours += book
        default_over_ours += default
        extrapolated = [
            row for row in rows["default"].values() if row["measured_steps"] < row["steps"]
        ]
        if extrapolated:
            # Whoever reads the speed-up has to see that those seconds did not pass.
            figures[f"{prefix}_default_is_extrapolated"] = {
                "seeds": len(extrapolated),
                "from_steps": extrapolated[0]["measured_steps"],
                "to_steps": extrapolated[0]["steps"],
            }
        figures[f"{data.name}_seconds"] = {
            name: round(statistics.median(row["seconds"] for row in found.values()), 1)
            for name, found in rows.items()
            if found
        }
    figures.update(_speedup("speedup_vs_setfit_book", book_over_ours))
    figures.update(_speedup("speedup_vs_setfit_default", default_over_ours))
    for suffix, values in means.items():
        if len(values) == len(sets):
            figures[f"mean_accuracy{suffix}"] = round(statistics.fmean(values), 4)
    return figures


def _times_faster(own: Dict[int, Dict[str, Any]], peer: Dict[int, Dict[str, Any]]) -> List[float]:
    """RETURNS (List[float]): Seconds of the peer over ours, with each seed that both ran."""
    return [peer[seed]["seconds"] / own[seed]["seconds"] for seed in peer if seed in own]


def _speedup(name: str, ratios: List[float]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): As `common.ratio`, and nothing if both never ran."""
    return ratio(name, ratios, [1.0] * len(ratios)) if ratios else {}


def check_exactness(data: FewShot) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Whether a seed decides all bytes, and how far probabilities move
    on the way to the library and back."""
    import numpy
    from setfit import SetFitModel

    from spacy_reprtune.exchange.setfit import export_setfit, import_setfit

    sample, texts = data.sample(0), data.test.texts[:200]
    # Bytes at once: every text that a pipeline reads adds to its vocabulary.
    nlp = ours(sample, 0, precision="fp32")
    first = nlp.to_bytes()
    second = ours(sample, 0, precision="fp32").to_bytes()

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
        "same_seed_same_bytes": first == second,
        "export_difference": float(numpy.abs(library - own).max()),
        "import_difference": float(numpy.abs(again - library).max()),
    }


def compare_memory(args: argparse.Namespace, results: Finished) -> Dict[str, Any]:
    """Peak memory of training with more and more texts per label, and many labels.

    RETURNS (Dict[str, Any]): Peaks in MB, and how fast their growth grows from the first to the
        second doubling: 2 for what is linear in the texts, 4 for what is linear in pairs. A growth
        that drowns in noise gives nothing to divide.
    """
    sizes = (4, 8, 16)
    figures: Dict[str, Any] = {"memory_classes": MEMORY_CLASSES}
    for system, suffix in (("ours", ""), ("setfit", "_setfit")):
        peaks = {
            size: results.once(
                lambda s=system, n=size: {"mb": _worker(args, s, n)},
                part="memory",
                system=system,
                per_class=size,
            )["mb"]
            for size in sizes
        }
        low, middle, high = peaks.values()
        figures[f"peak_mb{suffix}"] = {str(size): peak for size, peak in peaks.items()}
        figures[f"peak_growth_mb{suffix}"] = [round(middle - low, 1), round(high - middle, 1)]
    return figures


def measure_peak(args: argparse.Namespace, system: str, per_class: int) -> Optional[float]:
    """RETURNS (Optional[float]): Peak memory in MB of making all that a training needs, and two
    steps; None where the system does not say."""
    from spacy_reprtune.memory import peak_memory_mb

    n = MEMORY_CLASSES * per_class
    texts = rotten_tomatoes(args)["train"].texts[:n]
    sample = Texts(texts, [str(i % MEMORY_CLASSES) for i in range(n)])
    if system == "ours":
        ours(sample, 0, steps=2)
    else:
        peer = SetFitPeer(sample.texts, sample.labels, num_iterations=None, seed=0, max_steps=2)
        peer.train()
    return peak_memory_mb()


def find_steps(sets: List[FewShot], args: argparse.Namespace, results: Finished) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Accuracy on dev after trainings of several lengths."""
    figures: Dict[str, Any] = {}
    for data in sets:
        for steps in STEP_COUNTS:
            key = {"part": "steps_on_dev", "set": data.name, "steps": steps}
            scores = _accuracies(data, data.dev, {"steps": steps}, args, results, key)
            figures.update(mean_std(f"{data.name}_dev_accuracy_{steps}_steps", scores))
    return figures


def compare_variants(
    sets: List[FewShot], args: argparse.Namespace, results: Finished
) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Accuracy on dev with other settings, and their differences
    from "cosine" with the same samples."""
    figures: Dict[str, Any] = {}
    for data in sets:
        found: Dict[str, List[float]] = {}
        for name in args.variants:
            key = {"part": "variants", "set": data.name, "variant": name}
            found[name] = _accuracies(data, data.dev, VARIANTS[name], args, results, key)
        for name, scores in found.items():
            figures.update(mean_std(f"{data.name}_dev_accuracy_{name}", scores))
            if name != "cosine" and "cosine" in found:
                gains = [own - base for own, base in zip(scores, found["cosine"], strict=True)]
                figures.update(mean_std(f"{data.name}_dev_gain_{name}", gains))
    return figures


def _accuracies(
    data: FewShot,
    scored: Texts,
    settings: Dict[str, Any],
    args: argparse.Namespace,
    results: Finished,
    key: Dict[str, Any],
) -> List[float]:
    """RETURNS (List[float]): Accuracy of this project with some settings, for each seed."""
    scores = []
    for seed in common.seed_range(args):

        def run(seed: int = seed) -> Dict[str, Any]:
            return {"accuracy": accuracy(ours(data.sample(seed), seed, **settings), scored)}

        scores.append(results.once(run, **key, seed=seed)["accuracy"])
        log(f"{key} seed {seed}: {scores[-1]:.4f}")
    return scores


def _shown(row: Dict[str, Any]) -> str:
    score = "not trained to the end" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
    return f"{row['seconds']:9.1f} s  accuracy {score}"


def _worker(args: argparse.Namespace, system: str, per_class: int) -> float:
    peak = common.fresh_process("benchmarks.setfit", args, "--worker", system, per_class)
    log(f"{system}, {per_class} of each of {MEMORY_CLASSES} labels: {peak} MB")
    return peak


if __name__ == "__main__":
    main()
