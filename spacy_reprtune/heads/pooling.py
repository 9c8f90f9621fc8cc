"""One vector for a text of any length, from windows that arrive in batches of any order."""

from typing import Iterable, List, Tuple

import torch

from ..encoder.module import WindowBatch

POOLINGS = ("mean", "cls", "max", "attention")


class Pooling(torch.nn.Module):
    """Pools the kept positions of a text's windows: its pieces once each, plus the special pieces
    at both ends, exactly as if the text were one long window.

    Each window is first reduced to a small state (a sum and a count, say), and states are
    combined by text at the end. So the vectors of the pieces of a long text are never in memory
    together.
    """

    def __init__(self, kind: str, width: int) -> None:
        """Choose what to pool with.

        kind (str): "mean" of all positions, "cls" for the leading special piece of each window
            (averaged over windows), "max", or "attention" with one learned query.
        width (int): Width of the vectors.
        RAISES (ValueError): An unknown kind.
        """
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"pooling = {kind!r}. Use one of {', '.join(POOLINGS)}.")
        self.kind = kind
        self.width = width
        self.query = torch.nn.Linear(width, 1) if kind == "attention" else None

    def forward(
        self, encoded: Iterable[Tuple[WindowBatch, torch.Tensor]], n_texts: int
    ) -> torch.Tensor:
        """Pool the encoder's output.

        encoded (Iterable[Tuple[WindowBatch, Tensor]]): What `Encoder.encode` yields, with
            vectors of pieces or with windows that are pooled already.
        n_texts (int): How many texts there are.
        RETURNS (Tensor): One fp32 row a text, shape (n_texts, width); zeros for a text without
            any position.
        """
        texts: List[torch.Tensor] = []
        states: List[Tuple[torch.Tensor, ...]] = []
        for batch, vectors in encoded:
            texts.append(batch.texts)
            states.append(self._reduce(vectors, batch.keep))
        if not texts:
            device = next(self.parameters()).device if self.query is not None else "cpu"
            return torch.zeros(n_texts, self.width, device=device)
        columns = tuple(torch.cat(column) for column in zip(*states, strict=True))
        return self._combine(columns, torch.cat(texts), n_texts)

    @property
    def fixed(self) -> bool:
        """RETURNS (bool): Whether there is nothing in it that training changes."""
        return self.query is None

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Pool each window by itself, for a kind that has no weights.

        vectors (Tensor): Vectors of pieces, shape (n_windows, length, width).
        keep (Tensor): The positions that count, shape (n_windows, length).
        RETURNS (Tensor): fp32, shape (n_windows, width).
        """
        vectors = vectors.float()
        if self.kind == "cls":
            return vectors[:, 0]
        if self.kind == "max":
            return vectors.masked_fill(~keep[..., None], -torch.inf).amax(1)
        weights = keep.float()
        return _weighted_sum(weights / weights.sum(1, keepdim=True).clamp(min=1.0), vectors)

    def _reduce(self, vectors: torch.Tensor, keep: torch.Tensor) -> Tuple[torch.Tensor, ...]:
        if self.fixed:
            pooled = vectors if vectors.ndim == 2 else self.window_vectors(vectors, keep)
            if self.kind == "max":
                return (pooled,)
            weight = keep.float().sum(1) if self.kind == "mean" else torch.ones_like(pooled[:, 0])
            return pooled * weight[:, None], weight
        vectors = vectors.float()
        scores = self.query(vectors)[..., 0].masked_fill(~keep, -torch.inf)
        # The maximum only keeps exp() in range; it cancels out, so no gradient has to pass it.
        peak = scores.detach().amax(1).clamp(min=torch.finfo(scores.dtype).min)
        weights = torch.exp(scores - peak[:, None])
        return _weighted_sum(weights, vectors), weights.sum(1), peak

    def _combine(
        self, columns: Tuple[torch.Tensor, ...], texts: torch.Tensor, n_texts: int
    ) -> torch.Tensor:
        if self.kind == "max":
            (peaks,) = columns
            rows = texts[:, None].expand_as(peaks)
            empty = peaks.new_full((n_texts, self.width), -torch.inf)
            pooled = empty.scatter_reduce(0, rows, peaks, "amax")
            return pooled.masked_fill(torch.isinf(pooled), 0.0)
        sums, weights = columns[:2]
        if self.kind == "attention":
            peak = columns[2]
            highest = peak.new_full((n_texts,), torch.finfo(peak.dtype).min)
            highest = highest.scatter_reduce(0, texts, peak, "amax")
            scale = torch.exp(peak - highest[texts])
            sums, weights = sums * scale[:, None], weights * scale
        total = sums.new_zeros(n_texts, self.width).index_add(0, texts, sums)
        weight = weights.new_zeros(n_texts).index_add(0, texts, weights)
        # No weight means no position: such a text stays at zero.
        return total / torch.where(weight > 0, weight, torch.ones_like(weight))[:, None]


def _weighted_sum(weights: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return torch.bmm(weights[:, None, :], vectors)[:, 0]
