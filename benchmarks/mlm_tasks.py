"""Tasks that an adapted encoder may help: topics of harvested passages, entities in harvested
paragraphs, diseases in abstracts."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List

from benchmarks.data import tagged
from benchmarks.ner_pipelines import make_examples

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("topics", "entities", "ncbi_disease")
# Config of both tasks with entities.
NER_CONFIG = "ner_joint.cfg"


@dataclass(frozen=True)
class Task:
    """A training whose encoder can be exchanged.

    name (str): Name in the figures.
    domain (str): What its text is about: tasks of one domain share the adapted encoder.
    text (str): The text of its domain, to pretrain on.
    exclude (List[str]): Files whose texts must not be in that.
    config (Path): The training config.
    overrides (Dict[str, Any]): What to change in it.
    """

    name: str
    domain: str
    text: str
    exclude: List[str]
    config: Path
    overrides: Dict[str, Any]

    def score(self, encoder: str, seed: int) -> float:
        """Train.

        encoder (str): The encoder's name.
        seed (int): Seed of the training.
        RETURNS (float): The best score on the dev data, of the evaluations in between.
        """
        from spacy.util import load_config
        from thinc.api import Config

        from spacy_reprtune.training.full_config import full_config
        from spacy_reprtune.training.sweep import encoder_blocks, train_once

        full = full_config(load_config(self.config, interpolate=False)).to_str(interpolate=False)
        config = Config().from_str(full, overrides=self.overrides, interpolate=False)
        for block in encoder_blocks(config):
            block.update(name=encoder)
        return train_once(config, "all", seed).score


def available_tasks(args: argparse.Namespace, work: Path, biomed: Path) -> List[Task]:
    """Prepare the tasks.

    args (argparse.Namespace): The parsed command line.
    work (Path): Where to write their data.
    biomed (Path): Biomedical text.
    RETURNS (List[Task]): Those of `args.tasks`.
    """
    steps = args.task_steps
    shared = {"training.max_steps": steps, "training.eval_frequency": max(1, steps // 4)}
    makers: Dict[str, Callable[[], Task]] = {
        "topics": lambda: _topics(args, work, shared),
        "entities": lambda: _entities(args, work, shared),
        "ncbi_disease": lambda: _diseases(args, work, biomed, shared),
    }
    tasks = [makers[name]() for name in args.tasks]
    if not args.limit:
        return tasks
    few = {"corpora.train.limit": args.limit}
    return [
        replace(task, name=f"{task.name}_{args.limit}_texts", overrides={**task.overrides, **few})
        for task in tasks
    ]


def _topics(args: argparse.Namespace, work: Path, shared: Dict[str, Any]) -> Task:
    task = _harvested("topics", args, work, "textcat_joint.cfg", shared)
    if not args.words:
        return task
    cut = work / f"topics-{args.words}"
    cut.mkdir(exist_ok=True)
    paths = {}
    for name in ("train", "dev"):
        _shorten(Path(task.overrides[f"paths.{name}"]), cut / f"{name}.spacy", args.words)
        paths[f"paths.{name}"] = str(cut / f"{name}.spacy")
    return replace(task, name=f"topics_{args.words}_words", overrides={**task.overrides, **paths})


def _entities(args: argparse.Namespace, work: Path, shared: Dict[str, Any]) -> Task:
    return _harvested("entities", args, work, NER_CONFIG, shared)


def _harvested(
    name: str, args: argparse.Namespace, work: Path, config: str, shared: Dict[str, Any]
) -> Task:
    from scripts.harvest.corpora import harvest

    corpus = work / f"harvest{'-quick' * args.quick}"
    # Written last: with it the corpus is complete.
    if not (corpus / "manifest.json").is_file():
        harvest(
            corpus,
            topics=ROOT / "assets" / "topics.json",
            topic_size=40 if args.quick else 300,
            entity_size=100 if args.quick else 2000,
            seed=0,
            progress=False,
        )
    paths = {f"paths.{part}": str(corpus / name / f"{part}.spacy") for part in ("train", "dev")}
    return Task(
        name,
        domain="docstrings",
        text=str(corpus / "text" / "train.txt"),
        exclude=[
            str(corpus / task / f"{part}.spacy")
            for task in ("topics", "entities")
            for part in ("dev", "test")
        ],
        config=ROOT / "configs" / config,
        overrides={**shared, **paths},
    )


def _shorten(source: Path, output: Path, words: int) -> None:
    import spacy
    from spacy.tokens import DocBin

    vocab = spacy.blank("en").vocab
    docs = DocBin()
    for doc in DocBin().from_disk(source).get_docs(vocab):
        short = doc[:words].as_doc()
        short.cats = doc.cats
        docs.add(short)
    docs.to_disk(output)


def _diseases(args: argparse.Namespace, work: Path, biomed: Path, shared: Dict[str, Any]) -> Task:
    import spacy
    from spacy.tokens import DocBin

    output = work / "ncbi_disease"
    output.mkdir(exist_ok=True)
    nlp = spacy.blank("en")
    for name, items in tagged(args, "ncbi_disease").items():
        docs = [example.reference for example in make_examples(nlp, items)]
        DocBin(docs=docs).to_disk(output / f"{name}.spacy")
    paths = {f"paths.{name}": str(output / f"{name}.spacy") for name in ("train", "dev")}
    return Task(
        "ncbi_disease",
        domain="biomedical",
        text=str(biomed),
        exclude=[str(output / f"{name}.spacy") for name in ("dev", "test")],
        config=ROOT / "configs" / NER_CONFIG,
        overrides={**shared, **paths},
    )
