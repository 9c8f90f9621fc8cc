"""Which paragraphs the harvest keeps and where they go: copies once, whole modules to one split."""

import re
from typing import Dict, List, Mapping, Sequence, Set, Tuple

from spacy_reprtune.copies import runs_of, stable_hash

# Paragraphs that share this much of their wording with what is already kept are copies of it.
# Lower values start to remove different sentences on one subject.
MAX_OVERLAP = 0.4
SHINGLE = 4
# Test and dev get this share of a group's paragraphs, each.
HELD_OUT = 0.12


def drop_near_duplicates(texts: Sequence[str]) -> List[int]:
    """Keep one of each group of texts that were copied from each other.

    A text is a copy if more than `MAX_OVERLAP` of its runs of four words occur in the texts kept
    so far, taken together: this finds copies, copies in which a name was changed, and texts that
    are patched together from boilerplate. Longer texts come first, so a sentence that stands in a
    longer paragraph elsewhere is found as well. The comparison is exact, without sampled hashes,
    and hence the same on every run.

    texts (Sequence[str]): Texts, in any order.
    RETURNS (List[int]): Indices of the texts to keep, ascending.
    """
    ids: Dict[str, int] = {}
    words = [[ids.setdefault(word, len(ids)) for word in _words(text)] for text in texts]
    # Sorting by the text next makes the choice independent of the order of the input.
    order = sorted(range(len(texts)), key=lambda i: (-len(words[i]), texts[i], i))
    seen: Set[Tuple[int, ...]] = set()
    kept = []
    for i in order:
        runs = runs_of(words[i], SHINGLE)
        if sum(run in seen for run in runs) <= MAX_OVERLAP * len(runs):
            kept.append(i)
            seen.update(runs)
    return sorted(kept)


def split_modules(sizes: Mapping[str, Mapping[str, int]], *, seed: int) -> Dict[str, str]:
    """Send each module to one split, so that every group has enough in each.

    sizes (Mapping[str, Mapping[str, int]]): Group (such as a topic) to module to its number of
        paragraphs. A module belongs to one group.
    seed (int): Seed of the split.
    RETURNS (Dict[str, str]): Module to "train", "dev" or "test".
    """
    split_of: Dict[str, str] = {}
    for group in sorted(sizes):
        modules = sizes[group]
        wanted = HELD_OUT * sum(modules.values())
        have = {"test": 0, "dev": 0}
        for module in sorted(modules, key=lambda name: stable_hash(name, seed)):
            split_of[module] = "train"
            for split in have:
                # A module that would overshoot by half goes to train; another one will fit.
                if have[split] < wanted and have[split] + modules[module] <= 1.5 * wanted:
                    have[split] += modules[module]
                    split_of[module] = split
                    break
    return split_of


def _words(text: str) -> List[str]:
    # Numbers are one word: "added 3 rows" is a copy of "added 4 rows".
    return re.findall(r"[a-z]+|0", re.sub(r"\d+", "0", text.lower()))
