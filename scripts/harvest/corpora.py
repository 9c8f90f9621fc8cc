"""The default corpus: real text that every machine has, the docstrings of installed packages."""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping

import spacy
from spacy.tokens import Doc, DocBin

from spacy_reprtune.copies import stable_hash
from spacy_reprtune.data.corpus import SPLITS
from spacy_reprtune.files import replaced_file

from .docstrings import PACKAGES, find_packages, read_docstrings
from .entities import count_entities, select_entity_examples, size_of
from .paragraphs import Paragraph, collect_paragraphs
from .topics import check_topic_counts, load_topics, select_passages

TOPIC_SIZE = 300
ENTITY_SIZE = 4000
# Enough to measure a language model's loss to the second digit, and few enough to do it often.
TEXT_DEV_SIZE = 2000


def harvest(
    output_dir: Path,
    *,
    topics: Path = Path("assets/topics.json"),
    topic_size: int = TOPIC_SIZE,
    entity_size: int = ENTITY_SIZE,
    seed: int = 0,
    progress: bool = False,
) -> Dict[str, Any]:
    """Build a corpus for pretraining, text classification and NER from installed packages.

    The same versions of the packages, options and seed give the same bytes. All three sets share
    one split by module: nothing that is scored was pretrained on, and no module is in two splits.

    output_dir (Path): Where to write `text/`, `topics/`, `entities/`, `modules.json` (the
        modules of each split) and `manifest.json`. Created if missing; other files in it stay.
    topics (Path): Table of module prefixes and topics, and of the packages to read if these are
        not all in `PACKAGES`.
    topic_size (int): Maximum of training examples per topic; dev and test get a sixth each.
    entity_size (int): Maximum of training paragraphs in the NER set; dev and test get an eighth
        each.
    seed (int): Seed of the split and of every choice.
    progress (bool): Whether to show a progress bar while modules are read.
    RETURNS (Dict[str, Any]): The manifest, as written.
    RAISES (ValueError): An option or the table is wrong, or the installed packages give too little;
        the message names what to install.
    """
    for option, value in (("topic size", topic_size), ("entity size", entity_size)):
        if value < 6:
            raise ValueError(f"The {option} is {value}; it has to be 6 or more.")
    table = load_topics(topics)
    names = PACKAGES if table.packages is None else table.packages
    found, missing = find_packages({name: PACKAGES.get(name, name) for name in names})
    if not found:
        raise ValueError(f"No package to read is installed. Install some of {', '.join(missing)}.")
    paragraphs, dropped = collect_paragraphs(
        read_docstrings(found, progress=progress), topic_of=table.topic_of, seed=seed
    )
    nlp = spacy.blank("en")
    texts = _select_texts(paragraphs, seed=seed)
    topic_sets = select_passages(paragraphs, labels=table.labels, size=topic_size, seed=seed)
    topic_counts = {
        split: {label: sum(p.topic == label for p in topic_sets[split]) for label in table.labels}
        for split in SPLITS
    }
    check_topic_counts(topic_counts, table=table, size=topic_size, missing=missing)
    entity_sets, entities_dropped = select_entity_examples(
        paragraphs, nlp=nlp, size=entity_size, seed=seed
    )
    entity_counts = {split: count_entities(entity_sets[split]) for split in SPLITS}
    _check_entity_counts(entity_counts, size=entity_size, missing=missing)

    files: Dict[str, bytes] = {}
    for split, lines in texts.items():
        files[f"text/{split}.txt"] = "".join(f"{line}\n" for line in lines).encode("utf8")
    for split in SPLITS:
        docs = [_with_topic(nlp.make_doc(p.text), p.topic, table.labels) for p in topic_sets[split]]
        files[f"topics/{split}.spacy"] = _doc_bytes(docs)
        files[f"entities/{split}.spacy"] = _doc_bytes([doc for _, doc in entity_sets[split]])
    files["modules.json"] = _json_bytes(_module_lists(paragraphs))
    manifest = {
        "about": "Docstrings of installed packages, written by `python -m scripts.harvest`.",
        "seed": seed,
        "options": {"topic_size": topic_size, "entity_size": entity_size},
        "packages": {package.name: package.version for package in found},
        "missing": missing,
        "text": {
            split: {"paragraphs": len(lines), "words": sum(len(line.split()) for line in lines)}
            for split, lines in texts.items()
        },
        "topics": topic_counts,
        "entities": entity_counts,
        "dropped": {"paragraphs": dropped, "entities": entities_dropped},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    # The manifest comes last: where it stands, the files that it names are complete.
    files["manifest.json"] = _json_bytes(manifest)
    for name, data in files.items():
        with replaced_file(Path(output_dir) / name) as fresh:
            fresh.write_bytes(data)
    return manifest


def _select_texts(paragraphs: List[Paragraph], *, seed: int) -> Dict[str, List[str]]:
    """Choose paragraphs for pretraining, none of them from test modules."""
    dev = sorted(
        (i for i, p in enumerate(paragraphs) if p.split == "dev"),
        key=lambda i: stable_hash(paragraphs[i].text, seed),
    )
    return {
        "train": [p.text for p in paragraphs if p.split == "train"],
        "dev": [paragraphs[i].text for i in sorted(dev[:TEXT_DEV_SIZE])],
    }


def _check_entity_counts(
    counts: Mapping[str, Mapping[str, int]], *, size: int, missing: List[str]
) -> None:
    if any(counts[split]["docs"] < size_of(split, size) / 10 for split in SPLITS):
        install = f"Install {', '.join(missing)}, or " if missing else ""
        numbers = ", ".join(f"{counts[split]['docs']} in {split}" for split in SPLITS)
        raise ValueError(
            f"Too few paragraphs with marked code: {numbers}, and --entity-size is {size}. "
            f"{install}lower --entity-size."
        )


def _with_topic(doc: Doc, topic: str, labels: List[str]) -> Doc:
    doc.cats = {label: float(label == topic) for label in labels}
    return doc


def _module_lists(paragraphs: List[Paragraph]) -> Dict[str, List[str]]:
    return {split: sorted({p.module for p in paragraphs if p.split == split}) for split in SPLITS}


def _doc_bytes(docs: Iterable[Doc]) -> bytes:
    return DocBin(docs=docs, attrs=["ENT_IOB", "ENT_TYPE"]).to_bytes()


def _json_bytes(content: Dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode("utf8")
