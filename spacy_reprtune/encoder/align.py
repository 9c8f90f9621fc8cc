"""Which pieces belong to which token: by characters, vectorized."""

from dataclasses import dataclass
from typing import Tuple

import numpy
from numpy.typing import NDArray

# Unicode's last white space character is U+3000; the entry after it stands for all others.
_SPACES = numpy.array([chr(code).isspace() for code in range(0x3002)])


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
    span (the bytes of unknown characters) are handed to its characters in turn, so the pairs are
    never many more than pieces and tokens together.

    token_starts (NDArray): First character of each token, ascending, shape (n_tokens,).
    token_ends (NDArray): The character after its last, shape (n_tokens,).
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


def _is_space(text: str) -> NDArray[numpy.bool_]:
    """RETURNS (NDArray[bool]): Whether each character is white space, and False for the end."""
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
