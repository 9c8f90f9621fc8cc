"""Best paths and entity probabilities if only the scheme decides which tag may follow which.

After each token, a sequence is *closed* (O or a new entity may follow), *inside* a label (only
that label's own tags may follow), or in BIO both. One closed state and one state per label hold
everything that the next token depends on, so time and memory are linear in the labels.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, List, Tuple

import numpy
from numpy.typing import NDArray

from .tags import TagScheme

if TYPE_CHECKING:
    from .lattice import Group, Spans

# Cells (tokens times tags) that are worked on at once: 8 MB in fp64.
BLOCK_CELLS = 1_000_000
# The positions in an entity whose tags lead from closed to closed, from closed to inside, from
# inside to inside and from inside to closed.
_ROLES = {"bio": "BBII", "bilou": "UBIL"}


class FixedTransitions:
    """Decodes and scores groups of documents without learned transitions.

    State 0 is closed, state k + 1 is inside label k.
    """

    def __init__(self, scheme: TagScheme) -> None:
        """Prepare for a scheme.

        scheme (TagScheme): The tags.
        """
        self.scheme = scheme
        self.group_tokens = max(BLOCK_CELLS // len(scheme), 1)
        self.fewest_tokens = 1

    def best_path(self, group: "Group") -> NDArray[numpy.int64]:
        """Find the best sequence of each document of a group (Viterbi 1967).

        group (Group): The documents.
        RETURNS (NDArray[int64]): Tags, shape (n_times, n_docs).
        """
        scheme = self.scheme
        (n_times, n_docs), n_states = group.rows.shape, len(scheme.labels) + 1
        # The last tag of the best path to each state.
        arrives = numpy.empty((n_times, n_docs, n_states), dtype=numpy.int32)
        last_state = numpy.full((n_docs, n_states), -numpy.inf)
        last_state[:, 0] = 0.0
        for first, last in self._blocks(n_times, n_docs):
            outside, single, enter, stay, leave = self._moves(group.cells(first, last))
            opening = numpy.maximum(outside, single.max(2, initial=-numpy.inf))
            keep = numpy.concatenate([opening[..., None], stay], axis=2)
            states = numpy.empty((last - first + 1, n_docs, n_states))
            states[0] = last_state
            for i in range(last - first):
                old, new = states[i], states[i + 1]
                ended = numpy.maximum.reduce(old[:, 1:] + leave[i], axis=1)
                numpy.add(old, keep[i], out=new)
                numpy.maximum(new[:, 0], ended, out=new[:, 0])
                numpy.maximum(new[:, 1:], old[:, :1] + enter[i], out=new[:, 1:])
            last_state = states[-1]
            closed, inside = states[:-1, :, :1], states[:-1, :, 1:]
            arrives[first:last, :, 0] = self._arrives_closed(
                outside, single, inside + leave, closed[..., 0]
            )
            arrives[first:last, :, 1:] = numpy.where(
                inside + stay > closed + enter, self._tags(2), self._tags(1)
            )
        path = numpy.empty((n_times, n_docs), dtype=numpy.int64)
        which, state = numpy.arange(n_docs), numpy.zeros(n_docs, dtype=numpy.int64)
        state_before = numpy.where(scheme.continues, scheme.label_of + 1, 0)
        for time in range(n_times - 1, -1, -1):
            path[time] = arrives[time][which, state]
            state = state_before[path[time]]
        return path

    def probabilities(self, group: "Group", path: NDArray, spans: "Spans") -> NDArray:
        """Compute the probability of each entity: the share of sequences with this entity in the
        weight of all legal sequences.

        group (Group): The documents.
        path (NDArray): Legal tags, shape (n_times, n_docs).
        spans (Spans): The entities of these tags.
        RETURNS (NDArray[float64]): A probability per entity.
        """
        (n_times, n_docs), n_states = group.rows.shape, len(self.scheme.labels) + 1
        # The weights of the closed state before each token, and of all that may follow it.
        before, after = numpy.ones((2, n_times + 1, n_docs))
        along, scales = numpy.empty((2, n_times, n_docs))
        blocks = self._blocks(n_times, n_docs)
        # The last block forwards is the first one backwards.
        weigh = lru_cache(maxsize=1)(lambda first, last: self._weigh(group.cells(first, last)))
        state = numpy.zeros((n_docs, n_states))
        state[:, 0] = 1.0
        for first, last in blocks:
            weights, enter, keep, leave = weigh(first, last)
            own = numpy.take_along_axis(weights, path[first:last, :, None], 2)
            along[first:last] = numpy.log(own[..., 0])
            for i in range(last - first):
                new = state * keep[i]
                new[:, 0] += numpy.einsum("dk,dk->d", state[:, 1:], leave[i])
                new[:, 1:] += state[:, :1] * enter[i]
                scale = numpy.add.reduce(new, axis=1, out=scales[first + i])
                state = numpy.divide(new, scale[:, None], out=new)
                before[first + i + 1] = state[:, 0]
        state = numpy.zeros((n_docs, n_states))
        state[:, 0] = 1.0
        for first, last in reversed(blocks):
            _, enter, keep, leave = weigh(first, last)
            for i in range(last - first - 1, -1, -1):
                new = state * keep[i]
                new[:, 0] += numpy.einsum("dk,dk->d", state[:, 1:], enter[i])
                new[:, 1:] += state[:, :1] * leave[i]
                state = numpy.divide(new, scales[first + i][:, None], out=new)
                after[first + i] = state[:, 0]
        along -= numpy.log(scales)
        total = numpy.concatenate([numpy.zeros((1, n_docs)), along.cumsum(0)])
        inner = total[spans.end, spans.doc] - total[spans.start, spans.doc]
        return before[spans.start, spans.doc] * numpy.exp(inner) * after[spans.end, spans.doc]

    def _blocks(self, n_times: int, n_docs: int) -> List[Tuple[int, int]]:
        """RETURNS (List[Tuple[int, int]]): First token of each block, and the token after the
        last. Only a long document is more than one block."""
        size = max(self.group_tokens // n_docs, 1)
        return [(first, min(first + size, n_times)) for first in range(0, n_times, size)]

    def _moves(self, cells: NDArray) -> Tuple[NDArray, ...]:
        """Sort logits or weights of tags by the states that a tag leads from and to.

        cells (NDArray): Shape (n_times, n_docs, n_tags).
        RETURNS (Tuple[NDArray, ...]): O, shape (n_times, n_docs), then for each label the tags
            that lead from closed to closed, closed to inside, inside to inside, and inside to
            closed, shape (n_times, n_docs, n_labels).
        """
        positions = self.scheme.positions
        shape = (*cells.shape[:2], len(self.scheme.labels), len(positions))
        of_position = numpy.ascontiguousarray(numpy.moveaxis(cells[..., 1:].reshape(shape), 3, 0))
        roles = _ROLES[self.scheme.scheme]
        return cells[..., 0], *(of_position[positions.index(role)] for role in roles)

    def _tags(self, role: int) -> NDArray[numpy.int64]:
        """RETURNS (NDArray[int64]): The tag of each label in a role."""
        positions = self.scheme.positions
        first = positions.index(_ROLES[self.scheme.scheme][role])
        return numpy.arange(1 + first, len(self.scheme), len(positions))

    def _arrives_closed(
        self, outside: NDArray, single: NDArray, leaving: NDArray, closed: NDArray
    ) -> NDArray:
        """RETURNS (NDArray): The last tag of the best path to the closed state, the lowest-numbered
        one among equals, shape (n_times, n_docs)."""
        best, tag = outside + closed, numpy.zeros(outside.shape, dtype=numpy.int64)
        for role, scores in ((0, single + closed[..., None]), (3, leaving)):
            label = scores.argmax(2)
            score = numpy.take_along_axis(scores, label[..., None], 2)[..., 0]
            other = self._tags(role)[label]
            better = (score > best) | ((score == best) & (other < tag))
            best, tag = numpy.where(better, score, best), numpy.where(better, other, tag)
        return tag

    def _weigh(self, cells: NDArray) -> Tuple[NDArray, NDArray, NDArray, NDArray]:
        """RETURNS (Tuple): Weights of all tags, then of those that enter each label, that stay in
        each state, and that leave each label."""
        weights = numpy.exp(cells - cells.max(2, keepdims=True))
        outside, single, enter, stay, leave = self._moves(weights)
        outer = outside + single.sum(2)
        return weights, enter, numpy.concatenate([outer[..., None], stay], axis=2), leave
