"""`spacy_reprtune.SentenceClassifier.v1`: vectors to train by contrast, under a solved head."""

from functools import partial
from typing import TYPE_CHECKING, List

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from .text_classifier import forward, init

if TYPE_CHECKING:
    from ..encoder.module import Encoder


@registry.architectures("spacy_reprtune.SentenceClassifier.v1")
def SentenceClassifier_v1(
    encoder: Model[List[Doc], List[Floats2d]],
    *,
    pooling: str = "mean",
    normalize: bool = True,
) -> Model[List[Doc], Floats2d]:
    """Pool an encoder's vectors and classify the result with a linear head.

    Predictions are logits of the shape (n_docs, n_labels). In a training step the vector of each
    doc stands in front of its logits, (n_docs, width + n_labels): the contrastive loss is a loss
    of the vectors.

    encoder (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`.
    pooling (str): "mean", "cls", "max" or "attention", over all word pieces and special pieces
        of a text, however many windows it takes.
    normalize (bool): Whether vectors are brought to length 1, as most sentence encoders were
        trained and as the cosine sees them.
    RETURNS (Model[List[Doc], Floats2d]): The model.
    RAISES (ValueError): An unknown pooling, or an encoder of another kind.
    """
    from ..heads.pooling import POOLINGS
    from .encoder import encoder_settings
    from .shim import TorchShim

    settings = encoder_settings(encoder)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling = {pooling!r}. Use one of {', '.join(POOLINGS)}.")

    build = partial(_build, pooling=pooling, normalize=normalize)
    return Model(
        "reprtune_sentence_classifier",
        forward,
        init=init,
        dims={"nO": None},
        shims=[TorchShim(settings, build)],
        # spaCy sets the rate before each update, but only where the attribute is there.
        attrs={"dropout_rate": 0.0},
    )


def _build(encoder: "Encoder", n_labels: int, *, pooling: str, normalize: bool):
    from ..heads.sentence_classifier import SentenceClassifier

    return SentenceClassifier(encoder, n_labels, pooling=pooling, normalize=normalize)
