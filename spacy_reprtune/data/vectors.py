"""Compute vectors of texts and of tokens with an encoder, without a pipeline."""

from typing import TYPE_CHECKING, Sequence

import numpy
from numpy.typing import NDArray

from ..progress import bar

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..encoder.module import Encoder

# Texts that are encoded between two updates of the progress bar, sorted by length.
SHOWN_TEXTS = 512


def load_encoder(name: str, device: str = "auto") -> "Encoder":
    """Load an encoder that is not going to be trained.

    name (str): Name of the encoder; see `resolve_encoder`.
    device (str): "auto", "cpu", "cuda", "cuda:1" or "mps".
    RETURNS (Encoder): The encoder.
    RAISES (ValueError): There is no such encoder or device.
    """
    from ..bridge.device import configured_device
    from ..encoder.load import load_pretrained, resolve_encoder
    from ..encoder.module import Encoder, EncoderSettings
    from ..encoder.pieces import PieceTokenizer

    path = resolve_encoder(name)
    settings = EncoderSettings(name=name, cache_mb=0, unfreeze="none")
    tokenizer = PieceTokenizer.from_directory(path)
    return Encoder(load_pretrained(path), tokenizer, settings, configured_device(device))


def text_vectors(encoder: "Encoder", texts: Sequence[str], *, progress: bool = False) -> NDArray:
    """Encode texts. Equal texts are encoded once.

    encoder (Encoder): The encoder.
    texts (Sequence[str]): The texts.
    progress (bool): Whether to show a progress bar.
    RETURNS (ndarray): fp32, the mean over the pieces of each text, shape (n_texts, width).
    """
    import torch

    from ..heads.pooling import MeanPooling

    pooling = MeanPooling(encoder.width)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    unique, parts = list(rows), [numpy.zeros((0, encoder.width), dtype="f")]
    with bar(total=len(unique), what="Encoding texts", unit="texts", shown=progress) as shown:
        for start in range(0, len(unique), SHOWN_TEXTS):
            part = unique[start : start + SHOWN_TEXTS]
            with torch.no_grad():
                pieces = encoder.tokenize(part)
                pooled = pooling(encoder.encode(pieces, pooling=pooling), len(part))
            parts.append(pooled.cpu().numpy())
            shown.update(len(part))
    return numpy.concatenate(parts)[[rows[text] for text in texts]]


def token_vectors(encoder: "Encoder", docs: Sequence["Doc"], *, progress: bool = False) -> NDArray:
    """Encode the tokens of docs.

    encoder (Encoder): The encoder.
    docs (Sequence[Doc]): The docs.
    progress (bool): Whether to show a progress bar.
    RETURNS (ndarray): fp32 rows for all tokens of all docs in order, shape (n_tokens, width); zeros
        for a token without a piece.
    """
    import torch

    from ..bridge.encoder import token_spans
    from ..encoder.token_vectors import TokenVectors

    module = TokenVectors(encoder).eval()
    parts = [numpy.zeros((0, encoder.width), dtype="f")]
    with bar(total=len(docs), what="Encoding tokens", unit="texts", shown=progress) as shown:
        for start in range(0, len(docs), SHOWN_TEXTS):
            part = docs[start : start + SHOWN_TEXTS]
            with torch.no_grad():
                parts.append(module([token_spans(doc) for doc in part]).cpu().numpy())
            shown.update(len(part))
    return numpy.concatenate(parts)
