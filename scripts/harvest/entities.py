"""Named entities from docstrings: what their authors marked as code, with the marks taken away."""

from collections import Counter
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from spacy_reprtune.copies import stable_hash
from spacy_reprtune.data.corpus import SPLITS

from .markup import LITERAL_LABEL
from .paragraphs import Paragraph
from .prose import has_unmarked_code

# Dev and test have this share of the training size, each.
HELD_OUT = 1 / 8
# Paragraphs without an entity, of each split. Enough to teach that most prose has none; more would
# only add paragraphs by authors who do not mark up at all.
WITHOUT = 0.15
# Literals are seven times as frequent as all roles together; this many paragraphs, of each split,
# may have nothing else.
LITERALS_ONLY = 0.4
# A literal of more tokens is a statement, not a mention.
MAX_TOKENS = 8


def select_entity_examples(
    paragraphs: Sequence[Paragraph], *, nlp: Language, size: int, seed: int
) -> Tuple[Dict[str, List[Tuple[Paragraph, Doc]]], Dict[str, int]]:
    """Pick the paragraphs of each split whose marks are complete, those with roles first.

    paragraphs (Sequence[Paragraph]): Without near duplicates, with split.
    nlp (Language): Pipeline whose tokenizer decides which spans can be entities.
    size (int): Maximum of training paragraphs; dev and test get an eighth each.
    seed (int): Seed of the choice.
    RETURNS (Tuple[Dict[str, List[Tuple[Paragraph, Doc]]], Dict[str, int]]): Split to paragraphs
        and their annotated docs, shuffled, and how many were dropped for which reason.
    """
    convention = _Convention(paragraphs)
    ordered = sorted(paragraphs, key=lambda p: (stable_hash(p.text, seed), p.text))
    dropped: Counter = Counter()
    pools: Dict[str, Dict[str, List[Tuple[Paragraph, Doc]]]] = {
        split: {"roles": [], "literals": [], "none": []} for split in SPLITS
    }
    room = {
        split: {
            "roles": size_of(split, size),
            "literals": round(LITERALS_ONLY * size_of(split, size)),
            "none": round(WITHOUT * size_of(split, size)),
        }
        for split in SPLITS
    }
    for paragraph in ordered:
        pool = _pool_of(paragraph)
        if len(pools[paragraph.split][pool]) >= room[paragraph.split][pool]:
            continue
        doc, reason = _annotate(paragraph, nlp, convention)
        if doc is None:
            dropped[str(reason)] += 1
        else:
            pools[paragraph.split][pool].append((paragraph, doc))
    chosen = {}
    for split, pool in pools.items():
        # What is rare first: roles, then a fixed share of no entity, then literals up to the size.
        rest = pool["none"] + pool["literals"]
        picked = (pool["roles"][: size_of(split, size) - len(rest)]) + rest
        chosen[split] = sorted(picked, key=lambda pair: stable_hash(pair[0].text, seed))
    return chosen, dict(sorted(dropped.items()))


def size_of(split: str, size: int) -> int:
    """Say how many paragraphs a split gets at most.

    split (str): "train", "dev" or "test".
    size (int): Training paragraphs.
    RETURNS (int): The size itself, or an eighth.
    """
    return size if split == "train" else max(1, round(size * HELD_OUT))


def count_entities(examples: Iterable[Tuple[Paragraph, Doc]]) -> Dict[str, int]:
    """Count what is in a split.

    examples (Iterable[Tuple[Paragraph, Doc]]): Paragraphs with their docs.
    RETURNS (Dict[str, int]): Docs, docs without an entity, and entities by label.
    """
    counts: Counter = Counter({"docs": 0, "docs without entities": 0})
    for _, doc in examples:
        counts["docs"] += 1
        counts["docs without entities"] += not doc.ents
        counts.update(ent.label_ for ent in doc.ents)
    return dict(sorted(counts.items()))


class _Convention:
    """What the authors mark, taken together: a paragraph that deviates is not used as gold."""

    def __init__(self, paragraphs: Sequence[Paragraph]) -> None:
        # Authors who never mark code leave every mention as a false negative.
        self.modules = {p.module for p in paragraphs if p.spans}
        self.roles: Dict[str, str] = {}
        for paragraph in paragraphs:
            for start, end, label in paragraph.spans:
                if label in ("CLASS", "FUNCTION"):
                    self.roles.setdefault(_last_name(paragraph.text[start:end]), label)

    def objection(self, paragraph: Paragraph) -> Optional[str]:
        """Why the marks of a paragraph cannot be trusted, None if they can."""
        if paragraph.issue:
            return paragraph.issue
        if paragraph.module not in self.modules:
            return "module without markup"
        if has_unmarked_code(paragraph.text, paragraph.spans):
            return "unmarked code"
        for start, end, label in paragraph.spans:
            role = self.roles.get(_last_name(paragraph.text[start:end]), label)
            # ``Graph`` here and :class:`Graph` there: the reader cannot know which was meant.
            if role != label and label != "ATTRIBUTE":
                return "label differs elsewhere"
        return None


def _annotate(
    paragraph: Paragraph, nlp: Language, convention: _Convention
) -> Tuple[Optional[Doc], Optional[str]]:
    """The doc with its entities, or why there is none."""
    reason = convention.objection(paragraph)
    if reason:
        return None, reason
    doc = nlp.make_doc(paragraph.text)
    ents = [doc.char_span(start, end, label=label) for start, end, label in paragraph.spans]
    if any(ent is None for ent in ents):
        return None, "not aligned with tokens"
    if any(len(ent) > MAX_TOKENS for ent in ents):
        return None, "long literal"
    # Sets every other token to "outside", also where there is no entity at all: annotated, empty.
    doc.set_ents(ents)
    return doc, None


def _last_name(name: str) -> str:
    return name.rpartition(".")[2].rstrip("()")


def _pool_of(paragraph: Paragraph) -> str:
    labels = {label for _, _, label in paragraph.spans}
    if labels - {LITERAL_LABEL}:
        return "roles"
    return "literals" if labels else "none"
