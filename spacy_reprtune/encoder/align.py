"""Align word pieces with tokens by the characters that they cover, vectorized."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence, Tuple

import numpy
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .pieces import Pieces
    from .windows import ReadPieces

# Unicode's last white space character is U+3000; the entry after it stands for all others.
_SPACES = numpy.array([chr(code).isspace() for code in range(0x3002)])


@dataclass
class TokenSpans:
    """A text and the character offsets of its tokens.

    text (str): The text.
    starts, ends (NDArray): First character of each token and the one after its last, ascending,
        shape (n_tokens,).
    """

    text: str
    starts: NDArray
    ends: NDArray


@dataclass
class Alignment:
    """The pairs of a token and a piece that share a character, sorted by token, then piece.

    tokens (NDArray[int64]): Token index of each pair, shape (n_pairs,).
    pieces (NDArray[int64]): Piece index of each pair, shape (n_pairs,).
    n_tokens (int): Number of tokens in the text, including those without a piece.
    """

    tokens: NDArray[numpy.int64]
    pieces: NDArray[numpy.int64]
    n_tokens: int

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """RETURNS (NDArray[int64]): Number of pieces of each token, shape (n_tokens,)."""
        return numpy.bincount(self.tokens, minlength=self.n_tokens)


def align(token_starts: NDArray, token_ends: NDArray, offsets: NDArray, text: str) -> Alignment:
    """Align tokens and pieces of one text by the characters that they cover.

    A piece may reach into several tokens, and a token may have many pieces or none (white space,
    control characters, what the tokenizer's normalizer removes). White space at the edge of a
    piece does not count: tokenizers that keep the space before a word in its piece would
    otherwise tie each piece to the white space or to the word before it. Pieces that share one
    span (the bytes of unknown characters) are spread over its characters in turn, so there are
    never many more pairs than pieces and tokens together.

    token_starts (NDArray): First character of each token, ascending, shape (n_tokens,).
    token_ends (NDArray): The character after the last one of each token, shape (n_tokens,).
    offsets (NDArray): First character of each piece and the one after its last, shape
        (n_pieces, 2).
    text (str): The text that all of them refer to.
    RETURNS (Alignment): The pairs.
    """
    token_starts = numpy.asarray(token_starts, dtype=numpy.int64)
    token_ends = numpy.asarray(token_ends, dtype=numpy.int64)
    starts, ends = offsets.astype(numpy.int64).T
    if len(starts):
        is_space = _is_space(text)
        starts, ends = _strip(starts, ends, is_space)
        own_starts, own_ends = _share(starts, ends)
        if own_starts is not starts:
            starts, ends = _strip(own_starts, own_ends, is_space)
    first = numpy.searchsorted(token_ends, starts, side="right")
    last = numpy.searchsorted(token_starts, ends, side="left")
    counts = numpy.where(ends > starts, numpy.maximum(last - first, 0), 0)
    pieces = numpy.repeat(numpy.arange(len(counts)), counts)
    # The k-th pair of a piece is its first token plus k.
    within = numpy.arange(len(pieces)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    tokens = numpy.repeat(first, counts) + within
    order = numpy.lexsort((pieces, tokens))
    return Alignment(tokens[order], pieces[order], len(token_starts))


def align_all(texts: Sequence[TokenSpans], pieces: "Sequence[Pieces]") -> Alignment:
    """Align the tokens and pieces of several texts at once. For short texts, this takes a fraction
    of the time that aligning them one by one would take.

    texts (Sequence[TokenSpans]): The texts with their tokens.
    pieces (Sequence[Pieces]): The pieces of each, with offsets.
    RETURNS (Alignment): The pairs, with tokens and pieces numbered across all texts.
    """
    # The texts are treated as one, with a line break after each.
    sizes = numpy.array([len(text.text) + 1 for text in texts], dtype=numpy.int64)
    begins = numpy.cumsum(sizes) - sizes
    token_shift = numpy.repeat(begins, [len(text.starts) for text in texts])
    piece_shift = numpy.repeat(begins, [len(own) for own in pieces])
    return align(
        numpy.concatenate([text.starts for text in texts]) + token_shift,
        numpy.concatenate([text.ends for text in texts]) + token_shift,
        numpy.concatenate([own.offsets for own in pieces]) + piece_shift[:, None],
        "\n".join(text.text for text in texts),
    )


def first_pieces(alignment: Alignment) -> Alignment:
    """RETURNS (Alignment): Only the pair of each token with its first piece."""
    tokens, first = numpy.unique(alignment.tokens, return_index=True)
    return Alignment(tokens, alignment.pieces[first], alignment.n_tokens)


class Pairs:
    """The pairs of pieces and tokens of a batch of texts, sorted by piece."""

    def __init__(self, pieces: "Sequence[Pieces]", alignment: Alignment) -> None:
        """Sort the pairs.

        pieces (Sequence[Pieces]): The pieces of each text.
        alignment (Alignment): The pairs, see `align_all`.
        """
        n_pieces = numpy.array([len(own) for own in pieces], dtype=numpy.int64)
        self._piece_starts = numpy.cumsum(n_pieces) - n_pieces
        self._tokens = alignment.tokens[numpy.argsort(alignment.pieces, kind="stable")]
        self._counts = numpy.bincount(alignment.pieces, minlength=int(n_pieces.sum()))
        self._starts = numpy.cumsum(self._counts) - self._counts

    def of(self, read: "ReadPieces") -> Tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
        """RETURNS (Tuple[NDArray[int64], NDArray[int64]]): The pairs of the pieces that are read
        from a batch: the index of the piece among these, and the index of the token. A piece that
        reaches into several tokens has a pair with each."""
        flat = self._piece_starts[read.texts] + read.pieces
        repeats = self._counts[flat]
        source = numpy.repeat(numpy.arange(len(flat)), repeats)
        # The k-th pair of a piece is its first pair plus k.
        within = numpy.arange(len(source)) - numpy.repeat(numpy.cumsum(repeats) - repeats, repeats)
        return source, self._tokens[numpy.repeat(self._starts[flat], repeats) + within]


def _is_space(text: str) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Whether each character is white space, with False appended."""
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    return numpy.append(_SPACES[numpy.minimum(codes, len(_SPACES) - 1)], False)


def _strip(starts: NDArray, ends: NDArray, is_space: NDArray) -> Tuple[NDArray, NDArray]:
    starts, ends = starts.copy(), ends.copy()
    # Pieces begin and end with a few spaces at most, so this ends after a few rounds.
    while True:
        move = (starts < ends) & is_space[starts]
        if not move.any():
            break
        starts += move
    while True:
        move = (starts < ends) & is_space[ends - 1]
        if not move.any():
            break
        ends -= move
    return starts, ends


def _share(starts: NDArray, ends: NDArray) -> Tuple[NDArray, NDArray]:
    """Cut a span of several characters that consecutive pieces share into a part per piece."""
    differs = (starts[1:] != starts[:-1]) | (ends[1:] != ends[:-1])
    if (differs | (ends[1:] - starts[1:] < 2)).all():
        return starts, ends
    run = numpy.concatenate([[0], numpy.cumsum(differs)])
    sizes = numpy.bincount(run)
    position = numpy.arange(len(run)) - (numpy.cumsum(sizes) - sizes)[run]
    chars, size = ends - starts, sizes[run]
    first = starts + position * chars // size
    # With more pieces than characters, each piece gets one character.
    last = numpy.maximum(starts + (position + 1) * chars // size, numpy.minimum(first + 1, ends))
    return first, last
