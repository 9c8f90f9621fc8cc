"""A recognizer with half its blocks beside its teacher and beside the same model without one.

The teacher trains on all sentences of ncbi_disease with the recipe of joint fine-tuning. It
annotates unlabeled biomedical sentences, and the student learns from its tag probabilities on them,
mixed with the gold sentences. `half_gold` has the student's blocks of the original encoder, and
the gold sentences only, for as many epochs as the teacher. Speed is `nlp.pipe` over the test
sentences, in turn.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import log, mean_std, order
from benchmarks.data import Tagged, folder, tagged
from benchmarks.finished import Finished
from benchmarks.ner_pipelines import LEARN_RATE, find_entities, make_examples, reprtune_ner
from benchmarks.ner_quality import f1
from benchmarks.pipelines import adam, batches_by_length, train_steps

SYSTEMS = ("teacher", "half", "half_gold")
TEACHER_EPOCHS, STUDENT_EPOCHS = 2, 2
POOL, QUICK_POOL, QUICK_GOLD = 6000, 40, 80
BLOCKS = [0, 2, 4]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=3)
    common.add_results(parser)
    parser.add_argument("--work", type=Path, required=True, help="folder for the pipelines")
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.repeats = 1, 1
    common.fix_threads(args.threads)
    finished = Finished(args.results, quick=args.quick, threads=args.threads)
    gold = tagged(args, "ncbi_disease")
    if args.quick:
        gold = {split: items[:QUICK_GOLD] for split, items in gold.items()}
    rows: Dict[str, List[float]] = {system: [] for system in SYSTEMS}
    for seed in common.seed_range(args):
        trainer = _Trainer(seed, gold, args)
        for system in SYSTEMS:
            found = finished.once(
                lambda t=trainer, s=system: {"f1": t.score(s)},
                benchmark="student_recognizer",
                seed=seed,
                system=system,
            )
            rows[system].append(found["f1"])
    figures: Dict[str, Any] = {"pool": QUICK_POOL if args.quick else POOL}
    for system, scores in rows.items():
        figures.update(mean_std(f"{system}_f1", scores))
        if system != "teacher":
            shares = [a / max(b, 1e-9) for a, b in zip(scores, rows["teacher"], strict=True)]
            figures[f"{system}_of_teacher"] = round(statistics.fmean(shares), 4)
    figures.update(_Trainer(args.first_seed, gold, args).time())
    common.emit("student_recognizer", args, figures)


class _Trainer:
    """Trains the systems with one seed, and keeps their pipelines in a folder."""

    def __init__(self, seed: int, gold: Dict[str, List[Tagged]], args: argparse.Namespace) -> None:
        self.seed, self.gold, self.args = seed, gold, args
        self.folder = args.work / f"ncbi_disease-{seed}{'-quick' * args.quick}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def score(self, system: str) -> float:
        """RETURNS (float): F1 of exact entities on the test sentences."""
        return round(f1(self._predict(system)(0), self.gold["test"]), 5)

    def time(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): How much faster than its teacher the student is."""
        calls = {system: self._predict(system) for system in ("teacher", "half")}
        for call in calls.values():
            call(0)
        times = common.interleave(calls, self.args.repeats)
        return common.ratio("half_speedup", times["teacher"], times["half"])

    def _predict(self, system: str) -> Callable[[int], Any]:
        nlp = self._pipeline(system)
        return lambda _: find_entities(nlp, self.gold["test"])

    def _pipeline(self, system: str) -> Any:
        import spacy

        folder = self.folder / system
        if not (folder / "meta.json").exists():
            log(f"training {system}, seed {self.seed}")
            common.seed_all(self.seed)
            getattr(self, f"_train_{system}")().to_disk(folder)
        return spacy.load(folder)

    def _train_teacher(self) -> Any:
        return self._fit(TEACHER_EPOCHS, self._gold)

    def _train_half_gold(self) -> Any:
        return self._fit(TEACHER_EPOCHS, self._gold, keep_blocks=BLOCKS)

    def _train_half(self) -> Any:
        self._pipeline("teacher")
        encoder = str(self.folder / "teacher" / "ner" / "model" / "encoder")
        settings = {"name": encoder, "keep_blocks": BLOCKS, "soft_labels": True}
        return self._fit(STUDENT_EPOCHS, self._taught, **settings)

    def _fit(self, epochs: int, examples: Callable[[Any], List[Any]], **settings: Any) -> Any:
        nlp = reprtune_ner("fp32", **settings)
        data = examples(nlp)
        nlp.initialize(lambda: data)
        optimizer = adam(epochs * -(-len(data) // 16), LEARN_RATE)
        for epoch in range(epochs):
            train_steps(nlp, optimizer, batches_by_length(data, 100 * self.seed + epoch))
        return nlp

    def _gold(self, nlp: Any) -> List[Any]:
        return make_examples(nlp, self.gold["train"])

    def _taught(self, nlp: Any) -> List[Any]:
        """The gold examples, and unlabeled sentences with the teacher's tag probabilities."""
        from spacy.tokens import DocBin
        from spacy.training import Example

        from spacy_reprtune.distill.pool import label_pool

        pool = self.folder / "pool.txt"
        sentences = (folder(self.args, "biomed_text") / "sentences.txt").read_text("utf8")
        lines = sentences.splitlines()
        size = QUICK_POOL if self.args.quick else POOL
        chosen = [lines[i] for i in order(len(lines), self.seed)[:size]]
        pool.write_text("\n".join(chosen) + "\n", encoding="utf8")
        label_pool(str(self.folder / "teacher"), [pool], self.folder / "corpus")
        docs = [
            doc
            for part in sorted((self.folder / "corpus").glob("part-*.spacy"))
            for doc in DocBin().from_disk(part).get_docs(nlp.vocab)
        ]
        return self._gold(nlp) + [Example(nlp.make_doc(doc.text), doc) for doc in docs]


if __name__ == "__main__":
    main()
