"""Check the groups of `doc.spans`: their labels, and spans that overlap."""

from collections import Counter
from typing import Any, Dict, Iterator

from .entities import RARE, has_entities
from .facts import Facts, GroupFacts
from .finding import Finding, join_cases, show_counts
from .labels import check_splits, check_variants


def has_spans(facts: Dict[str, Facts]) -> bool:
    """RETURNS (bool): Whether any text has labeled spans."""
    return any(group.labels for part in facts.values() for group in part.groups.values())


def summarize_spans(facts: Dict[str, Facts]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): For each key of `doc.spans` the number of spans per label and
    split, how many spans overlap an earlier one, which share of them are sentences, and whether
    each has exactly one label."""
    found = {}
    for key in sorted({key for part in facts.values() for key in part.groups}):
        parts = {split: part.groups.get(key, GroupFacts()) for split, part in facts.items()}
        names = sorted({label for own in parts.values() for label in own.labels})
        total = sum(own.n_spans for own in parts.values())
        sentences = sum(own.n_sentences for own in parts.values())
        found[key] = {
            "labels": {x: {split: own.labels[x] for split, own in parts.items()} for x in names},
            "overlapping": sum(own.overlapping for own in parts.values()),
            "sentences": round(sentences / total, 4) if total else 0.0,
            "exclusive": all(own.exclusive for own in parts.values()),
        }
    return found


def check_spans(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Check the groups of spans.

    facts (Dict[str, Facts]): Split to facts.
    YIELDS (Finding): What is wrong.
    """
    for key in sorted({key for part in facts.values() for key in part.groups}):
        yield from _check_labels(facts, key)
    if has_entities(facts):
        # What overlaps is a finding about entities then, and so are texts without annotation.
        return
    parts = list(facts.values())
    yield from join_cases(part.nested for part in parts).finding(
        "note",
        "nested_entity",
        "span",
        "that overlap another",
        "To find all of them, reprtune_ner needs overlapping = true.",
    )
    yield from join_cases(part.without_ents for part in parts).finding(
        "warning",
        "no_span_annotation",
        "text",
        f"never annotated with spans, unlike {sum(p.n_annotated for p in parts):,} others",
        "They are not learned from. If they have no spans, say so: `doc.spans[KEY] = []`.",
    )


def _check_labels(facts: Dict[str, Facts], key: str) -> Iterator[Finding]:
    # A split with other annotation may do without the group: spans that are known to be incorrect,
    # for example, are only needed in train.
    counts = {
        split: part.groups[key].labels if key in part.groups else Counter()
        for split, part in facts.items()
        if key in part.groups or not (part.n_cats or part.n_ents)
    }
    yield from check_variants({label for own in counts.values() for label in own})
    group = f"doc.spans[{key!r}]"
    rare = Counter({x: n for x, n in counts.get("train", Counter()).items() if n < RARE})
    if rare:
        yield Finding(
            "warning",
            "rare_span_label",
            f"Fewer than {RARE} spans of {group} in train: {show_counts(rare)}.",
            "Annotate more, or join labels.",
            len(rare),
        )
    if "train" in counts:
        yield from check_splits(counts, f"Labels in {group}", f"spans in {group}")
