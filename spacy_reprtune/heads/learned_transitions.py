"""Best paths, entity probabilities and the loss where transitions between tags are learned.

Any tag may have another score after each tag, so time and memory grow with the square of the
number of tags. Everything is vectorized over documents; the loops go over tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

import numpy
import torch
from numpy.typing import NDArray

from .tags import TagScheme

if TYPE_CHECKING:
    from .lattice import Group, Spans

# Padded tokens in a group of documents of similar length, and what bounds a group where tags are
# many: cells (tokens times tags, or documents times pairs of tags), 34 MB in fp64.
GROUP_TOKENS = 32_768
GROUP_CELLS = 128 * GROUP_TOKENS


@dataclass
class Weights:
    """What `forward_backward` knows of a group, scaled so that alpha * beta are probabilities.

    alpha, beta (Tensor): fp64, shape (n_times, n_docs, n_tags).
    scales (Tensor): The divisor of alpha at each token, shape (n_times, n_docs).
    emissions (Tensor): exp of the logits minus the greatest logit of the token, shaped like alpha.
    log_z (Tensor): Log of the summed weight of all sequences of a document, shape (n_docs,).
    """

    alpha: torch.Tensor
    beta: torch.Tensor
    scales: torch.Tensor
    emissions: torch.Tensor
    log_z: torch.Tensor


class LearnedTransitions:
    """Works on groups of documents with learned transitions."""

    def __init__(self, scheme: TagScheme, transitions: NDArray, temperature: float) -> None:
        """Prepare for a scheme.

        scheme (TagScheme): The tags.
        transitions (ndarray): Scores of a tag (column) after another (row), shape (n_tags, n_tags).
        temperature (float): The divisor of the transitions.
        """
        n_tags = len(scheme)
        tags = numpy.arange(n_tags)
        self.scores = torch.as_tensor(transitions, dtype=torch.float64) / temperature
        self.scores[torch.from_numpy(~scheme.may_follow(tags[:, None], tags))] = -torch.inf
        self.factors = self.scores.exp()
        self.continues = torch.from_numpy(scheme.continues)
        self.group_tokens = max(min(GROUP_TOKENS, GROUP_CELLS // n_tags), 1)
        # Viterbi has a score for each pair of tags at once: documents count as at least this long.
        self.fewest_tokens = self.group_tokens * n_tags**2 // GROUP_CELLS

    def best_path(self, group: "Group") -> NDArray[numpy.int64]:
        """Find the best sequence of each document of a group (Viterbi 1967).

        group (Group): The documents.
        RETURNS (NDArray[int64]): Tags, shape (n_times, n_docs).
        """
        logits = torch.from_numpy(group.cells())
        n_times, n_docs, _ = logits.shape
        best = self.scores[0] + logits[0]
        back = []
        for time in range(1, n_times):
            best, came_from = (best[:, :, None] + self.scores).max(1)
            best = best + logits[time]
            back.append(came_from.numpy())
        path = numpy.empty((n_times, n_docs), dtype=numpy.int64)
        path[-1] = best.argmax(1)
        which = numpy.arange(n_docs)
        for time in range(n_times - 1, 0, -1):
            path[time - 1] = back[time - 1][which, path[time]]
        return path

    def probabilities(self, group: "Group", path: NDArray, spans: "Spans") -> NDArray:
        """Compute which share of the weight of all legal sequences those with an entity have.

        group (Group): The documents.
        path (NDArray): Legal tags, shape (n_times, n_docs).
        spans (Spans): The entities of these tags.
        RETURNS (NDArray[float64]): A probability per entity.
        """
        weights = forward_backward(torch.from_numpy(group.cells()), self.factors)
        n_times, n_docs = path.shape
        time = torch.arange(n_times)[:, None]
        which = torch.arange(n_docs)[None, :]
        tag = torch.from_numpy(path)
        # Log weight of each step along the path, in units of the scales.
        steps = weights.emissions[time, which, tag].log() - weights.scales.log()
        steps[1:] += self.scores[tag[:-1], tag[1:]]
        along = steps.cumsum(0)
        doc, start, end = spans.doc, spans.start, spans.end
        first, last = path[start, doc], path[end - 1, doc]
        inner = along[end - 1, doc] - along[start, doc]
        # Everything may follow that does not continue the entity.
        leave = self.factors[last] * ~self.continues
        rest = weights.emissions[end, doc] * weights.beta[end, doc]
        out = (leave * rest).sum(1) / weights.scales[end, doc]
        return (weights.alpha[start, doc, first] * inner.exp() * out).numpy()

    def loss(self, group: "Group", gold: NDArray) -> Tuple[float, NDArray, NDArray]:
        """Compute the negative log-likelihood of what is known of the gold tags of a group.

        group (Group): The documents.
        gold (NDArray): Tags of all tokens of all documents, -1 where they are not known.
        RETURNS (Tuple[float, ndarray, ndarray]): The sum over the documents, its gradient with
            respect to the logits of the group's tokens, shape (n_tokens, n_tags), and with respect
            to the transitions.
        """
        logits, inside = torch.from_numpy(group.cells()), group.rows >= 0
        known = numpy.where(inside, gold[group.rows], -1)
        free = forward_backward(logits, self.factors)
        clamped = forward_backward(_clamp(logits, known), self.factors)
        d_logits = (free.alpha * free.beta).numpy()[inside]
        d_logits -= (clamped.alpha * clamped.beta).numpy()[inside]
        d_transitions = self._counts(free) - self._counts(clamped)
        return float((free.log_z - clamped.log_z).sum()), d_logits, d_transitions.numpy()

    def _counts(self, weights: Weights) -> torch.Tensor:
        """How often each transition is expected. Both lattices agree on the padding."""
        n_tags = weights.alpha.shape[2]
        before = torch.zeros_like(weights.alpha)
        before[0, :, 0] = 1.0
        before[1:] = weights.alpha[:-1]
        after = weights.emissions * weights.beta / weights.scales[..., None]
        return self.factors * (before.reshape(-1, n_tags).T @ after.reshape(-1, n_tags))


def forward_backward(logits: torch.Tensor, factors: torch.Tensor) -> Weights:
    """Sum the weights of all legal sequences up to and from each token (Rabiner 1989, with his
    scaling: products stay near 1, however long the document).

    logits (Tensor): fp64, shape (n_times, n_docs, n_tags), with only O possible at the last time.
    factors (Tensor): exp of the transitions, 0 for never, shape (n_tags, n_tags).
    RETURNS (Weights): The sums.
    """
    greatest = logits.amax(2, keepdim=True)
    emissions = (logits - greatest).exp()
    alpha, beta = torch.empty_like(emissions), torch.empty_like(emissions)
    scales = torch.empty(*emissions.shape[:2], 1, dtype=emissions.dtype)
    ahead = factors[0].expand(emissions.shape[1:])
    for time in range(len(emissions)):
        weight = ahead * emissions[time]
        torch.sum(weight, 1, keepdim=True, out=scales[time])
        torch.div(weight, scales[time], out=alpha[time])
        ahead = alpha[time] @ factors
    scaled = emissions / scales
    beta[-1] = 1.0
    backwards = factors.T.contiguous()
    for time in range(len(logits) - 1, 0, -1):
        torch.mm(beta[time] * scaled[time], backwards, out=beta[time - 1])
    log_z = (scales.log() + greatest).sum((0, 2))
    return Weights(alpha, beta, scales[..., 0], emissions, log_z)


def _clamp(logits: torch.Tensor, known: NDArray) -> torch.Tensor:
    """The logits with all tags but the known ones impossible."""
    time, doc = numpy.nonzero(known >= 0)
    clamped = logits.clone()
    clamped[time, doc] = -torch.inf
    clamped[time, doc, known[time, doc]] = logits[time, doc, known[time, doc]]
    return clamped
