"""Tags of tokens and spans of entities, one made from the other."""

from typing import Iterable, List, Sequence, Tuple

import numpy
from numpy.typing import NDArray

SCHEMES = {"bio": "BI", "bilou": "BILU"}

# First token, the token after the last, and the index of the label.
TagSpan = Tuple[int, int, int]


class TagScheme:
    """The tags of a set of labels, and which of them may follow each other.

    Tag 0 is O. A document stands between two tokens that are outside, so what may follow O may
    also begin a document, and what O may follow may also end it: no further rules are needed.
    "bio" tags the first token of an entity B and the others I (Ramshaw & Marcus 1995). "bilou"
    also marks the last one, L, and an entity of one token, U (Ratinov & Roth 2009).

    A model has a logit for each of the scheme's parts, and the logit of a tag is the sum of those
    of its parts. With `shared_positions` the parts are O, the labels and the positions, so all
    labels learn together where an entity begins and ends. Without, each tag is a part by itself.
    """

    def __init__(
        self, labels: Sequence[str], scheme: str, *, shared_positions: bool = False
    ) -> None:
        """Number the tags.

        labels (Sequence[str]): The labels of entities. Tags are numbered in their order.
        scheme (str): "bio" or "bilou".
        shared_positions (bool): Whether a tag is made of its label and its position. A single
            label has nobody to share with: its tags are parts by themselves.
        RAISES (ValueError): An unknown scheme.
        """
        if scheme not in SCHEMES:
            raise ValueError(f"scheme = {scheme!r}. Use one of {', '.join(SCHEMES)}.")
        self.labels = tuple(labels)
        self.scheme = scheme
        kinds = SCHEMES[scheme]
        self.names: List[str] = ["O", *(f"{kind}-{label}" for label in labels for kind in kinds)]
        kind = numpy.array(["O", *(list(kinds) * len(labels))])
        # The label of each tag, -1 for O.
        self.label_of = numpy.array([-1, *numpy.repeat(numpy.arange(len(labels)), len(kinds))])
        # Tags that go on with the entity of the token before them.
        self.continues = (kind == "I") | (kind == "L")
        same = self.label_of[:, None] == self.label_of[None, :]
        goes_on = (kind == "B") | (kind == "I")
        must = goes_on if scheme == "bilou" else numpy.zeros_like(goes_on)
        # allowed[i, j]: tag j may come right after tag i.
        self.allowed = numpy.where(self.continues[None, :], goes_on[:, None] & same, ~must[:, None])
        # parts[i, j]: 1 where tag j has part i.
        self.parts = numpy.eye(len(self.names), dtype="f")
        if shared_positions and len(labels) > 1:
            of_label = self.label_of == numpy.arange(len(labels))[:, None]
            of_position = kind == numpy.array(list(kinds))[:, None]
            self.parts = numpy.vstack([self.parts[:1], of_label, of_position]).astype("f")

    def __len__(self) -> int:
        return len(self.names)

    def logits(self, parts: NDArray) -> NDArray:
        """RETURNS (NDArray): The logits of tags, shape (n, n_tags), given those of their parts,
        shape (n, n_parts)."""
        return parts @ self.parts

    def gradient(self, d_logits: NDArray) -> NDArray:
        """RETURNS (NDArray): The gradient of the logits of parts, shape (n, n_parts), given that of
        the logits of tags, shape (n, n_tags)."""
        return d_logits @ self.parts.T

    def split(self, weight: NDArray, bias: NDArray) -> Tuple[NDArray, NDArray]:
        """Find the parts of a head that was solved for tags, by least squares.

        weight, bias (NDArray): Of the shapes (n_tags, width) and (n_tags,). A tag whose weights are
            all zero was in no example, and is left to its parts.
        RETURNS (Tuple[NDArray, NDArray]): The same of the parts.
        """
        seen = weight.any(1)
        back = numpy.linalg.pinv(self.parts[:, seen].T)
        return (back @ weight[seen]).astype("f"), (back @ bias[seen]).astype("f")

    def tags(self, spans: Iterable[TagSpan], n_tokens: int) -> NDArray[numpy.int64]:
        """Tag the tokens of a document.

        spans (Iterable[TagSpan]): Its entities, none overlapping another, none empty.
        n_tokens (int): Its tokens.
        RETURNS (NDArray[int64]): A tag a token, shape (n_tokens,).
        """
        tags = numpy.zeros(n_tokens, dtype=numpy.int64)
        per_label = len(SCHEMES[self.scheme])
        for start, end, label in spans:
            begin = 1 + label * per_label
            tags[start:end] = begin + 1
            tags[start] = begin
            if self.scheme == "bilou":
                tags[end - 1] = begin + 2 if end - start > 1 else begin + 3
        return tags

    def spans(self, tags: NDArray) -> NDArray[numpy.int64]:
        """Find the entities of tokens in a row.

        tags (NDArray): Legal tags, shape (n_tokens,). Of several documents at once, if a token
            with tag 0 stands between each two.
        RETURNS (NDArray[int64]): First token, token after the last, and label of each entity, in
            order, shape (n_entities, 3).
        """
        inside = tags > 0
        goes_on = self.continues[tags]
        starts = numpy.flatnonzero(inside & ~goes_on)
        following = numpy.append(goes_on[1:], False)
        ends = numpy.flatnonzero(inside & ~following)
        return numpy.stack([starts, ends + 1, self.label_of[tags[starts]]], axis=1)

    def is_legal(self, tags: NDArray) -> bool:
        """RETURNS (bool): Whether each tag may follow the one before, from O to O."""
        around = numpy.concatenate([[0], tags, [0]])
        return bool(self.allowed[around[:-1], around[1:]].all())
