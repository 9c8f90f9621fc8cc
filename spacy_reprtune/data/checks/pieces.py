"""The texts as the encoder sees them: pieces a text and a word, and pieces it does not know."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List

import numpy

from .finding import Finding

if TYPE_CHECKING:
    from spacy.tokens import Doc

# Word pieces that stand for something that the encoder can't spell.
UNKNOWN = 0.01
_CHUNK = 1000
_OFFSET_FAMILIES = ("roberta", "camembert", "mpnet", "longformer", "xlm-roberta", "xmod")


def encoder_limit(path: Path) -> int:
    """How many pieces an encoder takes at once.

    path (Path): Its directory.
    RETURNS (int): Special pieces included; 512 if it does not say.
    """
    import srsly

    config = srsly.read_json(path / "config.json")
    limit = config.get("max_position_embeddings") or 512
    # These number positions from the padding piece on.
    if config.get("model_type") in _OFFSET_FAMILIES:
        limit -= (config.get("pad_token_id") or 0) + 1
    return int(limit)


def measure_pieces(docs: Iterable["Doc"], tokenizer: Any, limit: int) -> Dict[str, Any]:
    """Cut texts into pieces and count.

    docs (Iterable[Doc]): The texts.
    tokenizer (PieceTokenizer): Of the encoder.
    limit (int): Pieces a window, special ones included.
    RETURNS (Dict[str, Any]): `window`, `longest`, `median`, `mean`, the shares `above_window` and
        `unknown`, and `per_word`.
    """
    unknown_id = tokenizer.tokenizer.unk_token_id
    room = limit - len(tokenizer.prefix) - len(tokenizer.suffix)
    lengths: List[int] = []
    words = unknown = 0
    texts: List[str] = []

    def flush() -> None:
        nonlocal words, unknown
        for text, pieces in zip(texts, tokenizer(texts), strict=True):
            lengths.append(len(pieces))
            words += len(text.split())
            unknown += int((pieces.ids == unknown_id).sum()) if unknown_id is not None else 0
        texts.clear()

    for doc in docs:
        texts.append(doc.text)
        if len(texts) >= _CHUNK:
            flush()
    flush()
    counts = numpy.array(lengths or [0])
    total = max(1, int(counts.sum()))
    return {
        "window": limit,
        "longest": int(counts.max()),
        "median": float(numpy.median(counts)),
        "mean": round(float(counts.mean()), 2),
        "above_window": round(float((counts > room).mean()), 4),
        "unknown": round(unknown / total, 5),
        "per_word": round(total / max(1, words), 3),
    }


def check_pieces(pieces: Dict[str, Any]) -> Iterator[Finding]:
    """Judge what `measure_pieces` found in the training texts.

    pieces (Dict[str, Any]): What it returned.
    YIELDS (Finding): What is wrong, or worth knowing.
    """
    if pieces["unknown"] > UNKNOWN:
        yield Finding(
            "warning",
            "unknown_pieces",
            f"{pieces['unknown']:.1%} of the pieces are unknown to the encoder.",
            "It can't tell them apart. Choose an encoder of the language and writing, or clean the "
            "texts.",
        )
    if pieces["above_window"]:
        yield Finding(
            "note",
            "long_texts",
            f"{pieces['above_window']:.1%} of the texts have more pieces than a window of "
            f"{pieces['window']} holds; the longest has {pieces['longest']:,}.",
            "Nothing is cut off: they get several windows, and cost as much time.",
        )
    yield Finding(
        "note",
        "pieces_per_word",
        f"{pieces['per_word']:.2f} pieces a word, {pieces['mean']:.0f} a text.",
        "The more pieces a word, the less the encoder knows the vocabulary, and the more "
        "pretraining on your own text may give.",
    )
