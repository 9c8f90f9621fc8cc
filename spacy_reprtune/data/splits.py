"""Which paragraphs to keep and where they go: near duplicates once, whole modules to a split."""

import hashlib
import re
from typing import Dict, List, Mapping, Sequence, Set, Tuple

SPLITS = ("train", "dev", "test")

# Paragraphs that share this much of their wording with what is already kept are copies of it.
# Lower values start to remove different sentences on one subject.
MAX_OVERLAP = 0.4
SHINGLE = 4


def drop_near_duplicates(texts: Sequence[str], *, max_overlap: float = MAX_OVERLAP) -> List[int]:
    """Keep one of each group of texts that were copied from each other.

    A text is a copy if more than `max_overlap` of its runs of four words occur in the texts kept
    so far, taken together: this finds copies, copies with another name in them, and texts that are
    patched together from boilerplate. Longer texts come first, so a sentence that
    stands in a longer paragraph elsewhere is found as well. Exact, hence the same on every run:
    no sampled hashes.

    texts (Sequence[str]): The texts.
    max_overlap (float): The share of known runs above which a text is dropped.
    RETURNS (List[int]): Indices of the texts to keep, ascending.
    """
    ids: Dict[str, int] = {}
    words = [[ids.setdefault(word, len(ids)) for word in _normalise(text)] for text in texts]
    # Sorting by the text next makes the choice independent of the order of the input.
    order = sorted(range(len(texts)), key=lambda i: (-len(words[i]), texts[i], i))
    seen: Set[Tuple[int, ...]] = set()
    kept = []
    for i in order:
        shingles = _shingles(words[i])
        known = sum(shingle in seen for shingle in shingles)
        if known <= max_overlap * len(shingles):
            kept.append(i)
            seen.update(shingles)
    return sorted(kept)


def split_modules(
    sizes: Mapping[str, Mapping[str, int]], *, seed: int, share: float = 0.12
) -> Dict[str, str]:
    """Send each module to one split, so that every group has enough in each.

    sizes (Mapping[str, Mapping[str, int]]): Group (such as a topic) to module to its number of
        paragraphs. A module belongs to one group.
    seed (int): Another seed gives another split.
    share (float): Of the paragraphs of a group, how many test and dev get, each.
    RETURNS (Dict[str, str]): Module to "train", "dev" or "test".
    """
    split_of: Dict[str, str] = {}
    for group in sorted(sizes):
        modules = sizes[group]
        wanted = share * sum(modules.values())
        have = {"test": 0, "dev": 0}
        for module in sorted(modules, key=lambda name: stable_hash(name, seed)):
            split_of[module] = "train"
            for split in have:
                # A module that would overshoot by half goes to train, another will fit.
                if have[split] < wanted and have[split] + modules[module] <= 1.5 * wanted:
                    have[split] += modules[module]
                    split_of[module] = split
                    break
    return split_of


def stable_hash(text: str, seed: int) -> int:
    """A hash that is the same in every process, unlike `hash`.

    text (str): What to hash.
    seed (int): Mixed in, for another order.
    RETURNS (int): 64 bits.
    """
    digest = hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _normalise(text: str) -> List[str]:
    # Numbers are one word: "added 3 rows" is a copy of "added 4 rows".
    return re.findall(r"[a-z]+|0", re.sub(r"\d+", "0", text.lower()))


def _shingles(words: List[int]) -> List[Tuple[int, ...]]:
    if len(words) < SHINGLE:
        return [tuple(words)]
    return list(zip(*(words[k:] for k in range(SHINGLE)), strict=False))
