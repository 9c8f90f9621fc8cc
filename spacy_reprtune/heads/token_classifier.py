"""The torch module behind `spacy_reprtune.TokenClassifier.v1`."""

from typing import Optional, Sequence, Tuple, Union

import torch
from numpy.typing import NDArray

from ..encoder.align import TokenSpans, align_all, first_pieces
from ..encoder.module import Encoder
from ..encoder.token_rows import TokenRows
from ..encoder.token_vectors import pool_tokens
from ..encoder.windows import Windows
from .resizing import resized


class TokenClassifier(torch.nn.Module):
    """Encoder, a linear layer, and the mean or the first of each token's pieces.

    Both the layer and the mean are linear, so pieces are projected before they are averaged: for a
    long document, only logits have to be kept, and no vectors.
    """

    def __init__(
        self, encoder: Encoder, n_tags: int, *, piece_pooling: str, learned_transitions: bool
    ) -> None:
        """Build a new head on an encoder.

        encoder (Encoder): The encoder.
        n_tags (int): Columns of the logits.
        piece_pooling (str): "mean" or "first".
        learned_transitions (bool): Whether each pair of consecutive tags has a learned score.
        """
        super().__init__()
        self.encoder = encoder
        self.piece_pooling = piece_pooling
        self.output = torch.nn.Linear(encoder.width, n_tags)
        self.transitions: Optional[torch.nn.Parameter] = None
        if learned_transitions:
            self.transitions = torch.nn.Parameter(torch.zeros(n_tags, n_tags))
        self.dropout_rate = 0.0
        self.to(encoder.device)
        self.eval()

    def forward(
        self, texts: Union[Sequence[TokenSpans], TokenRows]
    ) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        """Compute logits.

        texts (Union[Sequence[TokenSpans], TokenRows]): The texts with their tokens, or the vectors
            of their tokens if they come from another component.
        RETURNS (Tuple[Tensor, Optional[Tensor]]): fp32 logits of all tokens of all texts in
            order, shape (n_tokens, n_tags), with zeros for a token without a piece. And the
            learned score of each tag (column) after another (row), shape (n_tags, n_tags), or
            None.
        """
        if isinstance(texts, TokenRows):
            logits = self._project(texts.vectors) * texts.vectors.any(1, keepdim=True)
        else:
            logits = self._pool(texts, self._project, self.output.out_features)
        return logits, self.transitions

    def cached_rows(self, windows: Windows) -> int:
        """RETURNS (int): Rows that the cache will hold of these windows."""
        return int(windows.lengths.sum()) + self.encoder.tokenizer.n_special * len(windows)

    def vectors(self, texts: Union[Sequence[TokenSpans], TokenRows]) -> NDArray:
        """RETURNS (ndarray): The input of the head for each token, without gradient; fp32, shape
        (n_tokens, width)."""
        self.eval()
        if isinstance(texts, TokenRows):
            return texts.vectors.cpu().numpy()
        with torch.no_grad():
            return self._pool(texts, None, self.encoder.width).cpu().numpy()

    def set_output(self, weight: NDArray, bias: NDArray) -> None:
        """Replace the weights of the head.

        weight, bias (ndarray): Weights and biases, of the shapes (n_tags, width) and (n_tags,).
        """
        with torch.no_grad():
            self.output.weight.copy_(torch.from_numpy(weight))
            self.output.bias.copy_(torch.from_numpy(bias))

    def resize(self, mapping: NDArray, bias: NDArray) -> None:
        """Give the head different outputs; see `resized`. New tags have transition scores of 0."""
        self.output = resized(self.output, mapping, bias)
        if self.transitions is not None:
            rows = torch.from_numpy(mapping).to(self.transitions.device)
            self.transitions = torch.nn.Parameter(rows @ self.transitions.detach() @ rows.T)

    def _project(self, vectors: torch.Tensor) -> torch.Tensor:
        vectors = torch.nn.functional.dropout(vectors, self.dropout_rate, self.training)
        return self.output(vectors)

    def _pool(self, texts: Sequence[TokenSpans], project, n_columns: int) -> torch.Tensor:
        cached = self.training or self.encoder.caching
        pieces = self.encoder.tokenize([t.text for t in texts], offsets=True, cached=cached)
        alignment = align_all(texts, pieces)
        if self.piece_pooling == "first":
            alignment = first_pieces(alignment)
        return pool_tokens(self.encoder, pieces, alignment, project=project, n_columns=n_columns)
