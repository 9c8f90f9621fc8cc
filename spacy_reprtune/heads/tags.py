"""Convert between the entities of a document and the tags of its tokens."""

from functools import cached_property
from typing import Iterable, List, Sequence, Tuple, Union

import numpy
from numpy.typing import NDArray

# The positions in an entity that have a tag.
SCHEMES = {"bio": "BI", "bilou": "BILU"}

# First token, the token after the last, and the index of the label.
TagSpan = Tuple[int, int, int]


class TagScheme:
    """The tags of a set of labels, and which of them may follow each other.

    Tag 0 is O. A document is treated as if there were an O before and after it: tags that may
    follow O may begin a document, and tags that O may follow may end it. "bio" tags the first token
    of an entity B and the others I (Ramshaw & Marcus 1995). "bilou" also marks the last token, L,
    and an entity of one token, U (Ratinov & Roth 2009).

    A model computes a logit for each of the scheme's parts, and the logit of a tag is the sum of
    the logits of its parts. With `shared_positions`, the parts are O, the labels and the positions,
    so that all labels learn together where an entity begins and ends. Without it, each tag is its
    own part.
    """

    def __init__(
        self, labels: Sequence[str], scheme: str, *, shared_positions: bool = False
    ) -> None:
        """Number the tags.

        labels (Sequence[str]): The labels of entities. Tags are numbered in their order.
        scheme (str): "bio" or "bilou".
        shared_positions (bool): Whether a tag is the sum of its label and its position. A single
            label has nothing to share: its tags are their own parts.
        RAISES (ValueError): The scheme is unknown.
        """
        if scheme not in SCHEMES:
            raise ValueError(f"scheme = {scheme!r}. Use one of {', '.join(SCHEMES)}.")
        self.labels = tuple(labels)
        self.scheme = scheme
        self.positions = SCHEMES[scheme]
        self.shares = shared_positions
        self.shared = shared_positions and len(labels) > 1
        n_labels, n_positions = len(labels), len(self.positions)
        self.names: List[str] = ["O", *(f"{p}-{label}" for label in labels for p in self.positions)]
        self.n_parts = 1 + n_labels + n_positions if self.shared else len(self.names)
        # The label of each tag, -1 for O.
        self.label_of = numpy.array([-1, *numpy.repeat(numpy.arange(n_labels), n_positions)])
        position = numpy.array(["O", *(list(self.positions) * n_labels)])
        # Tags that continue the entity of the token before them.
        self.continues = (position == "I") | (position == "L")
        # Tags that a continuing tag may follow. In BILOU nothing else may.
        self.can_go_on = (position == "B") | (position == "I")
        self.must_go_on = self.can_go_on & (scheme == "bilou")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def parts(self) -> NDArray[numpy.float32]:
        """RETURNS (NDArray[float32]): 1 where the tag of the column has the part of the row, shape
        (n_parts, n_tags)."""
        if not self.shared:
            return numpy.eye(len(self), dtype="f")
        n_labels, n_positions = len(self.labels), len(self.positions)
        outside = numpy.arange(len(self)) == 0
        of_label = self.label_of == numpy.arange(n_labels)[:, None]
        of_position = numpy.tile(numpy.eye(n_positions), n_labels)
        of_position = numpy.hstack([numpy.zeros((n_positions, 1)), of_position])
        return numpy.vstack([outside, of_label, of_position]).astype("f")

    def may_follow(self, before: NDArray, after: NDArray) -> NDArray[numpy.bool_]:
        """RETURNS (NDArray[bool]): Whether the tags `after` may come right after the tags
        `before`; both are broadcast against each other."""
        same = self.label_of[before] == self.label_of[after]
        return numpy.where(
            self.continues[after], self.can_go_on[before] & same, ~self.must_go_on[before]
        )

    def logits(self, parts: NDArray) -> NDArray:
        """RETURNS (NDArray): The logits of tags, shape (n, n_tags), given the logits of their
        parts, shape (n, n_parts)."""
        if not self.shared:
            return parts
        n_labels = len(self.labels)
        of_label, of_position = parts[:, 1 : n_labels + 1], parts[:, n_labels + 1 :]
        tags = numpy.empty((len(parts), len(self)), dtype=parts.dtype)
        tags[:, 0] = parts[:, 0]
        by_label = tags[:, 1:].reshape(len(parts), n_labels, -1)
        numpy.add(of_label[:, :, None], of_position[:, None, :], out=by_label)
        return tags

    def gradient(self, d_logits: NDArray) -> NDArray:
        """RETURNS (NDArray): The gradient of the logits of parts, shape (n, n_parts), given the
        gradient of the logits of tags, shape (n, n_tags)."""
        return d_logits @ self.parts.T

    def split(self, weight: NDArray, bias: NDArray, new: float) -> Tuple[NDArray, NDArray]:
        """Split a head that was fitted to tags into their parts, by least squares.

        weight, bias (NDArray): The weights of the tags, shape (n_tags, width), and their biases,
            shape (n_tags,). A tag with only zero weights had no examples and is left out.
        new (float): Bias of a part that has no examples, relative to the lowest of the others.
        RETURNS (Tuple[NDArray, NDArray]): The weights and biases of the parts.
        """
        seen = weight.any(1)
        back = numpy.linalg.pinv(self.parts[:, seen].T)
        weight, bias = (back @ weight[seen]).astype("f"), (back @ bias[seen]).astype("f")
        unused = ~self.parts[:, seen].any(1)
        # Otherwise, a part without examples would be as probable as the others.
        bias[unused] = bias[~unused].min(initial=0.0) + new
        return weight, bias

    def growth(self, label: str) -> Tuple[NDArray[numpy.float32], NDArray[numpy.bool_]]:
        """Map the present parts to the parts of a scheme with one more label, which comes last.

        label (str): The new label.
        RETURNS (Tuple[NDArray[float32], NDArray[bool]]): 1 where a new part (row) is a present one
            (column), and whether each new part belongs to the new label.
        """
        n_labels, n_positions = len(self.labels), len(self.positions)
        grown = TagScheme([*self.labels, label], self.scheme, shared_positions=self.shares)
        mapping = numpy.zeros((grown.n_parts, self.n_parts), dtype="f")
        is_new = numpy.zeros(grown.n_parts, dtype=bool)
        if not grown.shared:
            mapping[: self.n_parts] = numpy.eye(self.n_parts)
            is_new[self.n_parts :] = True
            return mapping, is_new
        mapping[0, 0] = 1.0
        is_new[n_labels + 1] = True
        # A single label has no part of its own: its tags become the positions.
        mapping[-n_positions:, -n_positions:] = numpy.eye(n_positions)
        if self.shared:
            mapping[1 : n_labels + 1, 1 : n_labels + 1] = numpy.eye(n_labels)
        return mapping, is_new

    def tags(self, spans: Iterable[TagSpan], n_tokens: int) -> NDArray[numpy.int64]:
        """Tag the tokens of a document.

        spans (Iterable[TagSpan]): Its entities. They don't overlap, and none is empty.
        n_tokens (int): How many tokens the document has.
        RETURNS (NDArray[int64]): One tag per token, shape (n_tokens,).
        """
        tags = numpy.zeros(n_tokens, dtype=numpy.int64)
        for start, end, label in spans:
            begin = 1 + label * len(self.positions)
            tags[start:end] = begin + 1
            tags[start] = begin
            if self.scheme == "bilou":
                tags[end - 1] = begin + 2 if end - start > 1 else begin + 3
        return tags

    def spans(self, tags: NDArray) -> NDArray[numpy.int64]:
        """Find the entities in a sequence of tags.

        tags (NDArray): Legal tags, shape (n_tokens,). They may be those of several documents,
            with an O between any two.
        RETURNS (NDArray[int64]): First token, token after the last, and label of each entity, in
            order, shape (n_entities, 3).
        """
        inside = tags > 0
        continues = self.continues[tags]
        starts = numpy.flatnonzero(inside & ~continues)
        following = numpy.append(continues[1:], False)
        ends = numpy.flatnonzero(inside & ~following)
        return numpy.stack([starts, ends + 1, self.label_of[tags[starts]]], axis=1)


class PartLogits:
    """The logits of tags, computed from the logits of their parts for the rows that are read."""

    def __init__(self, scheme: TagScheme, parts: NDArray) -> None:
        """Wrap logits.

        scheme (TagScheme): The tags.
        parts (NDArray): Logits of parts, shape (n_tokens, n_parts).
        """
        self.scheme = scheme
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, rows: Union[NDArray, slice]) -> NDArray:
        return self.scheme.logits(self.parts[rows])
