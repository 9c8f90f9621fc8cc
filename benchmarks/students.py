"""Students of a text classifier: half its blocks, a static table, and cascades.

A teacher is fine-tuned on a share of the labels (MiniLM-L6, two or six epochs, batches of 16). It
annotates all training texts, and students learn from its probabilities, mixed with the labels that
the teacher has seen. `_gold` is the same student on these labels only; the peers (TF-IDF with
logistic regression, and the text classifier of `spacy init config --optimize efficiency`) have them
as well. `cascade` has the static table in front of the teacher, `cascade_half` in front of the
student with half the blocks.
Speed is `nlp.pipe` over the test texts, from raw text, in turn.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import ENCODER, log, mean_std
from benchmarks.data import Texts, rotten_tomatoes
from benchmarks.finished import Finished
from benchmarks.pipelines import adam, batches_by_length, best_labels, train_steps

SETS = ("rotten_tomatoes", "topics", "modules")
# Texts that the teacher gets labels for; all others are the pool.
GOLD = {"rotten_tomatoes": 2000, "topics": 600, "modules": 600}
# Over 200 steps of 16 texts for each set.
TEACHER_EPOCHS = {"rotten_tomatoes": 2, "topics": 6, "modules": 6}
HALF_EPOCHS = 1
STATIC_EPOCHS = 6
RATE = 1e-4
STATIC_RATE = 9e-4
EARLY = ("tfidf_lr", "spacy_efficiency", "static_gold")
# Which pipelines the cascades have.
CASCADES = {"cascade": ("static", "teacher"), "cascade_half": ("static", "half")}
SYSTEMS = ("teacher", "static", "half", *CASCADES, "half_gold", *EARLY)
TIMED = ("teacher", "half", "static", *CASCADES, "spacy_efficiency")


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=3)
    common.add_results(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="data sets")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--work", type=Path, required=True, help="folder for the pipelines")
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.sets, args.repeats = 1, ["rotten_tomatoes"], 1
    common.fix_threads(args.threads)
    finished = Finished(args.results, quick=args.quick, threads=args.threads)
    figures: Dict[str, Any] = {}
    for name in args.sets:
        splits = read_set(name, args)
        rows: Dict[str, List[Dict[str, float]]] = {}
        for seed in common.seed_range(args):
            trainer = Trainer(name, seed, splits, args)
            for system in args.systems:
                result = finished.once(
                    lambda t=trainer, s=system: t.run(s), set=name, seed=seed, system=system
                )
                rows.setdefault(system, []).append(result)
        figures.update(summary(name, rows))
        trainer = Trainer(name, args.first_seed, splits, args)
        timed = [system for system in TIMED if system in args.systems]
        if "teacher" not in timed:
            continue
        speed = finished.once(
            lambda t=trainer, s=timed: t.time(s),
            set=name,
            seed=args.first_seed,
            timed=timed,
            repeats=args.repeats,
        )
        figures.update({f"{name}_{key}": value for key, value in speed.items()})
    common.emit("students", args, figures)


def read_set(name: str, args: argparse.Namespace) -> Dict[str, Texts]:
    """RETURNS (Dict[str, Texts]): "train", "dev" and "test" of a data set."""
    if name == "rotten_tomatoes":
        splits = rotten_tomatoes(args)
    else:
        from benchmarks.few_shot_data import docstring_sets

        found = docstring_sets()["topics_8" if name == "topics" else "modules_8"]
        splits = {"train": found.train, "dev": found.dev, "test": found.test}
    if args.quick:
        sizes = {"train": 300, "dev": 60, "test": 100}
        splits = {
            split: texts.take(common.order(len(texts), 0)[: sizes[split]])
            for split, texts in splits.items()
        }
    return splits


class Trainer:
    """Trains the systems of one set and seed, and keeps their pipelines in a folder."""

    def __init__(
        self, name: str, seed: int, splits: Dict[str, Texts], args: argparse.Namespace
    ) -> None:
        """Draw the gold labels.

        name (str): The data set.
        seed (int): The seed: which labels are known, the order of texts, the heads.
        splits (Dict[str, Texts]): The texts.
        args (argparse.Namespace): The parsed command line.
        """
        self.name, self.seed, self.args = name, seed, args
        quick = "-quick" * args.quick
        self.folder = args.work / f"{name}-{seed}-{common.encoder_tag()}{quick}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.splits = splits
        size = min(GOLD[name], len(splits["train"]) // 3)
        self.gold = splits["train"].take(common.order(len(splits["train"]), seed)[:size])
        self.labels = sorted(set(splits["train"].labels))

    def run(self, system: str) -> Dict[str, float]:
        """Train a system, unless its pipeline is there, and score it on the test set.

        system (str): One of `SYSTEMS`.
        RETURNS (Dict[str, float]): `accuracy`, and what else there is to say.
        """
        common.seed_all(self.seed)
        if system == "tfidf_lr":
            return {"accuracy": self._tfidf()}
        nlp = self._pipeline(system)
        test = self.splits["test"]
        found = best_labels(nlp, test.texts)
        result = {"accuracy": _accuracy(found, test.labels)}
        if system in CASCADES:
            docs = list(nlp.pipe(test.texts))
            early = [doc._.reprtune_answered_by == "small" for doc in docs]
            result["early"] = sum(early) / len(early)
            result["early_on_dev"] = nlp.get_pipe("textcat").cfg["early"]
        folder = self.folder / system
        result["mb"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        return result

    def time(self, systems: List[str]) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): Texts per second of each system, and its speed-up over the
        teacher, timed in turn. Each round has texts that no system has read: tokenizers remember
        words, and a table spends most of its time on them."""
        texts = [*self.splits["test"].texts, *self.splits["dev"].texts]
        n = len(texts) // (self.args.repeats + 1)
        rounds = [texts[i * n : (i + 1) * n] for i in range(self.args.repeats + 1)]
        pipelines = {system: self._pipeline(system) for system in systems}
        calls: Dict[str, Callable[[int], Any]] = {
            system: lambda r, nlp=nlp: best_labels(nlp, rounds[r])
            for system, nlp in pipelines.items()
        }
        for call in calls.values():
            call(self.args.repeats)
        times = common.interleave(calls, self.args.repeats)
        figures: Dict[str, Any] = {}
        for system, seconds in times.items():
            figures[f"{system}_texts_per_s"] = round(n / statistics.median(seconds), 1)
            if system != "teacher":
                figures.update(common.ratio(f"{system}_speedup", times["teacher"], seconds, 2))
        return figures

    def _pipeline(self, system: str) -> Any:
        import spacy

        folder = self.folder / system
        if not (folder / "meta.json").exists():
            log(f"training {system} of {self.name}, seed {self.seed}")
            if system in CASCADES:
                nlp = self._assemble(*CASCADES[system])
            else:
                nlp = getattr(self, f"_train_{system}")()
            nlp.to_disk(folder)
        return spacy.load(folder)

    def _train_teacher(self) -> Any:
        build = _reprtune(_encoder(ENCODER))
        return self._fit(build, self._examples, TEACHER_EPOCHS[self.name], RATE)

    def _train_half(self) -> Any:
        encoder = _encoder(self._teacher_encoder(), keep_blocks=[0, 2, 4])
        return self._fit(_reprtune(encoder), self._taught, HALF_EPOCHS, RATE)

    def _train_half_gold(self) -> Any:
        encoder = _encoder(ENCODER, keep_blocks=[0, 2, 4])
        return self._fit(_reprtune(encoder), self._examples, TEACHER_EPOCHS[self.name], RATE)

    def _train_static(self) -> Any:
        encoder = _static(self._teacher_encoder())
        return self._fit(_reprtune(encoder), self._taught, STATIC_EPOCHS, STATIC_RATE)

    def _train_static_gold(self) -> Any:
        return self._fit(_reprtune(_static(ENCODER)), self._examples, STATIC_EPOCHS, STATIC_RATE)

    def _train_spacy_efficiency(self) -> Any:
        import spacy
        from spacy.cli.init_config import init_config

        config = init_config(
            lang="en", pipeline=["textcat"], optimize="efficiency", gpu=False, silent=True
        )

        settings = dict(config["components"]["textcat"])
        factory = settings.pop("factory")

        def build() -> Any:
            nlp = spacy.blank("en")
            nlp.add_pipe(factory, name="textcat", config=settings)
            return nlp

        # The learning rate of that config.
        return self._fit(build, self._examples, 10, 1e-3)

    def _assemble(self, small: str, large: str) -> Any:
        from spacy_reprtune.distill.assemble import assemble_cascade

        for system in (small, large):
            self._pipeline(system)
        nlp = assemble_cascade(self.folder / small, self.folder / large, keep=0.99)
        nlp.get_pipe("textcat").calibrate(self._examples(nlp, self.splits["dev"]))
        return nlp

    def _fit(self, build: Callable[[], Any], examples: Callable, epochs: int, rate: float) -> Any:
        """Train with a linear schedule, and calibrate on dev."""
        made = build()
        data = examples(made)
        steps = epochs * -(-len(data) // 16)
        made.initialize(lambda: data)
        optimizer = adam(steps, rate)
        for epoch in range(epochs):
            seed = 1000 * self.seed + epoch
            train_steps(made, optimizer, batches_by_length(data, seed))
        pipe = made.get_pipe("textcat")
        if hasattr(pipe, "calibrate"):
            pipe.calibrate(self._examples(made, self.splits["dev"]))
        return made

    def _examples(self, nlp: Any, texts: Optional[Texts] = None) -> List[Any]:
        from spacy.training import Example

        texts = texts or self.gold
        return [
            Example.from_dict(
                nlp.make_doc(text), {"cats": {name: float(name == gold) for name in self.labels}}
            )
            for text, gold in zip(texts.texts, texts.labels, strict=True)
        ]

    def _taught(self, nlp: Any) -> List[Any]:
        """The gold examples, and all training texts with the probabilities of the teacher."""
        from spacy.tokens import DocBin
        from spacy.training import Example

        from spacy_reprtune.distill.pool import label_pool

        self._pipeline("teacher")
        pool = self.folder / "pool.txt"
        if not pool.exists():
            lines = (" ".join(text.split()) for text in self.splits["train"].texts)
            pool.write_text("\n".join(lines) + "\n", encoding="utf8")
        corpus = self.folder / "corpus"
        label_pool(str(self.folder / "teacher"), [pool], corpus)
        docs = [
            doc
            for part in sorted(corpus.glob("part-*.spacy"))
            for doc in DocBin().from_disk(part).get_docs(nlp.vocab)
        ]
        return self._examples(nlp) + [Example(nlp.make_doc(doc.text), doc) for doc in docs]

    def _teacher_encoder(self) -> str:
        self._pipeline("teacher")
        return str(self.folder / "teacher" / "textcat" / "model" / "encoder")

    def _tfidf(self) -> float:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(max_iter=1000),
        )
        search = GridSearchCV(model, {"logisticregression__C": [1, 10, 100]}, cv=3)
        search.fit(self.gold.texts, self.gold.labels)
        return _accuracy(
            list(search.predict(self.splits["test"].texts)), self.splits["test"].labels
        )


def _encoder(name: str, **settings: Any) -> Dict[str, Any]:
    return {"@architectures": "spacy_reprtune.Encoder.v1", "name": name, **settings}


def _static(name: str) -> Dict[str, Any]:
    return {"@architectures": "spacy_reprtune.StaticEncoder.v1", "name": name}


def _reprtune(encoder: Dict[str, Any]) -> Callable[[], Any]:
    def build() -> Any:
        import spacy

        nlp = spacy.blank("en")
        head = {"@architectures": "spacy_reprtune.TextClassifier.v1", "head_lr": 10.0}
        config = {"model": {**head, "encoder": encoder}, "soft_labels": True}
        nlp.add_pipe("reprtune_textcat", name="textcat", config=config)
        return nlp

    return build


def _accuracy(found: List[str], gold: List[str]) -> float:
    return round(sum(a == b for a, b in zip(found, gold, strict=True)) / len(gold), 5)


def summary(name: str, rows: Dict[str, List[Dict[str, float]]]) -> Dict[str, Any]:
    """Put the seeds of a set together.

    name (str): The set.
    rows (Dict[str, List[Dict[str, float]]]): Results by system, one per seed.
    RETURNS (Dict[str, Any]): Mean and spread of each, and shares of the teacher's accuracy.
    """
    figures: Dict[str, Any] = {}
    for system, results in rows.items():
        for key in results[0]:
            figures.update(mean_std(f"{name}_{system}_{key}", [r[key] for r in results]))
        if system != "teacher" and "teacher" in rows:
            pairs = zip(results, rows["teacher"], strict=True)
            shares = [own["accuracy"] / theirs["accuracy"] for own, theirs in pairs]
            figures[f"{name}_{system}_of_teacher"] = round(statistics.fmean(shares), 4)
    return figures


if __name__ == "__main__":
    main()
