"""`spacy_reprtune.SharedEncoder.v1`: one encoder that several components listen to."""

from typing import TYPE_CHECKING, Callable, List, Tuple

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

if TYPE_CHECKING:
    from spacy_transformers.layers import TransformerListener

    from .shared_transformer import SharedTransformer, TokenVectors

DocsToTokenVectors = Model[List[Doc], List[Floats2d]]


@registry.architectures("spacy_reprtune.SharedEncoder.v1")
def SharedEncoder_v1(encoder: DocsToTokenVectors) -> DocsToTokenVectors:
    """The model of spaCy's `transformer` component, from the package spacy-transformers.

    Components behind it listen with the stock `spacy-transformers.TransformerListener.v1`:
    `tagger`, `parser`, `ner`, `spancat` and `textcat` as their `tok2vec`, this package's heads as
    their `encoder`. They get a vector for each token, the mean of its pieces; so whatever the
    listener pools with, it pools one row.

    In training, all components have the same say in what the encoder learns, however large their
    losses are; a listener's `grad_factor` weighs them against each other.

    Windows, batches, precision, freezing and the cache are those of the encoder. The `transformer`
    component that gets this model is a `SharedTransformer`.

    encoder (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): Docs to one row a token, shape (n_tokens, width).
    RAISES (ValueError): The encoder is of another kind.
    """
    from ..bridge.encoder import encoder_settings
    from .shared_transformer import NAME, adopt_shared_encoders

    # Says what is wrong with an encoder of another kind.
    encoder_settings(encoder)
    adopt_shared_encoders()
    return Model(
        NAME,
        forward,
        init=init,
        dims={"nO": None},
        layers=[encoder],
        attrs={"replace_listener": replace_listener},
    )


def forward(
    model: DocsToTokenVectors, docs: List[Doc], is_train: bool
) -> Tuple["TokenVectors", Callable[[List[Floats2d]], List[Doc]]]:
    """Compute the vectors of tokens.

    model (Model[List[Doc], List[Floats2d]]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[TokenVectors, Callable]): A matrix a doc, one row a token, which listeners can
        read as well, and backprop from their gradients.
    """
    from .shared_transformer import TokenVectors

    vectors, backprop = model.layers[0](docs, is_train)
    return TokenVectors(vectors), backprop


def init(model: DocsToTokenVectors, X=None, Y=None) -> None:
    """Load the pretrained weights.

    model (Model[List[Doc], List[Floats2d]]): The model.
    X (Optional[List[Doc]]): Not used.
    Y (Optional[List[Floats2d]]): Not used.
    """
    model.layers[0].initialize()
    model.set_dim("nO", model.layers[0].get_dim("nO"), force=True)


def replace_listener(
    model: DocsToTokenVectors, listener: "TransformerListener", upstream: "SharedTransformer"
) -> DocsToTokenVectors:
    """Prepare a component for an encoder of its own, in the place of the one it listens to.

    `nlp.replace_listeners` puts the config of this model where the config of the listener was, and
    the copy of this model where the listener itself was. The config of a listener stands for two
    layers, the listener and what pools its rows; a model with the new config has one there. So the
    two are made one here, or what is saved would not fit its config.

    model (Model[List[Doc], List[Floats2d]]): The copy.
    listener (TransformerListener): What it takes the place of.
    upstream (SharedTransformer): What the component listens to.
    RETURNS (Model[List[Doc], List[Floats2d]]): The copy.
    """
    upstream.drop_pooling(listener)
    return model
