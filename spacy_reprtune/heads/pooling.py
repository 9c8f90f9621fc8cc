"""Pool a text of any length into one vector, from windows that arrive in batches of any order."""

from typing import Callable, Dict, Iterable, List, Tuple, Type, Union

import torch

from ..encoder.batches import WindowBatch

State = Tuple[torch.Tensor, ...]


class Pooling(torch.nn.Module):
    """Pools the kept positions of a text's windows: its pieces once each, plus the special pieces
    at both ends, exactly as if the text were one long window.

    `reduce` turns each window into a small state (a sum and a count, say), and `combine` turns the
    states of all windows into one vector per text. So the piece vectors of a long text are never in
    memory together. Subclasses define both.
    """

    # Whether the vector of a window depends only on its pieces and on the pooling's class. If so,
    # the pooling has `window_vectors`, and `reduce` also takes the result of that.
    fixed = False
    # Whether it reads a special piece, which a shared encoder does not provide.
    reads_special_piece = False

    def __init__(self, width: int) -> None:
        """Make a pooling.

        width (int): Width of the vectors.
        """
        super().__init__()
        self.width = width

    def reduce(self, vectors: torch.Tensor, keep: torch.Tensor) -> State:
        """Reduce each window to a state.

        vectors (Tensor): Vectors of pieces, fp32 or bf16, shape (n_windows, length, width).
        keep (Tensor): The positions that count, shape (n_windows, length).
        RETURNS (Tuple[Tensor, ...]): Tensors whose first dimension is n_windows.
        """
        raise NotImplementedError

    def combine(self, states: State, texts: torch.Tensor, n_texts: int) -> torch.Tensor:
        """Combine the states of each text's windows.

        states (Tuple[Tensor, ...]): What `reduce` returned for all windows.
        texts (Tensor): The text that each window belongs to, shape (n_windows,).
        n_texts (int): Number of texts.
        RETURNS (Tensor): fp32, shape (n_texts, width).
        """
        raise NotImplementedError

    def forward(
        self, encoded: Iterable[Tuple[WindowBatch, torch.Tensor]], n_texts: int
    ) -> torch.Tensor:
        """Pool the encoder's output.

        encoded (Iterable[Tuple[WindowBatch, Tensor]]): What `Encoder.encode` yields, with
            vectors of pieces or with windows that are pooled already.
        n_texts (int): Number of texts.
        RETURNS (Tensor): One fp32 row per text, shape (n_texts, width); zeros for a text without
            any position.
        """
        texts: List[torch.Tensor] = []
        states: List[State] = []
        for batch, vectors in encoded:
            texts.append(batch.texts)
            states.append(self.reduce(vectors, batch.keep))
        if not texts:
            device = next((p.device for p in self.parameters()), "cpu")
            return torch.zeros(n_texts, self.width, device=device)
        columns = tuple(torch.cat(column) for column in zip(*states, strict=True))
        return self.combine(columns, torch.cat(texts), n_texts)


class MeanPooling(Pooling):
    """The mean of all positions."""

    fixed = True

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): One fp32 row per window, shape (n_windows, width)."""
        weights = keep.float()
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1.0)
        return _weighted_sum(weights, vectors.float())

    def window_weights(self, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): The weight of each window in its text, shape (n_windows,)."""
        return keep.float().sum(1)

    def reduce(self, vectors: torch.Tensor, keep: torch.Tensor) -> State:
        """RETURNS (Tuple[Tensor, Tensor]): Weighted sum and weight of each window."""
        pooled = vectors if vectors.ndim == 2 else self.window_vectors(vectors, keep)
        weight = self.window_weights(keep)
        return pooled * weight[:, None], weight

    def combine(self, states: State, texts: torch.Tensor, n_texts: int) -> torch.Tensor:
        """RETURNS (Tensor): The weighted mean of the windows."""
        return _mean(*states, texts, n_texts)


class ClsPooling(MeanPooling):
    """The leading special piece of each window, averaged over windows."""

    reads_special_piece = True

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): One fp32 row per window, shape (n_windows, width)."""
        return vectors.float()[:, 0]

    def window_weights(self, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): 1 for each window, shape (n_windows,)."""
        return torch.ones_like(keep[:, 0], dtype=torch.float32)


class MaxPooling(Pooling):
    """The highest value of each column."""

    fixed = True

    def window_vectors(self, vectors: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): One fp32 row per window, shape (n_windows, width)."""
        return vectors.float().masked_fill(~keep[..., None], -torch.inf).amax(1)

    def reduce(self, vectors: torch.Tensor, keep: torch.Tensor) -> State:
        """RETURNS (Tuple[Tensor]): The highest values of each window."""
        return (vectors if vectors.ndim == 2 else self.window_vectors(vectors, keep),)

    def combine(self, states: State, texts: torch.Tensor, n_texts: int) -> torch.Tensor:
        """RETURNS (Tensor): The highest values over windows."""
        (peaks,) = states
        empty = peaks.new_full((n_texts, self.width), -torch.inf)
        rows = texts[:, None].expand_as(peaks)
        pooled = empty.scatter_reduce(0, rows, peaks, "amax")
        return pooled.masked_fill(torch.isinf(pooled), 0.0)


class AttentionPooling(Pooling):
    """The mean of all positions, weighted by attention with one learned query."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.query = torch.nn.Linear(width, 1)

    def reduce(self, vectors: torch.Tensor, keep: torch.Tensor) -> State:
        """RETURNS (Tuple[Tensor, Tensor, Tensor]): Weighted sum, weight and highest score."""
        vectors = vectors.float()
        scores = self.query(vectors)[..., 0].masked_fill(~keep, -torch.inf)
        # The maximum only keeps exp() in range. It cancels out, so it needs no gradient.
        peak = scores.detach().amax(1).clamp(min=torch.finfo(scores.dtype).min)
        weights = torch.exp(scores - peak[:, None])
        return _weighted_sum(weights, vectors), weights.sum(1), peak

    def combine(self, states: State, texts: torch.Tensor, n_texts: int) -> torch.Tensor:
        """RETURNS (Tensor): The weighted mean over windows."""
        sums, weights, peak = states
        highest = peak.new_full((n_texts,), torch.finfo(peak.dtype).min)
        highest = highest.scatter_reduce(0, texts, peak, "amax")
        scale = torch.exp(peak - highest[texts])
        return _mean(sums * scale[:, None], weights * scale, texts, n_texts)


POOLINGS: Dict[str, Type[Pooling]] = {
    "mean": MeanPooling,
    "cls": ClsPooling,
    "max": MaxPooling,
    "attention": AttentionPooling,
}
# A pooling in a config: a short name, or a function that takes the width of the vectors.
PoolingChoice = Union[str, Callable[[int], Pooling]]


def find_pooling(choice: PoolingChoice) -> Callable[[int], Pooling]:
    """Find the constructor of a pooling.

    choice (Union[str, Callable[[int], Pooling]]): A short name, or a function that makes the
        pooling, given the width of the vectors. It is pickled for the workers of `nlp.pipe`.
    RETURNS (Callable[[int], Pooling]): The function.
    RAISES (ValueError): There is no pooling of that name.
    """
    if callable(choice):
        return choice
    if choice not in POOLINGS:
        raise ValueError(
            f"pooling = {choice!r}. Use one of {', '.join(POOLINGS)}, or register your own: "
            '[….pooling] @misc = "my.Pooling.v1".'
        )
    return POOLINGS[choice]


def pooling_name(pooling: Pooling) -> str:
    """RETURNS (str): Short name of a pooling, or the name of its class if it has none."""
    names = [name for name, kind in POOLINGS.items() if type(pooling) is kind]
    return names[0] if names else type(pooling).__name__


def _mean(
    sums: torch.Tensor, weights: torch.Tensor, texts: torch.Tensor, n_texts: int
) -> torch.Tensor:
    total = sums.new_zeros(n_texts, sums.shape[1]).index_add(0, texts, sums)
    weight = weights.new_zeros(n_texts).index_add(0, texts, weights)
    # No weight means no position: such a text stays at zero.
    return total / torch.where(weight > 0, weight, torch.ones_like(weight))[:, None]


def _weighted_sum(weights: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return torch.bmm(weights[:, None, :], vectors)[:, 0]
