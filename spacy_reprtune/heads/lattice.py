"""The lattice of all tag sequences of a batch of documents: the best one, and probabilities.

A sequence weighs exp(sum of its logits and transitions) if it is legal, and nothing if not. So
what is read off here never breaks the scheme, and probabilities are those of legal sequences
alone (Lafferty et al. 2001; masked as in Wei et al. 2021, Masked Conditional Random Field).
Everything is vectorised over documents; the loops go over tokens.
"""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy
import torch
from numpy.typing import NDArray

from ..encoder.windows import batch_by_pieces
from .tags import TagScheme

# Padded tokens in a group of documents of like length.
GROUP_TOKENS = 32_768
# Where weights are summed, logits further below the best one of their token are taken to be this
# far. In fp64, a path can cross a token against all evidence and still weigh more than nothing.
LARGEST_GAP = 300.0


@dataclass
class Group:
    """Documents of about the same length, with time first and at least one O behind each.

    docs (NDArray[int64]): Which documents they are, shape (n_docs,).
    lengths (NDArray[int64]): Their tokens, shape (n_docs,).
    logits (Tensor): fp64, shape (longest + 1, n_docs, n_tags). Behind the end of a document all
        tags but O are impossible.
    rows (NDArray[int64]): Where each cell comes from among all tokens of all documents, -1 for
        padding, shape (longest + 1, n_docs).
    """

    docs: NDArray
    lengths: NDArray
    logits: torch.Tensor
    rows: NDArray


@dataclass
class Weights:
    """What `forward_backward` knows of a group, scaled so that alpha * beta are probabilities.

    alpha, beta (Tensor): fp64, shape (longest + 1, n_docs, n_tags).
    scales (Tensor): What alpha was divided by at each token, shape (longest + 1, n_docs).
    emissions (Tensor): exp of the logits less the greatest of each token, in the shape of alpha.
    log_z (Tensor): Log of the summed weight of all sequences of a document, shape (n_docs,).
    """

    alpha: torch.Tensor
    beta: torch.Tensor
    scales: torch.Tensor
    emissions: torch.Tensor
    log_z: torch.Tensor


class Lattice:
    """Decodes logits, scores entities, and gives the loss of learned transitions."""

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
        temperature (float): What logits and transitions are divided by. The best sequence is the
            same with any.
        """
        self.scheme = scheme
        self.temperature = temperature
        self.learned = transitions is not None
        scores = torch.zeros(len(scheme), len(scheme), dtype=torch.float64)
        if transitions is not None:
            scores += torch.as_tensor(numpy.asarray(transitions), dtype=torch.float64)
        self.scores = scores / temperature
        self.scores[~torch.from_numpy(scheme.allowed)] = -torch.inf
        self.factors = self.scores.exp()

    @torch.no_grad()
    def decode(self, logits: NDArray, lengths: Sequence[int]) -> NDArray[numpy.int64]:
        """Find the best legal tags.

        logits (ndarray): Of the tokens of all documents in order, shape (n_tokens, n_tags).
        lengths (Sequence[int]): Tokens of each document.
        RETURNS (NDArray[int64]): A tag a token, shape (n_tokens,).
        """
        tags = logits.argmax(1).astype(numpy.int64)
        todo = numpy.arange(len(lengths))
        if not self.learned:
            # Where the best tag of each token makes a legal sequence, no sequence is better.
            todo = self._illegal(tags, lengths)
        for group in self._groups(logits, lengths, only=todo, largest_gap=numpy.inf):
            best = viterbi(group.logits, self.scores).numpy()
            inside = group.rows >= 0
            tags[group.rows[inside]] = best[inside]
        return tags

    @torch.no_grad()
    def entity_probabilities(
        self, logits: NDArray, lengths: Sequence[int], tags: NDArray
    ) -> "Tuple[NDArray[numpy.int64], NDArray[numpy.float64]]":
        """Score the entities of tagged documents: the share of the weight of all legal sequences
        that those with exactly this entity have, same tokens, same label, whatever is elsewhere.

        logits (ndarray): Shape (n_tokens, n_tags).
        lengths (Sequence[int]): Tokens of each document.
        tags (ndarray): Legal tags, shape (n_tokens,).
        RETURNS (Tuple[NDArray[int64], NDArray[float64]]): Rows of document, first token, token
            after the last (both counted in their document) and label, in order, shape
            (n_entities, 4), and the probability of each, shape (n_entities,).
        """
        doc_of = numpy.repeat(numpy.arange(len(lengths)), lengths)
        with_entity = numpy.unique(doc_of[tags > 0])
        rows: List[NDArray] = [numpy.zeros((0, 4), dtype=numpy.int64)]
        scores: List[NDArray] = [numpy.zeros(0)]
        for group in self._groups(logits, lengths, only=with_entity):
            found, probabilities = self._score_group(group, tags)
            rows.append(found)
            scores.append(probabilities)
        entities, probability = numpy.concatenate(rows), numpy.concatenate(scores)
        order = numpy.lexsort((entities[:, 1], entities[:, 0]))
        return entities[order], probability[order]

    @torch.no_grad()
    def loss(
        self, logits: NDArray, lengths: Sequence[int], gold: NDArray
    ) -> Tuple[float, NDArray, NDArray]:
        """The negative log-likelihood of what is known of the gold tags, a known token.

        Tokens whose tag is not known are summed over (Tsuboi et al. 2008, Training Conditional
        Random Fields Using Incomplete Annotations).

        logits (ndarray): Shape (n_tokens, n_tags).
        lengths (Sequence[int]): Tokens of each document.
        gold (ndarray): Tags, -1 where they are not known, shape (n_tokens,).
        RETURNS (Tuple[float, ndarray, ndarray]): The loss, and its gradients with respect to the
            logits and to the transitions.
        """
        d_logits = numpy.zeros(logits.shape)
        d_transitions = torch.zeros_like(self.factors)
        n_known = max(int((gold >= 0).sum()), 1)
        total = 0.0
        for group in self._groups(logits, lengths):
            free = forward_backward(group.logits, self.factors)
            clamped = forward_backward(_clamp(group, gold), self.factors)
            total += float((free.log_z - clamped.log_z).sum())
            for sign, weights in ((1.0, free), (-1.0, clamped)):
                d_transitions += sign * self._transition_counts(weights)
                inside = group.rows >= 0
                nodes = (weights.alpha * weights.beta).numpy()[inside]
                d_logits[group.rows[inside]] += sign * nodes
        scale = 1.0 / (n_known * self.temperature)
        return total / n_known, d_logits * scale, d_transitions.numpy() * scale

    def _score_group(self, group: Group, tags: NDArray) -> Tuple[NDArray, NDArray]:
        weights = forward_backward(group.logits, self.factors)
        path = numpy.where(group.rows >= 0, tags[group.rows], 0)
        n_times, n_docs = path.shape
        # By document, one after the other; the last row of each is O.
        spans = self.scheme.spans(path.T.reshape(-1))
        doc = spans[:, 0] // n_times
        start, end = spans[:, 0] - doc * n_times, spans[:, 1] - doc * n_times
        time = torch.arange(n_times)[:, None]
        which = torch.arange(n_docs)[None, :]
        tag = torch.from_numpy(path)
        # Log weight of each step along the path, in units of the scales.
        steps = weights.emissions[time, which, tag].log() - weights.scales.log()
        steps[1:] += self.scores[tag[:-1], tag[1:]]
        along = steps.cumsum(0)
        first, last = path[start, doc], path[end - 1, doc]
        inner = along[end - 1, doc] - along[start, doc]
        # What may follow, as long as it does not go on with the entity.
        leave = self.factors[last] * torch.from_numpy(~self.scheme.continues)
        rest = weights.emissions[end, doc] * weights.beta[end, doc]
        out = (leave * rest).sum(1) / weights.scales[end, doc]
        probability = weights.alpha[start, doc, first] * inner.exp() * out
        rows = numpy.stack([group.docs[doc], start, end, spans[:, 2]], axis=1)
        return rows, probability.clamp(0.0, 1.0).numpy()

    def _transition_counts(self, weights: Weights) -> torch.Tensor:
        """How often each transition is expected, padding included: there both lattices agree."""
        n_tags = weights.alpha.shape[2]
        before = torch.zeros_like(weights.alpha)
        before[0, :, 0] = 1.0
        before[1:] = weights.alpha[:-1]
        after = weights.emissions * weights.beta / weights.scales[..., None]
        return self.factors * (before.reshape(-1, n_tags).T @ after.reshape(-1, n_tags))

    def _illegal(self, tags: NDArray, lengths: Sequence[int]) -> NDArray:
        # Each document with an O in front and one at the end that the next one shares.
        around = numpy.zeros(len(tags) + len(lengths) + 1, dtype=numpy.int64)
        doc_of = numpy.repeat(numpy.arange(len(lengths)), lengths)
        around[numpy.arange(len(tags)) + doc_of + 1] = tags
        wrong = numpy.flatnonzero(~self.scheme.allowed[around[:-1], around[1:]])
        borders = numpy.cumsum(numpy.asarray(lengths, dtype=numpy.int64) + 1)
        return numpy.unique(numpy.searchsorted(borders, wrong, side="right"))

    def _groups(
        self,
        logits: NDArray,
        lengths: Sequence[int],
        *,
        only: Optional[NDArray] = None,
        largest_gap: float = LARGEST_GAP,
    ) -> List[Group]:
        n_tokens = numpy.asarray(lengths, dtype=numpy.int64)
        starts = numpy.cumsum(n_tokens) - n_tokens
        chosen = numpy.arange(len(n_tokens)) if only is None else only
        chosen = chosen[n_tokens[chosen] > 0]
        groups = []
        for members in batch_by_pieces(n_tokens[chosen] + 1, budget=GROUP_TOKENS):
            docs = chosen[members]
            time = numpy.arange(int(n_tokens[docs].max()) + 1)[:, None]
            rows = numpy.where(time < n_tokens[docs], starts[docs] + time, -1)
            cells = torch.from_numpy(logits[rows].astype(numpy.float64)) / self.temperature
            floor = cells.amax(2, keepdim=True) - largest_gap
            cells = torch.where(cells.isneginf(), cells, cells.clamp(min=floor))
            cells[torch.from_numpy(rows < 0)] = _only_outside(logits.shape[1])
            groups.append(Group(docs, n_tokens[docs], cells, rows))
        return groups


def viterbi(logits: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
    """Find the best sequence of each document of a group (Viterbi 1967).

    logits (Tensor): Shape (n_times, n_docs, n_tags), with O alone at the last time.
    transitions (Tensor): Scores of a tag (column) after another (row), -inf for never.
    RETURNS (Tensor): int64 tags, shape (n_times, n_docs).
    """
    n_times, n_docs, _ = logits.shape
    best = transitions[0] + logits[0]
    back = []
    for time in range(1, n_times):
        best, came_from = (best[:, :, None] + transitions).max(1)
        best = best + logits[time]
        back.append(came_from)
    path = torch.empty(n_times, n_docs, dtype=torch.int64)
    path[-1] = best.argmax(1)
    for time in range(n_times - 1, 0, -1):
        path[time - 1] = back[time - 1].gather(1, path[time][:, None])[:, 0]
    return path


def forward_backward(logits: torch.Tensor, factors: torch.Tensor) -> Weights:
    """Sum the weights of all legal sequences up to and from each token (Rabiner 1989, with his
    scaling: products stay near 1, however long the document).

    logits (Tensor): fp64, shape (n_times, n_docs, n_tags), with O alone at the last time.
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


def _clamp(group: Group, gold: NDArray) -> torch.Tensor:
    """The logits with all tags but the known ones impossible."""
    known = numpy.where(group.rows >= 0, gold[group.rows], -1)
    time, doc = numpy.nonzero(known >= 0)
    logits = group.logits.clone()
    kept = logits[time, doc, known[time, doc]]
    logits[time, doc] = -torch.inf
    logits[time, doc, known[time, doc]] = kept
    return logits


def _only_outside(n_tags: int) -> torch.Tensor:
    cell = torch.full((n_tags,), -torch.inf, dtype=torch.float64)
    cell[0] = 0.0
    return cell
