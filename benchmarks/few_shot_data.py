"""Few-shot samples: rotten_tomatoes, and two sets made of the docstrings of installed packages."""

import argparse
import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from benchmarks.data import Texts, rotten_tomatoes

# The many-class set: modules of packages, as many as have enough paragraphs of this many words.
MANY_CLASSES = 40
MANY_WORDS = 15
MANY_TRAIN = 16
MANY_TEST = 20


@dataclass(frozen=True)
class FewShot:
    """A set to draw samples from.

    name (str): Prefix of its figures.
    per_class (int): Texts per label in a sample.
    train, dev, test (Texts): What samples are drawn from, what settings are chosen on, and what
        is scored.
    templates (Tuple[str, ...]): Texts with `{}` where the name of a label goes.
    """

    name: str
    per_class: int
    train: Texts
    dev: Texts
    test: Texts
    templates: Tuple[str, ...] = ("This text is about {}.", "{}")

    def sample(self, seed: int) -> Texts:
        """RETURNS (Texts): So many texts of each label, in random order."""
        rng = random.Random(seed)
        groups: Dict[str, List[int]] = {}
        for i, label in enumerate(self.train.labels):
            groups.setdefault(label, []).append(i)
        chosen = [i for _, g in sorted(groups.items()) for i in rng.sample(g, self.per_class)]
        rng.shuffle(chosen)
        return self.train.take(chosen)

    def with_names(self, sample: Texts) -> Texts:
        """RETURNS (Texts): A sample, and texts made of the names of its labels."""
        from spacy_reprtune.training.setfit.readers import label_texts

        names = {label: re.sub(r"[._]", " ", label) for label in sorted(set(sample.labels))}
        made = label_texts(names, self.templates)
        return Texts([*sample.texts, *made], [*sample.labels, *made.values()])

    def shortened(self, words: int) -> "FewShot":
        """RETURNS (FewShot): The same with the first words of each text, named after them."""

        def cut(texts: Texts) -> Texts:
            return Texts([" ".join(t.split()[:words]) for t in texts.texts], texts.labels)

        return replace(
            self,
            name=f"{self.name}_{words}_words",
            train=cut(self.train),
            dev=cut(self.dev),
            test=cut(self.test),
        )


def rotten_tomatoes_few(args: argparse.Namespace, per_class: int, test: int) -> FewShot:
    """RETURNS (FewShot): Two labels, sentences."""
    splits = rotten_tomatoes(args)
    picked = list(range(len(splits["test"])))
    random.Random(0).shuffle(picked)
    return FewShot(
        "rotten_tomatoes",
        per_class,
        splits["train"],
        splits["dev"],
        splits["test"].take(picked[:test]),
        templates=("This review is {}.", "A {} review of a film."),
    )


def docstring_sets() -> Dict[str, FewShot]:
    """Make the harvested topics and the many-class set, which is "which module is this about".

    Modules of the test data are not among those of the training data.

    RETURNS (Dict[str, FewShot]): `topics_8`, `topics_16` and `modules_8`.
    """
    from scripts.harvest.docstrings import PACKAGES, find_packages, read_docstrings
    from scripts.harvest.paragraphs import Paragraph, collect_paragraphs
    from scripts.harvest.topics import load_topics, select_passages

    found, _ = find_packages(PACKAGES)

    def paragraphs(topic_of: Callable) -> List[Paragraph]:
        return collect_paragraphs(read_docstrings(found), topic_of=topic_of, seed=0)[0]

    table = load_topics(Path(__file__).resolve().parents[1] / "assets" / "topics.json")
    passages = select_passages(paragraphs(table.topic_of), labels=table.labels, size=300, seed=0)
    train, dev, test = (
        Texts([p.text for p in passages[split]], [p.topic for p in passages[split]])
        for split in ("train", "dev", "test")
    )
    modules = [
        p for p in paragraphs(_second_level) if p.topic and len(p.text.split()) >= MANY_WORDS
    ]
    return {
        "topics_8": FewShot("topics_8", 8, train, dev, test),
        "topics_16": FewShot("topics_16", 16, train, dev, test),
        "modules_8": many_labels("modules_8", modules),
    }


def _second_level(module: str) -> str:
    return ".".join(module.split(".")[:2])


def many_labels(
    name: str,
    paragraphs: List,
    *,
    n_labels: int = MANY_CLASSES,
    train: int = MANY_TRAIN,
    test: int = MANY_TEST // 2,
) -> FewShot:
    """Make a set of the labels that have enough texts.

    name (str): Name of the set.
    paragraphs (List): Objects with `text`, `topic` and `split`.
    n_labels (int): Labels at most; those with the most training texts.
    train, test (int): Texts that a label needs.
    RETURNS (FewShot): The set, with 8 texts per label in a sample.
    """
    counts = {s: Counter(p.topic for p in paragraphs if p.split == s) for s in ("train", "test")}
    labels = [
        label
        for label, n in sorted(counts["train"].items(), key=lambda item: (-item[1], item[0]))
        if n >= train and counts["test"][label] >= test
    ][:n_labels]
    kept: Dict[str, Texts] = {}
    for split in ("train", "dev", "test"):
        rng = random.Random(0)
        texts: List[str] = []
        golds: List[str] = []
        for label in labels:
            own = [p.text for p in paragraphs if p.split == split and p.topic == label]
            if split != "train":
                own = rng.sample(own, min(len(own), MANY_TEST))
            texts += own
            golds += [label] * len(own)
        kept[split] = Texts(texts, golds)
    return FewShot(name, 8, kept["train"], kept["dev"], kept["test"])
