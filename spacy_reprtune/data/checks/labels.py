"""Check labels of texts: balance, names, splits that lack a label, texts with none or too many."""

from collections import Counter
from typing import Any, Dict, Iterator, List, Set

from ..convert import label_variants
from .facts import Facts
from .finding import Finding, join_cases, show_counts

# spaCy's `debug data` warns below 50 examples of an entity label, but a text says more than a
# mention.
RARE = 10
# Ratio of the largest to the smallest label above which weights are worth considering.
IMBALANCE = 10.0
# If this share of the texts has exactly one label, labels are meant to be exclusive.
EXCLUSIVE = 0.95


def has_labels(facts: Dict[str, Facts]) -> bool:
    """RETURNS (bool): Whether any text has categories."""
    return any(part.n_cats for part in facts.values())


def is_exclusive(facts: Dict[str, Facts]) -> bool:
    """RETURNS (bool): Whether (nearly) every text with categories has exactly one label."""
    total = sum(part.n_cats for part in facts.values())
    return total > 0 and sum(part.held[1] for part in facts.values()) >= EXCLUSIVE * total


def balanced_weights(counts: "Counter[str]") -> Dict[str, float]:
    """Compute the weights of `class_weights = "balanced"`: n / (k * n_c), as in scikit-learn.

    counts (Counter[str]): Number of training texts per label.
    RETURNS (Dict[str, float]): Label to weight.
    """
    total, k = sum(counts.values()), len(counts)
    return {label: round(total / (k * n), 3) if n else 1.0 for label, n in sorted(counts.items())}


def summarize_labels(facts: Dict[str, Facts]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Texts per label and split, and each label's balanced weight."""
    names = sorted({label for part in facts.values() for label in part.known})
    train = facts["train"].labels if "train" in facts else Counter()
    weights = balanced_weights(Counter({label: train[label] for label in names}))
    return {
        label: {
            **{split: part.labels[label] for split, part in facts.items()},
            "weight": weights[label],
        }
        for label in names
    }


def check_labels(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Check the categories.

    facts (Dict[str, Facts]): Split to facts.
    YIELDS (Finding): What is wrong.
    """
    parts = list(facts.values())
    names = sorted({label for part in parts for label in part.known})
    yield from _check_names(names)
    yield from join_cases(part.bad_scores for part in parts).finding(
        "error",
        "bad_score",
        "score",
        "of a label outside of 0 to 1",
        "Use 1.0 for labels that hold and 0.0 for others.",
    )
    yield from join_cases(part.without_cats for part in parts).finding(
        "warning",
        "no_labels",
        "text",
        f"without any label, unlike {sum(part.n_cats for part in parts):,} others",
        "They are not learned from. Annotate them, or leave them out.",
    )
    partial = {
        label: missing
        for label in names
        if (missing := sum(part.n_cats - part.known[label] for part in parts))
    }
    if partial:
        yield Finding(
            "warning",
            "missing_scores",
            f"Some texts do not mention some labels: {show_counts(Counter(partial))}.",
            "With several labels per text, these are unknown and not learned from; with one label "
            "per text, write 0.0.",
            sum(partial.values()),
        )
    if is_exclusive(facts):
        yield from _check_exclusive(parts)
    yield from _check_balance(facts, names)


def _check_names(names: List[str]) -> Iterator[Finding]:
    edged = [name for name in names if name != name.strip() or not name.strip()]
    if edged:
        yield Finding(
            "error",
            "label_spaces",
            f"Labels with white space at the edge: {', '.join(map(repr, edged))}.",
            "Nobody can see the difference in a table of scores: rename them.",
            len(edged),
        )
    yield from check_variants({name.strip() for name in names})


def check_variants(names: Set[str]) -> Iterator[Finding]:
    """YIELDS (Finding): Labels that differ only in case and spaces, if there are any."""
    variants = label_variants(names)
    if variants:
        yield Finding(
            "warning",
            "label_variants",
            f"These labels may be the same: {', '.join(' / '.join(group) for group in variants)}.",
            "`convert --merge-labels` makes them one.",
            len(variants),
        )


def check_splits(
    counts: "Dict[str, Counter[str]]", kind: str, unit: str, remedy: str = ""
) -> Iterator[Finding]:
    """Find labels that train lacks, and labels of train that another split lacks.

    counts (Dict[str, Counter[str]]): Split to the number of texts, entities or spans per label.
    kind (str): "Labels", "Entity labels" or "Labels in doc.spans['KEY']".
    unit (str): "texts", "entities" or "spans in doc.spans['KEY']".
    remedy (str): What to do if a split lacks labels.
    YIELDS (Finding): What is wrong.
    """
    train = counts.get("train", Counter())
    for split, own in counts.items():
        if split == "train":
            continue
        unseen = Counter({x: n for x, n in sorted(own.items()) if n and not train[x]})
        if unseen:
            yield Finding(
                "error",
                "unseen_label",
                f"{kind} of {split} are missing from train, so they can't be learned: "
                f"{show_counts(unseen)}.",
                "Split again, or leave them out.",
                len(unseen),
            )
        absent = [label for label, n in sorted(train.items()) if n and not own[label]]
        if absent:
            yield Finding(
                "warning",
                "absent_label",
                f"{split} has no {unit} with these labels: {', '.join(absent)}.",
                f"Their scores will be unknown.{remedy}",
                len(absent),
            )


def _check_exclusive(parts: List[Facts]) -> Iterator[Finding]:
    yield from join_cases(part.several for part in parts).finding(
        "warning",
        "several_labels",
        "text",
        "with several labels, where others have one",
        "Choose one, or train reprtune_textcat_multilabel.",
    )
    yield from join_cases(part.none_held for part in parts).finding(
        "warning",
        "no_label_holds",
        "text",
        "with all labels at 0, where others have one",
        "Add a label for such texts, or train reprtune_textcat_multilabel.",
    )


def _check_balance(facts: Dict[str, Facts], names: List[str]) -> Iterator[Finding]:
    train = facts["train"].labels if "train" in facts else Counter()
    held = [label for label in names if train[label]]
    if len(names) == 1 and is_exclusive(facts):
        yield Finding("error", "one_label", f"There is only one label: {names[0]}.")
    counts = {split: part.labels for split, part in facts.items() if part.n_cats}
    remedy = " Split again: `convert` puts a label with five texts or more into every split."
    yield from check_splits(counts, "Labels", "texts", remedy)
    rare = Counter({label: train[label] for label in held if train[label] < RARE})
    if rare:
        yield Finding(
            "warning",
            "rare_label",
            f"Fewer than {RARE} training texts: {show_counts(rare)}.",
            "Annotate more, join labels, or use the SetFit recipe.",
            len(rare),
        )
    if len(held) > 1:
        largest, smallest = max(train[x] for x in held), min(train[x] for x in held)
        if largest > IMBALANCE * smallest:
            weights = balanced_weights(Counter({label: train[label] for label in held}))
            table = ", ".join(f"{label} {weight:g}" for label, weight in weights.items())
            yield Finding(
                "warning",
                "imbalance",
                f"The largest label has {largest / smallest:.0f} times the texts of the smallest: "
                f"{show_counts(train)}.",
                f'If rare labels matter as much: class_weights = "balanced" ({table}).',
            )
