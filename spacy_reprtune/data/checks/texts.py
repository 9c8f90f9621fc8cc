"""Check texts: sizes, copies and leaks, and unwanted characters."""

import math
import re
from collections import defaultdict
from itertools import combinations
from typing import Dict, Iterator, List, Tuple

import numpy

from ...copies import Signatures, near_pairs, words_of
from .facts import MAX_LENGTH, Facts, label_array
from .finding import Cases, Finding, join_cases, plural

# With fewer texts than this, a score on the split says little.
SMALL = 50
# Texts of fewer words, such as "1." or "Thank you", occur in any two samples of a language.
TRIVIAL_WORDS = 3
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\uf900-\ufaff]")


def check_sizes(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Check whether there are enough texts, and whether they can be read.

    facts (Dict[str, Facts]): Split to facts.
    YIELDS (Finding): What is wrong.
    """
    if "train" not in facts:
        yield Finding("error", "no_train", "There is no train.spacy.")
    if "dev" not in facts:
        yield Finding(
            "error",
            "no_dev",
            "There is no dev.spacy.",
            "`spacy train` chooses the best model on it: convert with --split 80/10/10.",
        )
    for split, part in facts.items():
        if not part.n_docs:
            yield Finding("error", "empty_split", f"{split} has no texts.")
        elif split != "train" and part.n_docs < SMALL:
            # Wald's interval at an accuracy of 0.9.
            margin = 1.96 * math.sqrt(0.09 / part.n_docs)
            yield Finding(
                "warning",
                "small_split",
                f"{split} has {plural(part.n_docs, 'text')}: an accuracy of 0.90 on it means "
                f"0.90 ± {margin:.2f}.",
                "Annotate more texts, or judge by several seeds.",
                part.n_docs,
            )
    parts = list(facts.values())
    yield from join_cases(p.blank for p in parts).finding(
        "warning", "blank_text", "text", "without a word", "Leave them out."
    )
    yield from join_cases(p.odd for p in parts).finding(
        "warning",
        "odd_characters",
        "text",
        "with invisible or wrongly decoded characters",
        "Decode the files with their own encoding (`convert --encoding`), and clean the texts in "
        "the same way as those that the model will be used on.",
    )
    yield from join_cases(p.markup for p in parts).finding(
        "warning",
        "markup",
        "text",
        "with HTML",
        "Take it out, unless the model will be used on HTML.",
    )
    yield from join_cases(p.too_long for p in parts).finding(
        "error",
        "too_long",
        "text",
        f"with more than {MAX_LENGTH:,} characters, which spaCy refuses to tokenize",
        "Cut them into sections before `convert`.",
    )


def check_copies(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Find equal and nearly equal texts, in one split or several, and equal texts whose labels
    differ.

    facts (Dict[str, Facts]): Split to facts.
    YIELDS (Finding): What is wrong.
    """
    parts = [part for part in facts.values() if part.n_docs]
    if not parts:
        return
    splits = numpy.concatenate([numpy.full(p.n_docs, k) for k, p in enumerate(parts)])
    exact = numpy.concatenate([p.exact for p in parts])
    minima = numpy.concatenate([p.signatures.minima for p in parts])
    ids: Dict[Tuple[str, ...], int] = {}
    labels = numpy.concatenate([label_array(p, ids) for p in parts])
    names = {index: held for held, index in ids.items()}
    snippets = [snippet for p in parts for snippet in p.snippets]
    blank = numpy.array([not snippet for snippet in snippets])

    within: Cases = Cases()
    across: Dict[Tuple[str, str], Cases] = defaultdict(Cases)
    conflicts: Cases = Cases()
    trivial: Cases = Cases()
    for group in _equal(exact, blank):
        here = splits[group]
        places = [parts[k].split for k in sorted(set(here.tolist()))]
        shown = snippets[group[0]]
        for k in set(here.tolist()):
            for _ in range(int((here == k).sum()) - 1):
                within.add(f"{parts[k].split}: {shown}")
        if _count_words(shown) < TRIVIAL_WORDS:
            trivial.add(shown) if len(places) > 1 else None
        else:
            for first, second in combinations(places, 2):
                across[(first, second)].add(shown)
        held = sorted({int(x) for x in labels[group] if x >= 0})
        if len(held) > 1:
            told = " | ".join(", ".join(names[x]) or "none" for x in held)
            conflicts.add(f"{shown} → {told}")
    yield from trivial.finding(
        "note",
        "trivial_copies",
        "text",
        f"of fewer than {TRIVIAL_WORDS} words in several splits",
        "Texts as short as this do not count as leaks.",
    )
    yield from within.finding(
        "warning",
        "duplicates",
        "text",
        "a second time in the same split",
        "Leave the copies out: they count double in training and in scores.",
    )
    for (first, second), cases in across.items():
        yield from cases.finding(
            "error",
            "leak",
            "text",
            f"both in {first} and in {second}",
            "Scores on them are too high. Split the whole data again: `convert --split` keeps "
            "copies together.",
        )
    yield from conflicts.finding(
        "warning",
        "conflicting_labels",
        "text",
        "with different labels in different places",
        "Decide which is right; label_smoothing = 0.1 helps where nobody can.",
    )
    yield from _near(Signatures(exact, minima), splits, blank, parts, snippets)


def _count_words(text: str) -> float:
    """Count the words of a text. In a script without spaces, two characters count as a word."""
    return len(words_of(text)) + len(_UNSPACED.findall(text)) / 2


def _near(
    signatures: Signatures,
    splits: "numpy.ndarray",
    blank: "numpy.ndarray",
    parts: List[Facts],
    snippets: List[str],
) -> Iterator[Finding]:
    within: Cases = Cases()
    across: Cases = Cases()
    for first, second in near_pairs(signatures):
        if blank[first] or blank[second]:
            continue
        names = parts[splits[first]].split, parts[splits[second]].split
        shown = f"{names[0]}: {snippets[first]} | {names[1]}: {snippets[second]}"
        (within if names[0] == names[1] else across).add(shown)
    yield from within.finding(
        "warning",
        "near_duplicates",
        "pair",
        "of nearly equal texts in one split",
        "Keep one of each pair, if they are copies.",
    )
    yield from across.finding(
        "warning",
        "near_leak",
        "pair",
        "of nearly equal texts in two splits",
        "Scores may be too high. `convert --split` keeps such texts together; --group also keeps "
        "together what no comparison of words finds.",
    )


def _equal(exact: "numpy.ndarray", blank: "numpy.ndarray") -> Iterator["numpy.ndarray"]:
    """Groups of two or more equal texts, in the order of their first text."""
    order = numpy.argsort(exact, kind="stable")
    cuts = numpy.flatnonzero(exact[order][1:] != exact[order][:-1]) + 1
    groups = [g for g in numpy.split(order, cuts) if len(g) > 1 and not blank[g[0]]]
    yield from sorted(groups, key=lambda group: int(group[0]))
