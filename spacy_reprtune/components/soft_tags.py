"""Probabilities of tags that one recognizer predicts and another one learns from.

They are in `doc.user_data`, so that a `.spacy` file keeps them (`DocBin(store_user_data=True)`).
"""

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..heads.tags import PartLogits, TagScheme
from .entities import same_tokens
from .tag_rows import GoldTags, seen_tokens, sequences

if TYPE_CHECKING:
    from ..heads.lattice import Lattice

# The key of `doc.user_data`.
TAGS = "reprtune_tags"
# Probabilities below this are stored as 0, which compresses well and changes no target visibly.
SMALLEST = 1e-3


def tag_posteriors(docs: Sequence[Doc], logits: NDArray, lattice: "Lattice") -> List[NDArray]:
    """Compute the probability of each tag of each token, over all legal sequences of tags.

    docs (Sequence[Doc]): The docs.
    logits (ndarray): Logits of the tags' parts for all tokens, shape (n_tokens, n_parts).
    lattice (Lattice): A lattice with transitions, learned or zero.
    RETURNS (List[ndarray]): One array per doc, fp16 of the shape (n_tokens, n_tags). Tokens
        without a tag, such as white space, have only zeros.
    """
    rows = numpy.flatnonzero(seen_tokens(docs, logits))
    lengths, _ = sequences(docs, rows)
    seen = PartLogits(lattice.scheme, logits[rows])
    best = lattice.decode(seen, lengths)
    found = numpy.zeros((len(logits), len(lattice.scheme)))
    if len(rows):
        # The gradient of the loss of any sequence is the posterior minus that sequence.
        _, gradient, _ = lattice.loss(seen, lengths, best)
        posteriors = gradient * len(rows) * lattice.temperature
        posteriors[numpy.arange(len(rows)), best] += 1.0
        posteriors[posteriors < SMALLEST] = 0.0
        found[rows] = posteriors / posteriors.sum(1, keepdims=True)
    ends = numpy.cumsum([len(doc) for doc in docs])
    return numpy.split(found.astype(numpy.float16), ends[:-1])


def write_tags(doc: Doc, names: Sequence[str], probabilities: NDArray) -> None:
    """Store probabilities of tags in a doc.

    doc (Doc): The doc.
    names (Sequence[str]): Names of the tags, as in `TagScheme.names`.
    probabilities (ndarray): Shape (n_tokens, n_tags).
    """
    doc.user_data[TAGS] = {"names": list(names), "probabilities": probabilities}


def write_tag_posteriors(
    docs: Sequence[Doc],
    logits: NDArray,
    tags: TagScheme,
    transitions: Optional[NDArray],
    temperature: float,
) -> None:
    """Store the probabilities of a recognizer's tags in docs.

    docs (Sequence[Doc]): The docs.
    logits (ndarray): Logits of the tags' parts for all tokens, shape (n_tokens, n_parts).
    tags (TagScheme): The tags.
    transitions (Optional[ndarray]): Learned transitions, shape (n_tags, n_tags), or None.
    temperature (float): The number that logits and transitions are divided by.
    """
    from ..heads.lattice import Lattice

    if transitions is None:
        # All legal sequences have the same score for their transitions.
        transitions = numpy.zeros((len(tags), len(tags)), dtype="f")
    lattice = Lattice(tags, transitions, temperature=temperature)
    for doc, found in zip(docs, tag_posteriors(docs, logits, lattice), strict=True):
        write_tags(doc, tags.names, found)


def soft_targets(
    examples: Sequence[Example], gold: GoldTags, scheme: TagScheme, name: str
) -> NDArray:
    """Compute the targets of tokens in training.

    examples (Sequence[Example]): The examples.
    gold (GoldTags): Their gold tags.
    scheme (TagScheme): The tags.
    name (str): Name of the component, for errors.
    RETURNS (ndarray): The probabilities of tags in the reference doc, or else 1 for the gold tag,
        fp32 of the shape (n_seen, n_tags). Zeros where nothing is known.
    RAISES (ValueError): The probabilities belong to another scheme.
    """
    targets = numpy.zeros((len(gold.rows), len(scheme)), dtype="f")
    known = numpy.flatnonzero(gold.tags >= 0)
    targets[known, gold.tags[known]] = 1.0
    first_token = first_row = 0
    for example, n_seen in zip(examples, gold.lengths, strict=True):
        rows = slice(first_row, first_row + n_seen)
        soft = _read_tags(example, scheme, name)
        if soft is not None:
            own = soft[gold.rows[rows] - first_token]
            # A token that the teacher has not tagged keeps its gold tag.
            targets[rows] = numpy.where(own.any(1, keepdims=True), own, targets[rows])
        first_token += len(example.predicted)
        first_row += n_seen
    return targets


def _read_tags(example: Example, scheme: TagScheme, name: str) -> Optional[NDArray]:
    stored: Optional[Dict[str, Any]] = example.reference.user_data.get(TAGS)
    if stored is None or not same_tokens(example.reference, example.predicted):
        return None
    positions = {tag.partition("-")[0] for tag in stored["names"]} - {"O"}
    if positions != set(scheme.positions):
        raise ValueError(
            f"'{name}' has the scheme {scheme.scheme!r}, but the probabilities of tags in its "
            f"training data are for the positions {', '.join(sorted(positions))}. Use the scheme "
            "of the recognizer that predicted them."
        )
    columns = {tag: k for k, tag in enumerate(scheme.names)}
    shared = [(k, columns[tag]) for k, tag in enumerate(stored["names"]) if tag in columns]
    theirs, ours = (list(numbers) for numbers in zip(*shared, strict=True))
    soft = numpy.zeros((len(example.predicted), len(scheme)), dtype="f")
    soft[:, ours] = stored["probabilities"][:, theirs]
    total = soft.sum(1, keepdims=True)
    return numpy.divide(soft, total, out=soft, where=total > 0)
