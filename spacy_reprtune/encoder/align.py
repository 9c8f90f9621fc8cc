"""Which pieces belong to which token: by characters, vectorised."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

# Unicode's last white space character is U+3000; the entry after it stands for all others.
_SPACES = numpy.array([chr(code).isspace() for code in range(0x3002)])


@dataclass
class Alignment:
    """The pairs of a token and a piece that share a character, sorted by token, then piece.

    tokens (NDArray[int64]): Token index of each pair, shape (n_pairs,).
    pieces (NDArray[int64]): Piece index of each pair, shape (n_pairs,).
    n_tokens (int): Tokens of the text, those without a piece included.
    """

    tokens: NDArray[numpy.int64]
    pieces: NDArray[numpy.int64]
    n_tokens: int

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """RETURNS (NDArray[int64]): Pieces of each token, 0 for one without, shape (n_tokens,)."""
        return numpy.bincount(self.tokens, minlength=self.n_tokens)


def align(token_starts: NDArray, token_ends: NDArray, offsets: NDArray, text: str) -> Alignment:
    """Align tokens and pieces of one text by the characters that they cover.

    A piece may reach into several tokens and a token may have many pieces or none (white space,
    control characters, what the tokenizer's normaliser removes). White space at the edge of a
    piece does not count: tokenizers that keep the space before a word in its piece would
    otherwise tie each piece to the white space or to the word before it.

    token_starts (NDArray): First character of each token, ascending, shape (n_tokens,).
    token_ends (NDArray): The character after its last, shape (n_tokens,).
    offsets (NDArray): The same two for each piece, shape (n_pieces, 2).
    text (str): The text that all of them refer to.
    RETURNS (Alignment): The pairs.
    """
    token_starts = numpy.asarray(token_starts, dtype=numpy.int64)
    token_ends = numpy.asarray(token_ends, dtype=numpy.int64)
    starts, ends = _strip(offsets.astype(numpy.int64), text)
    first = numpy.searchsorted(token_ends, starts, side="right")
    last = numpy.searchsorted(token_starts, ends, side="left")
    counts = numpy.where(ends > starts, numpy.maximum(last - first, 0), 0)
    pieces = numpy.repeat(numpy.arange(len(counts)), counts)
    # The k-th pair of a piece is its first token plus k.
    within = numpy.arange(len(pieces)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    tokens = numpy.repeat(first, counts) + within
    order = numpy.lexsort((pieces, tokens))
    return Alignment(tokens[order], pieces[order], len(token_starts))


def _strip(offsets: NDArray, text: str) -> "tuple[NDArray, NDArray]":
    starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
    if not len(starts):
        return starts, ends
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    is_space = _SPACES[numpy.minimum(codes, len(_SPACES) - 1)]
    is_space = numpy.append(is_space, False)
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
