"""Few-shot sets of 40 to 77 labels, made of the docstrings of installed packages."""

import inspect
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

from benchmarks.few_shot_data import MANY_WORDS, FewShot, docstring_sets, many_labels

# As many as banking77 has.
FILES = 77
PARAMETERS = 60
PARAMETER_WORDS = 8
HEADING = re.compile(r"^(\w[\w ]+)\n-{3,}\s*$", re.M)
# The name and the type of a parameter, and what is indented below: as numpydoc writes it, and as
# Google style and Hugging Face do.
NUMPYDOC = re.compile(r"^(\w+)(?:, \*?\w+)? ?:.*\n((?:(?:[ \t]+.*)?\n)+)", re.M)
ARGUMENTS = re.compile(r"^(?:Args|Arguments|Parameters):\n((?:(?:[ \t]+.*)?\n)+)", re.M)
GOOGLE = re.compile(r"^[ \t]+(\w+) \([^\n]*\):[ \t]*\n?((?:[ \t]{4,}\S.*\n)+)", re.M)


class Text(NamedTuple):
    """A text with its label.

    text (str): The text.
    topic (str): Its label.
    split (str): "train", "dev" or "test".
    """

    text: str
    topic: str
    split: str


def many_label_sets() -> Dict[str, FewShot]:
    """Make three sets with more labels than a batch has texts.

    RETURNS (Dict[str, FewShot]): `modules_8` has 40 labels, which module a paragraph is about;
        `files_8` 77, which file; `parameters_8` 60, which parameter a description describes.
    """
    return {
        "modules_8": docstring_sets()["modules_8"],
        "files_8": many_labels("files_8", list(_files()), n_labels=FILES, test=8),
        "parameters_8": many_labels(
            "parameters_8", list(_parameters()), n_labels=PARAMETERS, train=8, test=3
        ),
    }


def _files() -> Iterator[Text]:
    from scripts.harvest.docstrings import PACKAGES, find_packages, read_docstrings
    from scripts.harvest.paragraphs import collect_paragraphs

    docstrings = read_docstrings(find_packages(PACKAGES)[0])
    found, _ = collect_paragraphs(docstrings, topic_of=lambda module: None, seed=0)
    for paragraph in found:
        if len(paragraph.text.split()) >= MANY_WORDS:
            # All paragraphs of a docstring are in one split.
            split = _split(f"{paragraph.module}:{paragraph.line}")
            yield Text(paragraph.text, paragraph.module, split)


def _parameters() -> Iterator[Text]:
    from scripts.harvest.docstrings import PACKAGES, find_packages, read_docstrings
    from scripts.harvest.modules import drop_near_duplicates

    found: List[Text] = []
    for docstring in read_docstrings(find_packages(PACKAGES)[0]):
        for name, description in _described(inspect.cleandoc(docstring.text) + "\n"):
            # The first paragraph says what the parameter is.
            text = " ".join(description.strip().split("\n\n")[0].split())
            if len(text.split()) >= PARAMETER_WORDS:
                found.append(Text(text, name, _split(text)))
    for i in drop_near_duplicates([text.text for text in found]):
        yield found[i]


def _described(docstring: str) -> Iterator[Tuple[str, str]]:
    """YIELDS (Tuple[str, str]): The name of a parameter, and its description."""
    parts = HEADING.split(docstring)
    for name, section in zip(parts[1::2], parts[2::2], strict=True):
        if name.strip().lower() in ("parameters", "other parameters"):
            yield from NUMPYDOC.findall(section + "\n")
    for section in ARGUMENTS.findall(docstring):
        yield from GOOGLE.findall(section)


def _split(name: str) -> str:
    """RETURNS (str): The split of what has this name: a quarter each is dev and test."""
    from spacy_reprtune.copies import stable_hash

    return ("dev", "test", "train", "train")[stable_hash(name, 0) % 4]
