"""Text classification from docstrings: the module that a passage stands in gives its topic."""

import json
from collections import Counter
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from spacy_reprtune.copies import stable_hash
from spacy_reprtune.data.corpus import SPLITS

from .paragraphs import Paragraph

# A single paragraph is often clean and yet names no subject ("Return a copy of this object."): a
# bag of words gets 57 % of those right, and 78 % of passages this long. Fewer words make the labels
# noise, more words leave too few passages.
PASSAGE_WORDS = 60
# What is left at the end of a module may be a little shorter.
LAST_WORDS = 45

# Dev and test get this share of the training size per topic, each.
HELD_OUT = 1 / 6


class TopicTable(NamedTuple):
    """Module prefixes and their topics.

    labels (List[str]): The topics, in the order of the file.
    prefixes (Dict[str, Optional[str]]): Module prefix to topic; None for no topic.
    packages (Optional[List[str]]): The only packages to read; None for all known ones.
    """

    labels: List[str]
    prefixes: Dict[str, Optional[str]]
    packages: Optional[List[str]] = None

    def topic_of(self, module: str) -> Optional[str]:
        """Find the topic of the longest prefix of a module.

        module (str): Dotted name.
        RETURNS (Optional[str]): The label, or None if the module has no topic.
        """
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            prefix = ".".join(parts[:length])
            if prefix in self.prefixes:
                return self.prefixes[prefix]
        return None

    def packages_of(self, label: str) -> List[str]:
        """Name the top-level modules that a topic draws on.

        label (str): The topic.
        RETURNS (List[str]): Names of the modules, sorted.
        """
        return sorted({p.partition(".")[0] for p, topic in self.prefixes.items() if topic == label})


class Passage(NamedTuple):
    """Paragraphs of one module that follow each other.

    module (str): The module.
    text (str): The paragraphs, with spaces between.
    topic (str): The topic of the module.
    split (str): The split of the module.
    """

    module: str
    text: str
    topic: str
    split: str


def load_topics(path: Path) -> TopicTable:
    """Read a topic table.

    path (Path): A JSON file with "topics", a list of objects with "label", "about" and "modules",
        and optionally "none", a list of prefixes without a topic, and "packages", a list of the
        only packages to read.
    RETURNS (TopicTable): The table.
    RAISES (ValueError): The file is missing, is not such a table, or gives a prefix two topics.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no topic table at '{path}'. Name one with --topics; this project's own is "
            "assets/topics.json in its repository."
        )
    try:
        table = json.loads(path.read_text(encoding="utf8"))
        pairs = [
            (prefix, topic["label"]) for topic in table["topics"] for prefix in topic["modules"]
        ]
        pairs += [(prefix, None) for prefix in table.get("none", [])]
        packages = table.get("packages")
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as err:
        raise ValueError(
            f"'{path}' is not a topic table ({type(err).__name__}: {err}). It has to be a JSON "
            'object with "topics": [{"label": ..., "about": ..., "modules": [...]}, ...].'
        ) from err
    twice = sorted(p for p, count in Counter(prefix for prefix, _ in pairs).items() if count > 1)
    if twice:
        raise ValueError(f"'{path}' gives {', '.join(twice)} two topics; a prefix may stand once.")
    labels = list(dict.fromkeys(topic["label"] for topic in table["topics"]))
    if len(labels) < 2:
        raise ValueError(f"'{path}' has {len(labels)} topic(s); a classifier needs two or more.")
    return TopicTable(labels, dict(pairs), packages)


def select_passages(
    paragraphs: Iterable[Paragraph], *, labels: Sequence[str], size: int, seed: int
) -> Dict[str, List[Passage]]:
    """Pick the examples of each split, at most `size` per topic for training.

    paragraphs (Iterable[Paragraph]): Module after module, with topic and split.
    labels (Sequence[str]): All topics.
    size (int): Maximum of training examples per topic; dev and test get a sixth each.
    seed (int): Seed of the choice.
    RETURNS (Dict[str, List[Passage]]): Split to examples, shuffled.
    """
    pools: Dict[str, Dict[str, List[Passage]]] = {s: {t: [] for t in labels} for s in SPLITS}
    for passage in _passages(paragraphs):
        pools[passage.split][passage.topic].append(passage)
    chosen = {}
    for split in SPLITS:
        most = size if split == "train" else max(1, round(size * HELD_OUT))
        picked = [
            passage for topic in labels for passage in _ordered(pools[split][topic], seed)[:most]
        ]
        chosen[split] = _ordered(picked, seed)
    return chosen


def check_topic_counts(
    counts: Mapping[str, Mapping[str, int]],
    *,
    table: TopicTable,
    size: int,
    missing: Sequence[str],
) -> None:
    """Make sure that every topic can be learned and scored.

    counts (Mapping[str, Mapping[str, int]]): Split to topic to number of examples.
    table (TopicTable): Table that the topics come from.
    size (int): Maximum of training examples per topic. The minimum is a third of it, and for dev
        and test a third of a sixth.
    missing (Sequence[str]): Packages that are not installed.
    RAISES (ValueError): A topic has too few examples; the message names what to install.
    """
    problems = []
    for label in table.labels:
        for split in SPLITS:
            least = size / 3 if split == "train" else size * HELD_OUT / 3
            have = counts[split].get(label, 0)
            if have < least:
                absent = [name for name in table.packages_of(label) if name in missing]
                hint = f" (not installed: {', '.join(absent)})" if absent else ""
                problems.append(f"{label}: {have} in {split}, at least {least:.0f}{hint}")
    if problems:
        install = f"Install {', '.join(missing)}, or " if missing else ""
        raise ValueError(
            "Too few examples for these topics:\n  " + "\n  ".join(problems) + f"\n{install}"
            "lower --topic-size, or give these topics more modules in the table of --topics."
        )


def _passages(paragraphs: Iterable[Paragraph]) -> Iterator[Passage]:
    for module, group in groupby(paragraphs, key=attrgetter("module")):
        texts: List[str] = []
        words = 0
        for paragraph in group:
            if paragraph.topic is None:
                break
            texts.append(paragraph.text)
            words += len(paragraph.text.split(" "))
            topic, split = paragraph.topic, paragraph.split
            if words >= PASSAGE_WORDS:
                yield Passage(module, " ".join(texts), topic, split)
                texts, words = [], 0
        if words >= LAST_WORDS:
            yield Passage(module, " ".join(texts), topic, split)


def _ordered(passages: Iterable[Passage], seed: int) -> List[Passage]:
    return sorted(passages, key=lambda p: (stable_hash(p.text, seed), p.text))
