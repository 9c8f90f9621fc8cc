"""`spacy_reprtune.TextClassifier.v1`: from docs to one row of logits per doc."""

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Union

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from .head_model import head_model, is_encoder, run_head

if TYPE_CHECKING:
    from ..encoder.module import Encoder

DocsToLogits = Model[List[Doc], Floats2d]


@registry.architectures("spacy_reprtune.TextClassifier.v1")
def TextClassifier_v1(
    encoder: Model[List[Doc], List[Floats2d]],
    *,
    pooling: Union[str, Callable] = "mean",
    hidden_width: Optional[int] = None,
    activation: str = "gelu",
    dropout: Optional[float] = None,
    head_lr: float = 1.0,
) -> DocsToLogits:
    """Pool an encoder's vectors and classify the result.

    encoder (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`, or a listener on a
        shared one, whose token vectors are pooled instead of piece vectors.
    pooling (Union[str, Callable]): "mean", "cls", "max" or "attention", over all word pieces and
        special pieces of a text, however many windows it takes; or a block with a pooling that is
        registered in `@misc`.
    hidden_width (Optional[int]): Units of a hidden layer, or null for a linear head.
    activation (str): Activation of the hidden layer: "gelu", "tanh" or "relu".
    dropout (Optional[float]): Dropout rate in front of each layer of the head, or null for
        `[training] dropout`.
    head_lr (float): Learning rate of the head as a multiple of `[training.optimizer] learn_rate`.
        Unlike the encoder, a head starts at random, so 10 to 100 are usual.
    RETURNS (Model[List[Doc], Floats2d]): Docs to logits of the shape (n_docs, n_labels).
    RAISES (ValueError): A setting is out of range, or the pooling is unknown.
    """
    _check_head(hidden_width, activation, dropout, head_lr)
    build = partial(
        _build,
        pooling=pooling_for(encoder, pooling),
        hidden_width=hidden_width,
        activation=activation,
    )
    name = "reprtune_text_classifier"
    return head_model(name, encoder, build, run_head, head_lr=head_lr, dropout=dropout)


def pooling_for(encoder: Model, pooling: Union[str, Callable]) -> Callable:
    """Find the pooling of a head.

    encoder (Model): The `encoder` of the head's config.
    pooling (Union[str, Callable]): The setting.
    RETURNS (Callable[[int], Pooling]): Constructor of the pooling, given the width of the vectors.
    RAISES (ValueError): An unknown pooling, or one that a shared encoder has no vectors for.
    """
    from ..heads.pooling import find_pooling

    found = find_pooling(pooling)
    if getattr(found, "reads_special_piece", False) and not is_encoder(encoder):
        raise ValueError(
            "pooling = 'cls' reads a special piece, but a shared encoder provides only vectors of "
            "tokens. Use mean, max or attention, or give the head its own "
            "spacy_reprtune.Encoder.v1."
        )
    return found


# At the top level of the module, so that it can be pickled for workers that are not forked.
def _build(encoder: "Encoder", n_labels: int, **settings: Any):
    from ..heads.text_classifier import TextClassifier

    return TextClassifier(encoder, n_labels, **settings)


def _check_head(
    hidden_width: Optional[int], activation: str, dropout: Optional[float], head_lr: float
) -> None:
    from ..heads.text_classifier import ACTIVATIONS

    if hidden_width is not None and hidden_width < 1:
        raise ValueError(f"hidden_width = {hidden_width}. Use 1 or more, or null for no layer.")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation = {activation!r}. Use one of {', '.join(ACTIVATIONS)}.")
    check_rates(dropout, head_lr)


def check_rates(dropout: Optional[float], head_lr: float) -> None:
    """Check the settings that all heads have.

    dropout (Optional[float]): Dropout rate of the head.
    head_lr (float): Learning rate of the head as a multiple of the optimizer's.
    RAISES (ValueError): One of them is out of range.
    """
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout}. Use a rate of at least 0 and less than 1.")
    if head_lr < 0.1:
        raise ValueError(
            f"head_lr = {head_lr}. It multiplies the learning rate of [training.optimizer], so it "
            "is not a rate itself: use 1.0 or more."
        )
