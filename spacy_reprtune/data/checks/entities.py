"""Entities: borders, overlaps, labels, and mentions that were seen in training or forgotten."""

from collections import Counter
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List

from ..convert import label_variants
from .facts import Facts
from .finding import Cases, Finding, join_cases, plural, show_counts

if TYPE_CHECKING:
    from spacy.tokens import Doc

# As spaCy's `debug data`.
RARE = 50
# If this share of the mentions in a test was seen in training, a list of names would do as well.
SEEN = 0.98
# A mention that is an entity this often, and in nine of ten places, probably always is.
_OFTEN = 5
_NEARLY_ALWAYS = 0.9
_MAX_TOKENS = 5


def has_entities(facts: Dict[str, Facts]) -> bool:
    """RETURNS (bool): Whether any text has entities or spans."""
    return any(part.n_ents or part.nested.count for part in facts.values())


def summarise_entities(facts: Dict[str, Facts]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Each label's mentions by split, and what share train has seen."""
    names = sorted({label for part in facts.values() for label in part.ents})
    return {
        "labels": {x: {split: part.ents[x] for split, part in facts.items()} for x in names},
        "seen": {
            split: share_seen(facts["train"], part)
            for split, part in facts.items()
            if split != "train" and "train" in facts and part.n_ents
        },
    }


def share_seen(train: Facts, part: Facts) -> float:
    """RETURNS (float): The share of a split's mentions whose wording is an entity in train."""
    seen = sum(sum(c.values()) for text, c in part.surfaces.items() if text in train.surfaces)
    return round(seen / part.n_ents, 4)


def check_entities(facts: Dict[str, Facts]) -> Iterator[Finding]:
    """Check the entities.

    facts (Dict[str, Facts]): Split to facts.
    YIELDS (Finding): What is wrong.
    """
    parts = list(facts.values())
    joined = {
        name: join_cases([getattr(part, name) for part in parts])
        for name in ("white", "misaligned", "nested", "crossing", "without_ents")
    }
    for level, code, what, key, advice in (
        (
            "error",
            "white_space_entity",
            "with white space at the edge",
            "white",
            "spaCy refuses them. Trim them; `convert` does.",
        ),
        (
            "warning",
            "misaligned_entity",
            "with a border inside of a token",
            "misaligned",
            "They can't be learned, and count as missed. Move the borders (`convert --align "
            "expand`) or change the tokenizer.",
        ),
        (
            "warning",
            "nested_entity",
            "overlap another",
            "nested",
            "doc.ents and reprtune_ner hold one entity a token. Keep the longer, or use spancat.",
        ),
        ("warning", "entity_across_sentences", "across a sentence border", "crossing", ""),
    ):
        if joined[key].count:
            verb = "that overlap another" if key == "nested" else what
            message = f"{plural(joined[key].count, 'entity')} {verb}."
            yield Finding(level, code, message, advice, joined[key].count, joined[key].shown)
    if joined["without_ents"].count:
        yield Finding(
            "warning",
            "no_entity_annotation",
            f"{plural(joined['without_ents'].count, 'text')} never annotated with entities, beside "
            f"{sum(part.n_annotated for part in parts):,} that were.",
            "They are not learned from. If they have no entities, say so: `doc.set_ents([])`.",
            joined["without_ents"].count,
            joined["without_ents"].shown,
        )
    yield from _check_labels(facts)
    yield from _check_seen(facts)


def check_forgotten(train: Facts, docs: Iterable["Doc"]) -> Iterator[Finding]:
    """Find mentions that are entities nearly everywhere but here.

    train (Facts): Of the training data.
    docs (Iterable[Doc]): The training data once more.
    YIELDS (Finding): What is wrong.
    """
    often = {
        tuple(text.split()): counts
        for text, counts in train.surfaces.items()
        if sum(counts.values()) >= _OFTEN and len(text) > 3 and len(text.split()) <= _MAX_TOKENS
    }
    plain: Dict[tuple, List[str]] = {}
    lengths = sorted({len(key) for key in often}, reverse=True)
    for number, doc in enumerate(docs, start=1):
        if not doc.has_annotation("ENT_IOB"):
            continue
        words = [token.text for token in doc]
        for length in lengths:
            for k in range(len(words) - length + 1):
                key = tuple(words[k : k + length])
                if key in often and not any(token.ent_type for token in doc[k : k + length]):
                    shown = doc[max(0, k - 3) : k + length + 3].text.replace("\n", " ")
                    plain.setdefault(key, []).append(f"train {number}: …{shown}…")
    cases = Cases()
    for key, places in plain.items():
        marked = sum(often[key].values())
        if marked >= _NEARLY_ALWAYS * (marked + len(places)):
            for place in places:
                cases.add(f"{place} ({' '.join(key)} is marked in {marked} places)")
    if cases.count:
        yield Finding(
            "warning",
            "forgotten_mention",
            f"{plural(cases.count, 'mention')} not marked, where nearly all others of the same "
            "wording are.",
            "Have a look; each one that was forgotten teaches the opposite.",
            cases.count,
            cases.shown,
        )


def _check_labels(facts: Dict[str, Facts]) -> Iterator[Finding]:
    names = {label for part in facts.values() for label in part.ents}
    variants = label_variants(names)
    if variants:
        yield Finding(
            "warning",
            "label_variants",
            f"Labels that may be one: {', '.join(' / '.join(group) for group in variants)}.",
            "`convert --merge-labels` makes them one.",
            len(variants),
        )
    train = facts["train"].ents if "train" in facts else Counter()
    rare = Counter({label: n for label, n in train.items() if n < RARE})
    if rare:
        yield Finding(
            "warning",
            "rare_entity_label",
            f"Fewer than {RARE} entities in train: {show_counts(rare)}.",
            "Annotate more, or join labels.",
            len(rare),
        )
    for split, part in facts.items():
        if split == "train" or not part.n_annotated:
            continue
        unseen = Counter({label: n for label, n in part.ents.items() if not train[label]})
        if unseen:
            yield Finding(
                "error",
                "unseen_label",
                f"{split} has entity labels that train has not: {show_counts(unseen)}.",
                "They can't be learned. Split again, or leave them out.",
                len(unseen),
            )
        absent = sorted(label for label in train if not part.ents[label])
        if absent:
            yield Finding(
                "warning",
                "absent_label",
                f"{split} has none of these entity labels: {', '.join(absent)}.",
                "Nothing is known about them afterwards.",
                len(absent),
            )


def _check_seen(facts: Dict[str, Facts]) -> Iterator[Finding]:
    for split, share in summarise_entities(facts)["seen"].items():
        n = facts[split].n_ents
        message = (
            f"{share:.0%} of the {plural(n, 'entity')} in {split} have a wording seen in train."
        )
        if share >= SEEN and n >= 20:
            yield Finding(
                "warning",
                "all_seen",
                message,
                "A list of names would score as well; scores on new names are unknown.",
            )
        else:
            yield Finding("note", "seen", message)
