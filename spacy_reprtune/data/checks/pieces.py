"""Check the texts as the encoder sees them: pieces per text and word, and unknown pieces."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List

import numpy

from .finding import Finding

if TYPE_CHECKING:
    from ...encoder.pieces import PieceTokenizer

# Share of pieces that the encoder does not know, above which there is a warning.
UNKNOWN = 0.01
# Texts that are kept to time an encoder with.
SAMPLE = 128
_CHUNK = 1000


def encoder_limit(path: Path, tokenizer: Any) -> int:
    """Find out how many pieces an encoder takes at once, like `piece_limit` in training.

    path (Path): Directory of the encoder.
    tokenizer (PieceTokenizer): Tokenizer of the encoder.
    RETURNS (int): Number of pieces, special pieces included.
    """
    import torch
    from transformers import AutoModel

    from ...encoder.families import piece_limit
    from ...encoder.load import load_config

    # The meta device allocates no memory for weights, which are not needed.
    with torch.device("meta"):
        model = AutoModel.from_config(load_config(path))
    return piece_limit(model, tokenizer.max_pieces)


class PieceCounter:
    """Cuts texts into pieces and counts them, a chunk of texts at a time."""

    def __init__(self, tokenizer: "PieceTokenizer", limit: int) -> None:
        """Begin to count.

        tokenizer (PieceTokenizer): Tokenizer of the encoder.
        limit (int): Pieces per window, special ones included.
        """
        self.tokenizer = tokenizer
        self.limit = limit
        self.sample: List[str] = []
        self._lengths: List[int] = []
        self._texts: List[str] = []
        self._words = self._unknown = 0

    def add(self, text: str) -> None:
        """text (str): Next text. The first texts are kept in `sample`."""
        if len(self.sample) < SAMPLE:
            self.sample.append(text)
        self._texts.append(text)
        if len(self._texts) >= _CHUNK:
            self._flush()

    def finish(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): `window`, `longest`, `median`, `mean`, `mean_beginning` (within
        the first window), `per_word`, and the shares `above_window` and `unknown`."""
        self._flush()
        room = self.limit - self.tokenizer.n_special
        counts = numpy.array(self._lengths or [0])
        return {
            "window": self.limit,
            "longest": int(counts.max()),
            "median": float(numpy.median(counts)),
            "mean": round(float(counts.mean()), 2),
            "mean_beginning": round(float(numpy.minimum(counts, room).mean()), 2),
            "above_window": round(float((counts > room).mean()), 4),
            "unknown": round(self._unknown / max(1, int(counts.sum())), 5),
            "per_word": round(int(counts.sum()) / max(1, self._words), 3),
        }

    def _flush(self) -> None:
        unknown = self.tokenizer.tokenizer.unk_token_id
        for text, pieces in zip(self._texts, self.tokenizer(self._texts), strict=True):
            self._lengths.append(len(pieces))
            self._words += len(text.split())
            self._unknown += int((pieces.ids == unknown).sum()) if unknown is not None else 0
        self._texts = []


def check_pieces(pieces: Dict[str, Any]) -> Iterator[Finding]:
    """Judge the pieces of the training texts.

    pieces (Dict[str, Any]): Result of `PieceCounter.finish`.
    YIELDS (Finding): What is wrong or worth knowing.
    """
    if pieces["unknown"] > UNKNOWN:
        yield Finding(
            "warning",
            "unknown_pieces",
            f"{pieces['unknown']:.1%} of the pieces are unknown to the encoder.",
            "It can't tell them apart. Choose an encoder of this language and script, or clean the "
            "texts.",
        )
    if pieces["above_window"]:
        yield Finding(
            "note",
            "long_texts",
            f"{pieces['above_window']:.1%} of the texts have more pieces than a window of "
            f"{pieces['window']} holds; the longest has {pieces['longest']:,}.",
            "Nothing is cut off: each gets several windows, which take time accordingly.",
        )
    yield Finding(
        "note",
        "pieces_per_word",
        f"{pieces['per_word']:.2f} pieces per word, {pieces['mean']:.0f} per text.",
        "The more pieces per word, the less the encoder knows the vocabulary, and the more "
        "pretraining on your own text may help.",
    )
