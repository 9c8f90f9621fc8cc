"""Corpora whose annotation is only in `doc.spans`: labeled sentences, and spans in each other."""

import random

import spacy
from spacy.tokens import DocBin

NLP = spacy.blank("en")
SIZES = {"train": 60, "dev": 50}
SIGNS = {"CLAIM": "great", "FACT": "film"}
SYLLABLES = "ba de fi go lu mar nen por ris sto tal ven wic zan".split()


def words(rng, n):
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(2)) for _ in range(n))


def essay(rng, key="claims"):
    """A doc of two sentences, whose third word tells the label."""
    text, places = "", []
    for label in rng.sample(sorted(SIGNS), 2):
        start = len(text) + bool(text)
        text += f"{' ' * bool(text)}{words(rng, 2).capitalize()} {SIGNS[label]} {words(rng, 2)}."
        places.append((start, len(text), label))
    return with_spans(text, key, places)


def nested(rng, key="ner"):
    """A doc with a company that has a place in its name."""
    name = words(rng, 1).capitalize()
    text = f"{words(rng, 3).capitalize()} {name} Bank {words(rng, 3)}."
    start = text.index(f"{name} Bank")
    end = start + len(name)
    return with_spans(text, key, [(start, end + 5, "COMPANY"), (start, end, "PLACE")])


def with_spans(text, key, places):
    doc = NLP.make_doc(text)
    doc.spans[key] = [doc.char_span(*place) for place in places]
    return doc


def corpus(make, **settings):
    rng = random.Random(0)
    return {split: [make(rng, **settings) for _ in range(n)] for split, n in SIZES.items()}


def save(docs, folder):
    folder.mkdir()
    for split, own in docs.items():
        DocBin(docs=own, attrs=["ENT_IOB", "ENT_TYPE"]).to_disk(folder / f"{split}.spacy")
    return folder
