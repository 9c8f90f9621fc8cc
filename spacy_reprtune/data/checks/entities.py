"""Check entities: borders, overlaps, labels, and mentions that train has or annotators forgot."""

from collections import Counter
from typing import Any, Dict, Iterator, List

from ..spacing import join_words
from .facts import Facts
from .finding import Cases, Finding, join_cases, plural, show_counts
from .labels import check_splits, check_variants

# The number that spaCy's `debug data` uses.
RARE = 50
# If train has this share of the mentions in test, a list of names would do as well.
SEEN = 0.98
# A wording that is an entity this often, and in nine of ten places, is probably always one.
_OFTEN = 5
_NEARLY_ALWAYS = 0.9
_MAX_TOKENS = 5


def has_entities(facts: Dict[str, Facts]) -> bool:
    """RETURNS (bool): Whether any text has entities."""
    return any(part.n_ents for part in facts.values())


def summarize_entities(facts: Dict[str, Facts]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Mentions per label and split, and the share that train has."""
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
    yield from join_cases(part.white for part in parts).finding(
        "error",
        "white_space_entity",
        "entity",
        "with white space at the edge",
        "spaCy refuses them. Trim them; `convert` does.",
    )
    yield from join_cases(part.misaligned for part in parts).finding(
        "warning",
        "misaligned_entity",
        "entity",
        "with a border inside a token",
        "They can't be learned, and count as missed. Move the borders (`convert --align expand`) "
        "or change the tokenizer.",
    )
    yield from join_cases(part.nested for part in parts).finding(
        "warning",
        "nested_entity",
        "entity",
        "that overlap another",
        "doc.ents holds one entity per token. Keep the longer, or train reprtune_ner with "
        "overlapping = true.",
    )
    yield from join_cases(part.crossing for part in parts).finding(
        "warning", "entity_across_sentences", "entity", "across a sentence border"
    )
    yield from join_cases(part.without_ents for part in parts).finding(
        "warning",
        "no_entity_annotation",
        "text",
        f"never annotated with entities, unlike {sum(p.n_annotated for p in parts):,} others",
        "They are not learned from. If they have no entities, say so: `doc.set_ents([])`.",
    )
    yield from _check_labels(facts)
    yield from _check_seen(facts)


def check_forgotten(train: Facts) -> Iterator[Finding]:
    """Find mentions that are entities nearly everywhere else.

    train (Facts): Facts about the training data, gathered with words.
    YIELDS (Finding): What is wrong.
    """
    often = {
        tuple(text.split()): counts
        for text, counts in train.surfaces.items()
        if sum(counts.values()) >= _OFTEN and len(text) > 3 and len(text.split()) <= _MAX_TOKENS
    }
    plain: Dict[tuple, List[str]] = {}
    lengths = sorted({len(key) for key in often}, reverse=True)
    for number, words, spaces, marked in train.words.read() if often and train.words else ():
        for length in lengths:
            for k in range(len(words) - length + 1):
                key = tuple(words[k : k + length])
                if key in often and not any(marked[k : k + length]):
                    around = slice(max(0, k - 3), k + length + 3)
                    shown = join_words(words[around], spaces[around])[0].strip().replace("\n", " ")
                    plain.setdefault(key, []).append(f"train {number}: …{shown}…")
    cases = Cases()
    for key, places in plain.items():
        marked = sum(often[key].values())
        if marked >= _NEARLY_ALWAYS * (marked + len(places)):
            for place in places:
                cases.add(f"{place} ({' '.join(key)} is marked in {marked} places)")
    yield from cases.finding(
        "warning",
        "forgotten_mention",
        "mention",
        "not marked, although nearly all others with the same wording are",
        "Check them: a mention that was forgotten teaches the model to miss it.",
    )


def _check_labels(facts: Dict[str, Facts]) -> Iterator[Finding]:
    yield from check_variants({label for part in facts.values() for label in part.ents})
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
    counts = {split: part.ents for split, part in facts.items() if part.n_annotated}
    yield from check_splits(counts, "Entity labels", "entities")


def _check_seen(facts: Dict[str, Facts]) -> Iterator[Finding]:
    for split, share in summarize_entities(facts)["seen"].items():
        n = facts[split].n_ents
        message = (
            f"{share:.0%} of the {plural(n, 'entity')} in {split} have a wording that is also in "
            "train."
        )
        if share >= SEEN and n >= 20:
            yield Finding(
                "warning",
                "all_seen",
                message,
                "A list of names would score as well, and the score on new names stays unknown.",
            )
        else:
            yield Finding("note", "seen", message)
