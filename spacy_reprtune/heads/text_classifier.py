"""The torch module behind `spacy_reprtune.TextClassifier.v1`."""

from typing import Optional, Sequence, Union

import torch
from numpy.typing import NDArray

from ..encoder.module import Encoder
from ..encoder.token_rows import TokenRows
from ..encoder.windows import Windows
from .pooling import PoolingChoice, find_pooling
from .resizing import resized

ACTIVATIONS = {"gelu": torch.nn.functional.gelu, "tanh": torch.tanh, "relu": torch.relu}


class TextClassifier(torch.nn.Module):
    """Encoder, pooling, and a linear head or one with a hidden layer."""

    def __init__(
        self,
        encoder: Encoder,
        n_labels: int,
        *,
        pooling: PoolingChoice,
        hidden_width: Optional[int],
        activation: str = "gelu",
    ) -> None:
        """Build a new head on an encoder.

        encoder (Encoder): The encoder.
        n_labels (int): Columns of the logits.
        pooling (Union[str, Callable[[int], Pooling]]): See `find_pooling`.
        hidden_width (Optional[int]): Units of the hidden layer, or None for a linear head.
        activation (str): Name of the hidden layer's activation; see `ACTIVATIONS`.
        """
        super().__init__()
        self.encoder = encoder
        self.pooling = find_pooling(pooling)(encoder.width)
        width = hidden_width or encoder.width
        self.hidden = torch.nn.Linear(encoder.width, width) if hidden_width else None
        self.activation = activation
        self.output = torch.nn.Linear(width, n_labels)
        self.dropout_rate = 0.0
        self.to(encoder.device)
        self.eval()

    def forward(self, texts: Union[Sequence[str], TokenRows]) -> torch.Tensor:
        """Compute logits.

        texts (Union[Sequence[str], TokenRows]): The texts, or the vectors of their tokens if they
            come from another component.
        RETURNS (Tensor): fp32 logits, shape (n_texts, n_labels).
        """
        if isinstance(texts, TokenRows):
            return self.classify(self.pool(texts))
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        logits = self.classify(self.pool(list(unique)))
        if len(unique) == len(texts):
            return logits
        return logits[torch.tensor([unique[text] for text in texts], device=logits.device)]

    def pool(self, texts: Union[Sequence[str], TokenRows]) -> torch.Tensor:
        """Compute the head's input, one vector per text.

        texts (Union[Sequence[str], TokenRows]): The texts, or the vectors of their tokens.
        RETURNS (Tensor): fp32, shape (n_texts, width).
        """
        if isinstance(texts, TokenRows):
            return self.finish(self.pooling(texts.encoded(), len(texts)))
        pieces = self.encoder.tokenize(texts, cached=self.training or self.encoder.caching)
        fixed = self.pooling if self.pooling.fixed else None
        return self.finish(self.pooling(self.encoder.encode(pieces, pooling=fixed), len(texts)))

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): The input of the head, given pooled vectors; the same shape."""
        return pooled

    def cached_rows(self, windows: Windows) -> int:
        """RETURNS (int): Rows that the cache will hold of these windows."""
        if self.encoder.trainable or not self.pooling.fixed:
            return int(windows.lengths.sum()) + self.encoder.tokenizer.n_special * len(windows)
        return len(windows)

    def vectors(self, texts: Union[Sequence[str], TokenRows]) -> NDArray:
        """RETURNS (ndarray): Result of `pool`, without gradient; fp32, shape (n_texts, width)."""
        self.eval()
        with torch.no_grad():
            return self.pool(texts).cpu().numpy()

    def set_output(self, weight: NDArray, bias: NDArray) -> None:
        """Replace the weights of the head.

        weight, bias (ndarray): Weights and biases, of the shapes (n_labels, width) and (n_labels,).
        RAISES (ValueError): The head has a hidden layer, so it is not linear.
        """
        if self.hidden is not None:
            raise ValueError(
                "head_init = 'probe' fits a linear head, but this one has a hidden layer: set "
                "hidden_width to null, or head_init to 'random'."
            )
        with torch.no_grad():
            self.output.weight.copy_(torch.from_numpy(weight))
            self.output.bias.copy_(torch.from_numpy(bias))

    def resize(self, mapping: NDArray, bias: NDArray) -> None:
        """Give the head different outputs; see `resized`."""
        self.output = resized(self.output, mapping, bias)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Apply only the head.

        pooled (Tensor): Pooled vectors, shape (n_texts, width).
        RETURNS (Tensor): Logits, shape (n_texts, n_labels).
        """
        pooled = self._drop(pooled.to(self.output.weight.device))
        if self.hidden is not None:
            pooled = self._drop(ACTIVATIONS[self.activation](self.hidden(pooled)))
        return self.output(pooled)

    def _drop(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(vectors, self.dropout_rate, self.training)
