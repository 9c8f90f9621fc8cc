"""The torch module behind `spacy_reprtune.SentenceClassifier.v1`."""

from typing import Sequence, Tuple, Union

import torch

from ..encoder.module import Encoder
from ..encoder.token_rows import TokenRows
from .pooling import PoolingChoice
from .text_classifier import TextClassifier


class SentenceClassifier(TextClassifier):
    """A text classifier with a linear head that also gives the vectors it classifies."""

    def __init__(
        self, encoder: Encoder, n_labels: int, *, pooling: PoolingChoice, normalize: bool
    ) -> None:
        """Build a new head on an encoder.

        encoder (Encoder): The encoder.
        n_labels (int): Columns of the logits.
        pooling (Union[str, Callable[[int], Pooling]]): See `find_pooling`.
        normalize (bool): Whether vectors are scaled to length 1.
        """
        super().__init__(encoder, n_labels, pooling=pooling, hidden_width=None)
        self.normalize = normalize

    def forward(  # type: ignore[override]
        self, texts: Union[Sequence[str], TokenRows]
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Compute vectors and logits.

        texts (Union[Sequence[str], TokenRows]): The texts, or the vectors of their tokens.
        RETURNS (Tuple[Tensor, Tensor]): fp32 vectors, shape (n_texts, width), and fp32 logits,
            shape (n_texts, n_labels).
        """
        if isinstance(texts, TokenRows):
            vectors = self.pool(texts)
            return vectors, self.classify(vectors)
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = self.pool(list(unique))
        rows = torch.tensor([unique[text] for text in texts], device=vectors.device)
        return vectors[rows], self.classify(vectors)[rows]

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): The input of the head and of the contrastive loss, given pooled
        vectors."""
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled
