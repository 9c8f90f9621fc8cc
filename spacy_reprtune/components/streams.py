"""Cut a stream into blocks of docs, and limit how far the components read ahead."""

from typing import Iterator, List

from spacy.tokens import Doc

# `pipe` reads at most this many docs and characters ahead, to sort docs by length. Sorting more of
# them makes no difference to the speed.
LOOK_AHEAD_DOCS = 512
LOOK_AHEAD_CHARS = 1_000_000
# The same for docs that hold the vectors of all their tokens, 1.5 kB each at a width of 384.
LISTENING_CHARS = 250_000


def blocks(stream: Iterator[Doc], limit: int, limit_chars: int) -> Iterator[List[Doc]]:
    """Cut a stream of docs into blocks.

    stream (Iterator[Doc]): The docs.
    limit (int): The most docs per block.
    limit_chars (int): A block ends when it has this many characters.
    YIELDS (List[Doc]): The docs in order.
    """
    block: List[Doc] = []
    chars = 0
    for doc in stream:
        block.append(doc)
        # The end of the last token: doc.text would build the string.
        chars += doc[-1].idx + len(doc[-1]) if len(doc) else 0
        if len(block) >= limit or chars >= limit_chars:
            yield block
            block, chars = [], 0
    if block:
        yield block
