"""`spacy_reprtune.TextClassifier.v1`: from docs to one row of logits each."""

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, Union

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

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
        shared one, whose vectors of tokens are pooled instead of pieces.
    pooling (Union[str, Callable]): "mean", "cls", "max" or "attention", over all word pieces and
        special pieces of a text, however many windows it takes; or a block with a pooling that is
        registered in `@misc`.
    hidden_width (Optional[int]): Units of a hidden layer, or null for a linear head.
    activation (str): Activation of the hidden layer: "gelu", "tanh" or "relu".
    dropout (Optional[float]): Dropout rate in front of each layer of the head, or null for the
        rate that training is run with (`[training] dropout`).
    head_lr (float): Learning rate of the head as a multiple of `[training.optimizer] learn_rate`.
        A head starts at random, the encoder does not: 10 to 100 are usual.
    RETURNS (Model[List[Doc], Floats2d]): Docs to logits of the shape (n_docs, n_labels).
    RAISES (ValueError): An unknown pooling, or an encoder of another kind.
    """
    from ..heads.pooling import find_pooling
    from .encoder import encoder_settings
    from .listening import HeadModel, is_encoder, listening_head
    from .shim import TorchShim

    pooling = find_pooling(pooling)
    _check_head(hidden_width, activation, dropout, head_lr)
    # spaCy sets the rate before each update, but only where the attribute is there.
    attrs = {"dropout_rate": 0.0} if dropout is None else {"fixed_dropout": dropout}

    build = partial(_build, pooling=pooling, hidden_width=hidden_width, activation=activation)
    name = "reprtune_text_classifier"
    if not is_encoder(encoder):
        if getattr(pooling, "reads_special_piece", False):
            raise ValueError(
                "pooling = 'cls' reads a special piece, which an encoder that is shared with other "
                "components does not hand on: it gives vectors of tokens. Use mean, max or "
                "attention, or a spacy_reprtune.Encoder.v1 that is the head's own."
            )
        return listening_head(name, encoder, build, head_lr=head_lr, attrs=attrs)
    return HeadModel(
        name,
        forward,
        init=init,
        dims={"nO": None},
        shims=[TorchShim(encoder_settings(encoder), build, head_lr=head_lr)],
        attrs=attrs,
    )


def forward(
    model: DocsToLogits, docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], List[Doc]]]:
    """Compute the logits of docs; identical texts are computed once.

    model (Model[List[Doc], Floats2d]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[Floats2d, Callable]): The logits, and backprop from their gradient.
    """
    if model.layers:
        from .listening import run_head

        return run_head(model, docs, is_train)
    rate = model.attrs.get("fixed_dropout", model.attrs.get("dropout_rate", 0.0))
    logits, backward = model.shims[0](([doc.text for doc in docs], rate), is_train)

    def backprop(d_logits: Floats2d) -> List[Doc]:
        backward(d_logits)
        return docs

    return model.ops.asarray2f(logits), backprop


def init(model: DocsToLogits, X: Optional[List[Doc]] = None, Y: Optional[Floats2d] = None) -> None:
    """Load the pretrained weights and make a new head.

    model (Model[List[Doc], Floats2d]): The model.
    X (Optional[List[Doc]]): Not used.
    Y (Optional[Floats2d]): A sample of the gold values, one column per label.
    """
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    model.shims[0].initialize(model.get_dim("nO"))


# At the top level, so that workers that are not forked can be given it.
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
    """Check what all heads have.

    dropout (Optional[float]): The dropout rate of the head.
    head_lr (float): Its learning rate as a multiple of the optimizer's.
    RAISES (ValueError): One of them is out of range.
    """
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout = {dropout}. Use a rate from 0 up to, not including, 1.")
    if head_lr < 0.1:
        raise ValueError(
            f"head_lr = {head_lr}. It multiplies the learning rate of [training.optimizer], so it "
            "is not a rate itself: use 1.0 or more."
        )
