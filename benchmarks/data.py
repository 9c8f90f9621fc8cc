"""The data sets of the benchmarks, read as published and split in the usual way."""

import argparse
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from benchmarks.common import fail

DEFAULT_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Texts:
    """Texts and the label of each."""

    texts: List[str]
    labels: List[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: List[int]) -> "Texts":
        """RETURNS (Texts): The rows at the indices, in their order."""
        return Texts([self.texts[i] for i in indices], [self.labels[i] for i in indices])


def folder(args: argparse.Namespace, name: str) -> Path:
    """Find a data set: `--data`, else `REPRTUNE_DATA`, else a folder beside the repository.

    args (argparse.Namespace): The parsed command line.
    name (str): The data set.
    RETURNS (Path): Its folder. Where there is none the process ends with exit code 2.
    """
    root = Path(args.data or os.environ.get("REPRTUNE_DATA") or DEFAULT_DATA)
    if not (root / name).is_dir():
        fail(
            f"there is no folder {name!r} under {os.path.relpath(root)}. Name the folder that "
            "holds the data sets with --data or the variable REPRTUNE_DATA."
        )
    return root / name


def rotten_tomatoes(args: argparse.Namespace) -> Dict[str, Texts]:
    """Read the sentence polarity set v1.0 (Pang & Lee 2005), split as on the Hugging Face hub.

    RETURNS (Dict[str, Texts]): "train" (8,530 sentences), "dev" and "test" (1,066 each), the
        classes one after the other: shuffle before training.
    """
    path = folder(args, "rotten_tomatoes")
    bounds = {"train": (0, 4265), "dev": (4265, 4798), "test": (4798, 5331)}
    lines = {
        label: (path / f"rt-polarity.{label[:3]}").read_text(encoding="latin-1").split("\n")
        for label in LABELS
    }
    splits = {}
    for split, (start, end) in bounds.items():
        texts = [line.strip() for label in LABELS for line in lines[label][start:end]]
        labels = [label for label in LABELS for _ in range(end - start)]
        splits[split] = Texts(texts, labels)
    return splits


@dataclass(frozen=True)
class Tagged:
    """Tokens in a row with the entities among them.

    words (List[str]): The tokens.
    entities (List[Tuple[int, int, str]]): First token, the token after the last, label.
    document (int): Number of the document that they belong to.
    """

    words: List[str]
    entities: List[Tuple[int, int, str]]
    document: int = 0


# File names of train, dev and test.
NER_FILES = {
    "ncbi_disease": ("train.tsv", "devel.tsv", "test.tsv"),
    "wnut17": ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
    "conll2003": ("eng.train", "eng.testa", "eng.testb"),
}


def tagged(args: argparse.Namespace, name: str) -> Dict[str, List[Tagged]]:
    """Read one of the sets of `NER_FILES`.

    RETURNS (Dict[str, List[Tagged]]): "train", "dev" and "test", one sentence per item.
    """
    path = folder(args, name)
    splits = zip(("train", "dev", "test"), NER_FILES[name], strict=True)
    return {split: list(_sentences(path / file)) for split, file in splits}


def documents(sentences: List[Tagged]) -> List[Tagged]:
    """RETURNS (List[Tagged]): The sentences of each document joined to one."""
    found: Dict[int, Tagged] = {}
    for sentence in sentences:
        whole = found.setdefault(sentence.document, Tagged([], [], sentence.document))
        shift = len(whole.words)
        whole.words.extend(sentence.words)
        whole.entities.extend((a + shift, b + shift, label) for a, b, label in sentence.entities)
    return list(found.values())


def _sentences(path: Path) -> Iterator[Tagged]:
    """Sentences end at blank lines, documents at -DOCSTART-. Word first, tag last, IOB1 or IOB2."""
    words: List[str] = []
    tags: List[str] = []
    document = 0
    for line in [*path.read_text(encoding="utf8").splitlines(), ""]:
        columns = line.split("\t") if "\t" in line else line.split()
        if line.startswith("-DOCSTART-"):
            document += 1
        elif columns and columns[0].strip():
            words.append(columns[0].strip())
            tags.append(columns[-1].strip())
        elif words:
            yield Tagged(words, entities_of_tags(tags), document)
            words, tags = [], []


def entities_of_tags(tags: List[str]) -> List[Tuple[int, int, str]]:
    """RETURNS (List[Tuple[int, int, str]]): The entities of IOB1 or IOB2 tags. An I that continues
    nothing begins an entity, as in seqeval's default mode."""
    entities: List[Tuple[int, int, str]] = []
    before = "O"
    for i, tag in enumerate(tags):
        kind, _, label = tag.partition("-")
        if kind == "B" or (kind == "I" and before[2:] != label):
            entities.append((i, i + 1, label))
        elif kind == "I":
            entities[-1] = (entities[-1][0], i + 1, label)
        before = tag
    return entities


def bio_tags(item: Tagged) -> List[str]:
    """RETURNS (List[str]): The tag of each word."""
    tags = ["O"] * len(item.words)
    for start, end, label in item.entities:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def mixed_documents(sentences: List[str], n: int, seed: int) -> List[str]:
    """Join sentences to documents of 1 to 60 sentences, most of them short.

    sentences (List[str]): What to draw from, without replacement while they last.
    n (int): How many documents.
    seed (int): Decides the lengths (log-normal, median 8 sentences) and the sentences.
    RETURNS (List[str]): The documents.
    """
    rng = random.Random(seed)
    stream = _endless(sentences, rng)
    counts = [min(60, max(1, round(rng.lognormvariate(2.1, 0.9)))) for _ in range(n)]
    return [" ".join(next(stream) for _ in range(count)) for count in counts]


def long_document(sentences: List[str], words: int, seed: int) -> str:
    """RETURNS (str): Sentences in a new random order each time round, cut after some words."""
    stream = _endless(sentences, random.Random(seed))
    parts: List[str] = []
    left = words
    while left > 0:
        part = next(stream).split()[:left]
        parts.append(" ".join(part))
        left -= len(part)
    return " ".join(parts)


def _endless(sentences: List[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(sentences, len(sentences))
