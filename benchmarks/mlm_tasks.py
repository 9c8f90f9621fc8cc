"""Tasks that an adapted encoder may help: topics of harvested passages, diseases in abstracts."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from benchmarks.data import folder

ROOT = Path(__file__).resolve().parents[1]
STEPS, QUICK_STEPS = 300, 4
# The config of the named entity recognizer.
NER_CONFIG = "ner_joint.cfg"


@dataclass(frozen=True)
class Task:
    """A training whose encoder can be exchanged.

    name (str): As in the figures.
    text (str): The text of its domain, to pretrain on.
    exclude (List[str]): Files whose texts must not be in that.
    config (Path): The training config.
    overrides (Dict[str, Any]): What to change in it.
    """

    name: str
    text: str
    exclude: List[str]
    config: Path
    overrides: Dict[str, Any]

    def score(self, encoder: str, seed: int) -> float:
        """Train.

        encoder (str): The encoder's name.
        seed (int): Of the training.
        RETURNS (float): The best score on the dev data, of the evaluations in between.
        """
        from spacy.util import load_config

        from spacy_reprtune.training.sweep import encoder_blocks, train_once

        config = load_config(self.config, overrides=self.overrides, interpolate=False)
        for block in encoder_blocks(config):
            block.update(name=encoder, sha256=None)
        return train_once(config, "all", seed).score


def available_tasks(args: argparse.Namespace, work: Path, biomed: Path) -> List[Task]:
    """Prepare the tasks.

    args (argparse.Namespace): The parsed command line.
    work (Path): Where to write their data.
    biomed (Path): Biomedical text.
    RETURNS (List[Task]): The tasks.
    """
    steps = QUICK_STEPS if args.quick else STEPS
    shared = {"training.max_steps": steps, "training.eval_frequency": max(1, steps // 4)}
    ner = ROOT / "configs" / NER_CONFIG
    return [_topics(args, work, shared), _diseases(args, work, biomed, ner, shared)]


def _topics(args: argparse.Namespace, work: Path, shared: Dict[str, Any]) -> Task:
    from spacy_reprtune.data.harvest import harvest

    corpus = work / "harvest"
    size = 40 if args.quick else 300
    # Written last: with it the corpus is complete.
    if not (corpus / "manifest.json").is_file():
        harvest(
            corpus,
            topics=ROOT / "assets" / "topics.json",
            topic_size=size,
            entity_size=100,
            seed=0,
            progress=False,
        )
    paths = {f"paths.{name}": str(corpus / "topics" / f"{name}.spacy") for name in ("train", "dev")}
    exclude = [str(corpus / "topics" / f"{name}.spacy") for name in ("dev", "test")]
    text = str(corpus / "text" / "train.txt")
    config = ROOT / "configs" / "textcat_joint.cfg"
    return Task("topics", text, exclude, config, {**shared, **paths})


def _diseases(
    args: argparse.Namespace, work: Path, biomed: Path, config: Path, shared: Dict[str, Any]
) -> Task:
    import spacy
    from spacy.tokens import Doc, DocBin
    from spacy.training import biluo_tags_to_spans, iob_to_biluo

    source, output = folder(args, "ncbi_disease"), work / "ncbi_disease"
    output.mkdir(exist_ok=True)
    nlp = spacy.blank("en")
    for name in ("train", "devel", "test"):
        docs = DocBin()
        for words, tags in _sentences(source / f"{name}.tsv"):
            doc = Doc(nlp.vocab, words=words)
            doc.ents = biluo_tags_to_spans(doc, iob_to_biluo(tags))
            docs.add(doc)
        docs.to_disk(output / f"{name}.spacy")
    paths = {"paths.train": str(output / "train.spacy"), "paths.dev": str(output / "devel.spacy")}
    exclude = [str(output / f"{name}.spacy") for name in ("devel", "test")]
    return Task("ncbi_disease", str(biomed), exclude, config, {**shared, **paths})


def _sentences(path: Path) -> List[Tuple[List[str], List[str]]]:
    sentences: List[Tuple[List[str], List[str]]] = [([], [])]
    for line in path.read_text(encoding="utf8").splitlines():
        if line.strip():
            word, tag = line.split("\t")[:2]
            sentences[-1][0].append(word)
            sentences[-1][1].append(tag)
        elif sentences[-1][0]:
            sentences.append(([], []))
    return [sentence for sentence in sentences if sentence[0]]
