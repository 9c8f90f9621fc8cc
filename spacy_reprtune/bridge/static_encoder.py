"""`spacy_reprtune.StaticEncoder.v1`: a table of piece vectors as an encoder."""

from typing import Optional

from spacy.util import registry

from .encoder import DocsToTokenVectors, encoder_model


@registry.architectures("spacy_reprtune.StaticEncoder.v1")
def StaticEncoder_v1(
    name: str,
    *,
    width: Optional[int] = 256,
    sif: Optional[float] = 1e-4,
    table_lr: float = 10.0,
    unfreeze: str = "all",
    batch_pieces: int = 16384,
    device: str = "auto",
    max_pieces: Optional[int] = None,
) -> DocsToTokenVectors:
    """A table with one vector per piece, made from an encoder, and trained further with the head.

    It has no attention and ignores word order, so it is many times faster than the encoder, but
    suits only text classification. Use it in a `spacy_reprtune.TextClassifier.v1`.

    name (str): The encoder that the table is made from, as in `spacy_reprtune.Encoder.v1`. Use
        one that was fine-tuned for the task: `model/encoder` in the directory of a trained
        component.
    width (Optional[int]): Width of the vectors: the number of principal components of the encoder's
        vectors that are kept. Null for all.
    sif (Optional[float]): The constant of smooth inverse frequency, by which frequent pieces get
        less weight at the start; null for equal weights.
    table_lr (float): Learning rate of the table as a multiple of `[training.optimizer] learn_rate`.
    unfreeze (str): "all" to train the table, "none" to train only the head.
    batch_pieces (int): Padded pieces that are looked up at once: a trade of memory for speed.
    device (str): "auto" follows spaCy's `--gpu-id`; otherwise a torch device.
    max_pieces (Optional[int]): Pieces of a text that are read, special pieces included; null for
        all.
    RETURNS (Model[List[Doc], List[Floats2d]]): Docs to one row per token, shape (n_tokens, width).
    RAISES (ValueError): A setting is out of range.
    """
    from ..encoder.static import StaticSettings

    settings = StaticSettings(
        name=name,
        width=width,
        sif=sif,
        table_lr=table_lr,
        unfreeze=unfreeze,
        batch_pieces=batch_pieces,
        precision="fp32",
        device=device,
        cache_mb=0,
        max_pieces=max_pieces,
    )
    return encoder_model(settings)
