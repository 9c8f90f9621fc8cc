"""Sizes, copies and leaks, and what is in the texts that no reader wants there."""

import math
from collections import defaultdict
from typing import Dict, Iterator, List, Tuple

import numpy

from ...copies import Signatures, near_pairs
from .facts import Facts, label_array
from .finding import Cases, Finding, join_cases, plural

# Below this, a score on the split says little.
SMALL = 50


def check_sizes(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Are there enough texts, and can they be read?

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
                "More texts, or judge by several seeds.",
                part.n_docs,
            )
    parts = list(facts.values())
    for level, code, what, cases, advice in (
        ("warning", "blank_text", "without a word", [p.blank for p in parts], "Leave them out."),
        (
            "warning",
            "odd_characters",
            "with invisible or wrongly decoded characters",
            [p.odd for p in parts],
            "Decode the files as what they are (`convert --encoding`), and clean the texts as "
            "those will be that the model is used on.",
        ),
        (
            "warning",
            "markup",
            "with HTML",
            [p.markup for p in parts],
            "Take it out, unless the model is used on HTML.",
        ),
    ):
        joined = join_cases(cases)
        if joined.count:
            message = f"{plural(joined.count, 'text')} {what}."
            yield Finding(level, code, message, advice, joined.count, joined.shown)


def check_copies(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Find equal and nearly equal texts, within and across splits, and equal texts told apart.

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
    for group in _equal(exact, blank):
        here = splits[group]
        places = [parts[k].split for k in sorted(set(here.tolist()))]
        shown = snippets[group[0]]
        for k in set(here.tolist()):
            for _ in range(int((here == k).sum()) - 1):
                within.add(f"{parts[k].split}: {shown}")
        for i, first in enumerate(places):
            for second in places[i + 1 :]:
                across[(first, second)].add(shown)
        held = sorted({int(x) for x in labels[group] if x >= 0})
        if len(held) > 1:
            told = " | ".join(", ".join(names[x]) or "none" for x in held)
            conflicts.add(f"{shown} → {told}")
    if within.count:
        yield Finding(
            "warning",
            "duplicates",
            f"{plural(within.count, 'text')} once more in the same split.",
            "Leave the copies out: they count twice in training and in scores.",
            within.count,
            within.shown,
        )
    for (first, second), cases in across.items():
        yield Finding(
            "error",
            "leak",
            f"{plural(cases.count, 'text')} both in {first} and in {second}.",
            "Scores on it are too high. Split the whole data again: `convert --split` keeps copies "
            "together.",
            cases.count,
            cases.shown,
        )
    if conflicts.count:
        yield Finding(
            "warning",
            "conflicting_labels",
            f"{plural(conflicts.count, 'text')} with different labels in different places.",
            "Decide which is right; label_smoothing = 0.1 helps where nobody can.",
            conflicts.count,
            conflicts.shown,
        )
    yield from _near(Signatures(exact, minima), splits, blank, parts, snippets)


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
    if within.count:
        yield Finding(
            "warning",
            "near_duplicates",
            f"{plural(within.count, 'pair')} of nearly equal texts in one split.",
            "Keep one of each, if they are copies.",
            within.count,
            within.shown,
        )
    if across.count:
        yield Finding(
            "warning",
            "near_leak",
            f"{plural(across.count, 'pair')} of nearly equal texts in two splits.",
            "Scores may be too high. `convert --split` keeps such texts together; --group does "
            "what no comparison of words can.",
            across.count,
            across.shown,
        )


def _equal(exact: "numpy.ndarray", blank: "numpy.ndarray") -> Iterator["numpy.ndarray"]:
    """Groups of two and more texts that are equal, in the order of their first."""
    order = numpy.argsort(exact, kind="stable")
    cuts = numpy.flatnonzero(exact[order][1:] != exact[order][:-1]) + 1
    groups = [g for g in numpy.split(order, cuts) if len(g) > 1 and not blank[g[0]]]
    yield from sorted(groups, key=lambda group: int(group[0]))
