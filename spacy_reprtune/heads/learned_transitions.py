"""Best paths, entity probabilities and the loss if transitions between tags are learned.

Each pair of tags has its own score, so time and memory grow with the square of the number of tags.
Everything is vectorized over documents; the loops go over tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

import numpy
from numpy.typing import NDArray

from .tags import TagScheme

if TYPE_CHECKING:
    from .lattice import Group, Spans

# The most padded tokens in a group of documents, and the limit that applies with many tags: cells
# (tokens times tags, or documents times pairs of tags), 34 MB in fp64.
GROUP_TOKENS = 32_768
GROUP_CELLS = 128 * GROUP_TOKENS


@dataclass
class Weights:
    """The result of `forward_backward`, scaled so that alpha * beta are probabilities.

    alpha, beta (NDArray): fp64, shape (n_times, n_docs, n_tags).
    scales (NDArray): The divisor of alpha at each token, shape (n_times, n_docs).
    emissions (NDArray): exp of the logits minus the greatest logit of the token, shaped like alpha.
    log_z (NDArray): Log of the summed weight of all sequences of a document, shape (n_docs,).
    """

    alpha: NDArray
    beta: NDArray
    scales: NDArray
    emissions: NDArray
    log_z: NDArray


class LearnedTransitions:
    """Decodes and scores groups of documents with learned transitions, and computes their loss."""

    def __init__(self, scheme: TagScheme, transitions: NDArray, temperature: float) -> None:
        """Prepare for a scheme.

        scheme (TagScheme): The tags.
        transitions (ndarray): Scores of a tag (column) after another (row), shape (n_tags, n_tags).
        temperature (float): The divisor of the transitions.
        """
        n_tags = len(scheme)
        tags = numpy.arange(n_tags)
        self.scores = numpy.array(transitions, dtype=numpy.float64) / temperature
        self.scores[~scheme.may_follow(tags[:, None], tags)] = -numpy.inf
        self.factors = numpy.exp(self.scores)
        self.continues = scheme.continues
        self.group_tokens = max(min(GROUP_TOKENS, GROUP_CELLS // n_tags), 1)
        # Viterbi holds a score for each pair of tags, so documents count as at least this long.
        self.fewest_tokens = self.group_tokens * n_tags**2 // GROUP_CELLS

    def best_path(self, group: "Group") -> NDArray[numpy.int64]:
        """Find the best sequence of each document of a group (Viterbi 1967).

        group (Group): The documents.
        RETURNS (NDArray[int64]): Tags, shape (n_times, n_docs).
        """
        logits = group.cells()
        n_times, n_docs, _ = logits.shape
        # The previous tag is the last axis, along which numpy searches fastest.
        into = numpy.ascontiguousarray(self.scores.T)
        best = self.scores[0] + logits[0]
        back = []
        for time in range(1, n_times):
            scores = best[:, None, :] + into
            came_from = scores.argmax(2)
            best = numpy.take_along_axis(scores, came_from[..., None], 2)[..., 0] + logits[time]
            back.append(came_from)
        path = numpy.empty((n_times, n_docs), dtype=numpy.int64)
        path[-1] = best.argmax(1)
        which = numpy.arange(n_docs)
        for time in range(n_times - 1, 0, -1):
            path[time - 1] = back[time - 1][which, path[time]]
        return path

    def probabilities(self, group: "Group", path: NDArray, spans: "Spans") -> NDArray:
        """Compute the probability of each entity: the share of sequences with this entity in the
        weight of all legal sequences.

        group (Group): The documents.
        path (NDArray): Legal tags, shape (n_times, n_docs).
        spans (Spans): The entities of these tags.
        RETURNS (NDArray[float64]): A probability per entity.
        """
        weights = forward_backward(group.cells(), self.factors)
        n_times, n_docs = path.shape
        time, which = numpy.arange(n_times)[:, None], numpy.arange(n_docs)[None, :]
        # Log weight of each step along the path, in units of the scales. A weight may be 0.
        with numpy.errstate(divide="ignore"):
            steps = numpy.log(weights.emissions[time, which, path]) - numpy.log(weights.scales)
        steps[1:] += self.scores[path[:-1], path[1:]]
        along = steps.cumsum(0)
        doc, start, end = spans.doc, spans.start, spans.end
        first, last = path[start, doc], path[end - 1, doc]
        inner = along[end - 1, doc] - along[start, doc]
        # Every tag may follow, except those that continue the entity.
        leave = self.factors[last] * ~self.continues
        rest = weights.emissions[end, doc] * weights.beta[end, doc]
        out = (leave * rest).sum(1) / weights.scales[end, doc]
        return weights.alpha[start, doc, first] * numpy.exp(inner) * out

    def loss(self, group: "Group", gold: NDArray) -> Tuple[float, NDArray, NDArray]:
        """Compute the negative log-likelihood of what is known of the gold tags of a group.

        group (Group): The documents.
        gold (NDArray): Tags of all tokens of all documents, -1 where they are not known.
        RETURNS (Tuple[float, ndarray, ndarray]): The sum over the documents, its gradient with
            respect to the logits of the group's tokens, shape (n_tokens, n_tags), and with respect
            to the transitions.
        """
        logits, inside = group.cells(), group.rows >= 0
        known = numpy.where(inside, gold[group.rows], -1)
        free = forward_backward(logits, self.factors)
        clamped = forward_backward(_clamp(logits, known), self.factors)
        d_logits = (free.alpha * free.beta)[inside]
        d_logits -= (clamped.alpha * clamped.beta)[inside]
        d_transitions = self._counts(free) - self._counts(clamped)
        return float((free.log_z - clamped.log_z).sum()), d_logits, d_transitions

    def _counts(self, weights: Weights) -> NDArray:
        """The expected count of each transition. Padding cancels out between the two lattices."""
        n_tags = weights.alpha.shape[2]
        before = numpy.zeros_like(weights.alpha)
        before[0, :, 0] = 1.0
        before[1:] = weights.alpha[:-1]
        after = weights.emissions * weights.beta / weights.scales[..., None]
        return self.factors * (before.reshape(-1, n_tags).T @ after.reshape(-1, n_tags))


def forward_backward(logits: NDArray, factors: NDArray) -> Weights:
    """Sum the weights of all legal sequences up to and from each token (Rabiner 1989, with his
    scaling: products stay near 1, however long the document).

    logits (NDArray): fp64, shape (n_times, n_docs, n_tags), with only O possible at the last time.
    factors (NDArray): exp of the transitions, 0 for never, shape (n_tags, n_tags).
    RETURNS (Weights): The sums.
    """
    greatest = logits.max(2, keepdims=True)
    emissions = numpy.exp(logits - greatest)
    alpha, beta = numpy.empty_like(emissions), numpy.empty_like(emissions)
    scales = numpy.empty((*emissions.shape[:2], 1))
    ahead = numpy.broadcast_to(factors[0], emissions.shape[1:])
    for time in range(len(emissions)):
        weight = ahead * emissions[time]
        numpy.sum(weight, 1, keepdims=True, out=scales[time])
        numpy.divide(weight, scales[time], out=alpha[time])
        ahead = alpha[time] @ factors
    scaled = emissions / scales
    beta[-1] = 1.0
    backwards = numpy.ascontiguousarray(factors.T)
    for time in range(len(logits) - 1, 0, -1):
        numpy.matmul(beta[time] * scaled[time], backwards, out=beta[time - 1])
    log_z = (numpy.log(scales) + greatest).sum((0, 2))
    return Weights(alpha, beta, scales[..., 0], emissions, log_z)


def _clamp(logits: NDArray, known: NDArray) -> NDArray:
    """The logits with all tags but the known ones impossible."""
    time, doc = numpy.nonzero(known >= 0)
    clamped = logits.copy()
    clamped[time, doc] = -numpy.inf
    clamped[time, doc, known[time, doc]] = logits[time, doc, known[time, doc]]
    return clamped
