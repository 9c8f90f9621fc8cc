"""Find best tag sequences and probabilities in the lattice of all tag sequences of documents.

The weight of a legal sequence is exp(sum of its logits and transitions), and of any other 0. So
results never break the scheme, and probabilities are shares among the legal sequences (Lafferty et
al. 2001; masked as in Wei et al. 2021, Masked Conditional Random Field).
"""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import NDArray

from ..encoder.windows import batch_by_pieces
from .fixed_transitions import FixedTransitions
from .learned_transitions import LearnedTransitions
from .tags import PartLogits, TagScheme

# The logits of tags: an array, or computed from their parts when they are read.
Logits = Union[NDArray, PartLogits]
# If weights are summed, logits count as at most this far below the best logit of their token. In
# fp64, a path can then cross a token against all evidence and keep a weight above 0.
LARGEST_GAP = 300.0
# The most logits that are searched for the greatest at once, in cells (tokens times tags).
_SEARCHED_CELLS = 2_000_000


class Spans(NamedTuple):
    """Entities in a group of documents, each field of shape (n_entities,).

    doc (NDArray[int64]): Number of the document in the group.
    start, end (NDArray[int64]): First token, and the token after the last, in the document.
    label (NDArray[int64]): Index of the label.
    """

    doc: NDArray[numpy.int64]
    start: NDArray[numpy.int64]
    end: NDArray[numpy.int64]
    label: NDArray[numpy.int64]


class Group:
    """Documents of similar length, with time as the first axis and at least one O after each."""

    def __init__(
        self,
        lattice: "Lattice",
        logits: Logits,
        docs: NDArray,
        rows: NDArray,
        largest_gap: float,
    ) -> None:
        """Put documents together.

        lattice (Lattice): The lattice.
        logits (Logits): Logits of all tokens of all documents.
        docs (NDArray[int64]): The documents of the group, shape (n_docs,).
        rows (NDArray[int64]): The row of each token in the logits, -1 for padding, shape
            (n_times, n_docs).
        largest_gap (float): How far a logit may be below the greatest of its token.
        """
        self.docs, self.rows = docs, rows
        self._lattice, self._logits, self._largest_gap = lattice, logits, largest_gap

    def cells(self, first: int = 0, last: Optional[int] = None) -> NDArray[numpy.float64]:
        """Compute the logits of tags over the temperature.

        first (int): The first time.
        last (Optional[int]): The time after the last, or None for all.
        RETURNS (NDArray[float64]): New logits, shape (last - first, n_docs, n_tags). After the end
            of a document, all tags but O are impossible.
        """
        rows, lattice = self.rows[first:last], self._lattice
        cells = self._logits[rows.reshape(-1)].astype(numpy.float64)
        cells = cells.reshape(*rows.shape, -1)
        cells /= lattice.temperature
        if self._largest_gap < numpy.inf:
            floor = cells.max(2, keepdims=True) - self._largest_gap
            numpy.maximum(cells, floor, out=cells, where=cells > -numpy.inf)
        padding = rows < 0
        cells[padding] = -numpy.inf
        cells[padding, 0] = 0.0
        return cells


class Lattice:
    """Decodes logits, scores entities, and computes the loss of learned transitions."""

    def __init__(
        self,
        scheme: TagScheme,
        transitions: Optional[NDArray] = None,
        *,
        temperature: float = 1.0,
    ) -> None:
        """Prepare for a scheme.

        scheme (TagScheme): Which tags there are, and which may follow which.
        transitions (Optional[ndarray]): Learned scores of a tag (column) after another (row),
            shape (n_tags, n_tags), or None for none.
        temperature (float): The divisor of logits and transitions. The best sequence is the same
            at any temperature.
        """
        self.scheme = scheme
        self.temperature = temperature
        self.rules: Union[FixedTransitions, LearnedTransitions]
        if transitions is None:
            self.rules = FixedTransitions(scheme)
        else:
            self.rules = LearnedTransitions(scheme, transitions, temperature)

    def decode(self, logits: Logits, lengths: Sequence[int]) -> NDArray[numpy.int64]:
        """Find the best legal tags.

        logits (Logits): Logits of the tokens of all documents in order, shape (n_tokens, n_tags).
        lengths (Sequence[int]): Number of tokens of each document.
        RETURNS (NDArray[int64]): One tag per token, shape (n_tokens,).
        """
        tags = numpy.zeros(len(logits), dtype=numpy.int64)
        todo = numpy.arange(len(lengths))
        if isinstance(self.rules, FixedTransitions):
            # If the best tags of all tokens make a legal sequence, no sequence is better.
            step = max(_SEARCHED_CELLS // len(self.scheme), 1)
            for first in range(0, len(logits), step):
                tags[first : first + step] = logits[first : first + step].argmax(1)
            todo = self._illegal(tags, lengths)
        fewest = self.rules.fewest_tokens
        for group in self._groups(logits, lengths, todo, gap=numpy.inf, fewest=fewest):
            inside = group.rows >= 0
            tags[group.rows[inside]] = self.rules.best_path(group)[inside]
        return tags

    def entity_probabilities(
        self, logits: Logits, lengths: Sequence[int], tags: NDArray
    ) -> "Tuple[NDArray[numpy.int64], NDArray[numpy.float64]]":
        """Score the entities of tagged documents. The score of an entity is the share of sequences
        with exactly this entity (same tokens, same label) in the weight of all legal sequences.

        logits (Logits): Shape (n_tokens, n_tags).
        lengths (Sequence[int]): Number of tokens of each document.
        tags (ndarray): Legal tags, shape (n_tokens,).
        RETURNS (Tuple[NDArray[int64], NDArray[float64]]): Document, first token, token after the
            last (both counted in their document) and label of each entity, in order, shape
            (n_entities, 4), and the probability of each, shape (n_entities,).
        """
        doc_of = numpy.repeat(numpy.arange(len(lengths)), lengths)
        with_entity = numpy.unique(doc_of[tags > 0])
        rows: List[NDArray] = [numpy.zeros((0, 4), dtype=numpy.int64)]
        scores: List[NDArray] = [numpy.zeros(0)]
        for group in self._groups(logits, lengths, with_entity):
            path = numpy.where(group.rows >= 0, tags[group.rows], 0)
            # Documents are concatenated; the last tag of each is O.
            found = self.scheme.spans(path.T.reshape(-1))
            doc, start = numpy.divmod(found[:, 0], len(path))
            spans = Spans(doc, start, start + found[:, 1] - found[:, 0], found[:, 2])
            rows.append(numpy.stack([group.docs[doc], *spans[1:]], axis=1))
            scores.append(self.rules.probabilities(group, path, spans).clip(0.0, 1.0))
        entities, probability = numpy.concatenate(rows), numpy.concatenate(scores)
        order = numpy.lexsort((entities[:, 1], entities[:, 0]))
        return entities[order], probability[order]

    def loss(
        self, logits: Logits, lengths: Sequence[int], gold: NDArray
    ) -> Tuple[float, NDArray, NDArray]:
        """Compute the negative log-likelihood of what is known of the gold tags, with learned
        transitions, as a mean over the known tokens.

        Tokens whose tag is not known are summed over (Tsuboi et al. 2008, Training Conditional
        Random Fields Using Incomplete Annotations).

        logits (Logits): Shape (n_tokens, n_tags).
        lengths (Sequence[int]): Number of tokens of each document.
        gold (ndarray): Tags, -1 where they are not known, shape (n_tokens,).
        RETURNS (Tuple[float, ndarray, ndarray]): The loss, and its gradients with respect to the
            logits and to the transitions.
        """
        assert isinstance(self.rules, LearnedTransitions)
        d_logits = numpy.zeros((len(logits), len(self.scheme)))
        d_transitions = numpy.zeros((len(self.scheme), len(self.scheme)))
        n_known = max(int((gold >= 0).sum()), 1)
        total = 0.0
        for group in self._groups(logits, lengths):
            loss, d_tokens, d_pairs = self.rules.loss(group, gold)
            total += loss
            d_logits[group.rows[group.rows >= 0]] = d_tokens
            d_transitions += d_pairs
        scale = 1.0 / (n_known * self.temperature)
        return total / n_known, d_logits * scale, d_transitions * scale

    def _illegal(self, tags: NDArray, lengths: Sequence[int]) -> NDArray:
        """The documents with a tag that may not follow the tag before it."""
        # Each document has an O before it and one after it, which the next document shares.
        around = numpy.zeros(len(tags) + len(lengths) + 1, dtype=numpy.int64)
        doc_of = numpy.repeat(numpy.arange(len(lengths)), lengths)
        around[numpy.arange(len(tags)) + doc_of + 1] = tags
        wrong = numpy.flatnonzero(~self.scheme.may_follow(around[:-1], around[1:]))
        borders = numpy.cumsum(numpy.asarray(lengths, dtype=numpy.int64) + 1)
        return numpy.unique(numpy.searchsorted(borders, wrong, side="right"))

    def _groups(
        self,
        logits: Logits,
        lengths: Sequence[int],
        only: Optional[NDArray] = None,
        *,
        gap: float = LARGEST_GAP,
        fewest: int = 1,
    ) -> Iterator[Group]:
        n_tokens = numpy.asarray(lengths, dtype=numpy.int64)
        starts = numpy.cumsum(n_tokens) - n_tokens
        chosen = numpy.arange(len(n_tokens)) if only is None else only
        chosen = chosen[n_tokens[chosen] > 0]
        sizes = numpy.maximum(n_tokens[chosen] + 1, fewest)
        for members in batch_by_pieces(sizes, budget=self.rules.group_tokens):
            docs = chosen[members]
            time = numpy.arange(int(n_tokens[docs].max()) + 1)[:, None]
            rows = numpy.where(time < n_tokens[docs], starts[docs] + time, -1)
            yield Group(self, logits, docs, rows, gap)
