"""Choose the texts that are worth annotating next: a model is unsure of them, and no two are alike.

Zhdanov 2019, "Diverse mini-batch Active Learning": of the texts with the smallest margins, one per
cluster of their vectors. Without a model, Hacohen et al. 2022, "Active Learning on a Budget":
typical texts, one per cluster.
"""

from typing import List, Sequence

import numpy
from numpy.typing import NDArray

from ..copies import Signer, near_pairs

# Candidates (texts with the smallest margins) per text that is chosen. With more of them, the
# chosen texts differ more, but the model is less unsure of them.
CANDIDATES = 5
# Number of neighbors whose similarity tells how typical a text is, as in the paper.
NEIGHBORS = 20


def choose_unsure(vectors: NDArray, doubts: NDArray, n: int, *, seed: int = 0) -> List[int]:
    """Choose texts for a model that has predicted them.

    vectors (ndarray): fp32, shape (n_texts, width).
    doubts (ndarray): How unsure the model is, 0 to 1, shape (n_texts,).
    n (int): How many texts to choose.
    seed (int): Seed of the clusters.
    RETURNS (List[int]): Rows of the chosen texts, the least sure first; all rows if there are no
        more than `n`.
    """
    candidates = numpy.argsort(-doubts, kind="stable")[: CANDIDATES * n]
    if len(candidates) <= n:
        return candidates.tolist()
    weights = numpy.maximum(doubts[candidates], 1e-6)
    clusters = _clusters(vectors[candidates], n, weights=weights, seed=seed)
    # Candidates are sorted, so the first one of a cluster is its least sure.
    _, first = numpy.unique(clusters, return_index=True)
    chosen = numpy.sort(first)
    rest = numpy.setdiff1d(numpy.arange(len(candidates)), chosen)[: n - len(chosen)]
    return candidates[numpy.sort(numpy.concatenate([chosen, rest]))].tolist()


def choose_typical(vectors: NDArray, n: int, *, seed: int = 0) -> List[int]:
    """Choose texts without a model.

    vectors (ndarray): fp32, shape (n_texts, width).
    n (int): How many texts to choose.
    seed (int): Seed of the clusters.
    RETURNS (List[int]): Rows of the chosen texts, the largest clusters first; all rows if there are
        no more than `n`.
    """
    if len(vectors) <= n:
        return list(range(len(vectors)))
    clusters = _clusters(vectors, n, seed=seed)
    chosen = []
    for cluster, size in enumerate(numpy.bincount(clusters, minlength=n)):
        rows = numpy.flatnonzero(clusters == cluster)
        if not len(rows):
            continue
        own = _unit(vectors[rows])
        near = numpy.sort(own @ own.T, axis=1)[:, -1 - NEIGHBORS : -1]
        typical = near.mean(1) if near.shape[1] else numpy.zeros(len(rows))
        chosen.append((-int(size), int(rows[typical.argmax()])))
    return [row for _, row in sorted(chosen)]


def without_copies(texts: Sequence[str]) -> List[int]:
    """RETURNS (List[int]): The rows of texts that are no copy or near copy of an earlier text."""
    signer = Signer()
    for text in texts:
        signer.add(text)
    signatures = signer.finish()
    _, first = numpy.unique(signatures.exact, return_index=True)
    kept = numpy.zeros(len(texts), dtype=bool)
    kept[first] = True
    for earlier, later in near_pairs(signatures):
        kept[later] &= not kept[earlier]
    return numpy.flatnonzero(kept).tolist()


def _clusters(vectors: NDArray, n: int, *, weights=None, seed: int) -> NDArray:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    # Otherwise, thousands of texts in hundreds of clusters would take minutes.
    kind = MiniBatchKMeans if len(vectors) * n > 1_000_000 else KMeans
    means = kind(n_clusters=n, n_init=1, random_state=seed)
    return means.fit_predict(_unit(vectors), sample_weight=weights)


def _unit(vectors: NDArray) -> NDArray:
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
