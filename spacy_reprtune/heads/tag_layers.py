"""Layers of tags: one for all labels, or one per label so that spans of two labels may overlap."""

from typing import List, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from .tags import TagScheme


class TagLayers:
    """The tags of a recognizer. Spans of one layer never overlap, spans of two layers may.

    All layers have the same scheme, so the layers of a document are decoded as if each were a
    document of its own: one lattice works on all of them at once.
    """

    def __init__(
        self, labels: Sequence[str], scheme: str, *, shared_positions: bool, overlapping: bool
    ) -> None:
        """Number the layers.

        labels (Sequence[str]): The labels.
        scheme (str), shared_positions (bool): See `TagScheme`.
        overlapping (bool): Whether each label has its own layer. Otherwise there is one layer.
        """
        self.labels: List[Tuple[str, ...]] = [tuple(labels)]
        if overlapping:
            self.labels = [(label,) for label in labels]
        # The scheme knows the labels of a layer by number; every layer has the same number of them.
        own = [""] if overlapping else labels
        self.scheme = TagScheme(own, scheme, shared_positions=shared_positions)
        self.overlapping = overlapping

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_columns(self) -> int:
        """RETURNS (int): Logits of a token: the parts of the tags, layer by layer."""
        return len(self) * self.scheme.n_parts

    def columns(self, label: str) -> Tuple[slice, int]:
        """RETURNS (Tuple[slice, int]): The columns of a label's layer, and the label's index in
        it."""
        layer = next(i for i, own in enumerate(self.labels) if label in own)
        n_parts = self.scheme.n_parts
        return slice(layer * n_parts, (layer + 1) * n_parts), self.labels[layer].index(label)

    def unfold(self, logits: NDArray) -> NDArray:
        """RETURNS (NDArray): All tokens in the first layer, then all tokens in the second …, shape
        (n_layers * n_tokens, n_parts), given logits of the shape (n_tokens, n_columns)."""
        by_layer = logits.reshape(len(logits), len(self), self.scheme.n_parts).swapaxes(0, 1)
        return by_layer.reshape(-1, self.scheme.n_parts)

    def fold(self, rows: NDArray) -> NDArray:
        """RETURNS (NDArray): The inverse of `unfold`, shape (n_tokens, n_columns)."""
        by_layer = rows.reshape(len(self), -1, self.scheme.n_parts)
        return by_layer.swapaxes(0, 1).reshape(-1, self.n_columns)

    def growth(self, label: str) -> Tuple[NDArray[numpy.float32], NDArray[numpy.bool_]]:
        """Map the present columns to those with one more label; see `TagScheme.growth`."""
        if not self.overlapping:
            return self.scheme.growth(label)
        n_parts = self.scheme.n_parts
        mapping = numpy.eye(self.n_columns + n_parts, self.n_columns, dtype="f")
        is_new = numpy.arange(len(mapping)) > self.n_columns
        return mapping, is_new
