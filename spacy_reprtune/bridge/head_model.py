"""The thinc model of a head, with its own encoder or with token vectors from elsewhere.

An architecture calls `head_model`, and its forward pass calls `run_head`. The head's own encoder is
part of its torch module, which reads texts or tokens. Any other source of token vectors (a
listener, a spaCy `tok2vec`) is a layer of the thinc model. The torch module is then built on a
`ListenedEncoder`, and its argument is a `TokenRows`.
"""

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple, Union

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .encoder import encoder_model
from .listening import flat_rows, listeners

if TYPE_CHECKING:
    import torch

    from ..encoder.module import Encoder
    from ..encoder.token_rows import ListenedEncoder

TokenVectorModel = Model[List[Doc], List[Floats2d]]
Forward = Callable[[Model, List[Doc], bool], Tuple[Any, Callable]]


def is_encoder(model: Model) -> bool:
    """Find out whether a head has its own encoder.

    model (Model): The `encoder` of the head's config.
    RETURNS (bool): True for a `spacy_reprtune.Encoder.v1`, which becomes a part of the head's torch
        module. False for any other source of token vectors: a listener, or a spaCy `tok2vec`.
    """
    return model.name == "reprtune_encoder"


def head_model(
    name: str,
    encoder: TokenVectorModel,
    build: "Callable[[Union[Encoder, ListenedEncoder], int], torch.nn.Module]",
    forward: Forward,
    *,
    head_lr: float = 1.0,
    dropout: Optional[float] = None,
) -> Model[List[Doc], Any]:
    """Put a head on an encoder.

    name (str): Name of the thinc model.
    encoder (Model[List[Doc], List[Floats2d]]): Docs to one row per token.
    build (Callable[[Union[Encoder, ListenedEncoder], int], Module]): Builds the torch module, given
        the encoder and the number of labels.
    forward (Callable): The forward pass of the thinc model.
    head_lr (float): Learning rate of the head as a multiple of the optimizer's.
    dropout (Optional[float]): Dropout rate of the head, or None for the rate of the training.
    RETURNS (Model[List[Doc], Any]): Docs to the output of `forward`.
    """
    from .listening_shim import ListeningShim
    from .shim import TorchShim

    if is_encoder(encoder):
        layers, shim = [], TorchShim(encoder.shims[0].settings, build, head_lr=head_lr)
    else:
        layers, shim = [encoder], ListeningShim(build, head_lr=head_lr)
    # spaCy sets the rate before each update, but only if the attribute exists.
    attrs = {"dropout_rate": 0.0} if dropout is None else {"fixed_dropout": dropout}
    return HeadModel(
        name, forward, init=init, dims={"nO": None}, layers=layers, shims=[shim], attrs=attrs
    )


class HeadModel(Model):
    """A head that can be loaded with a layer of token vectors although its config has an encoder.

    `nlp.replace_listeners` puts a copy of a shared encoder where a head's listener was, and the
    encoder's config block where the listener's block was. By itself, that block makes a head that
    holds its encoder and reads pieces. The saved model tells the two apart: it has a layer.
    """

    def from_dict(self, msg: Dict) -> Model:
        """Load a model that `to_dict` saved.

        msg (Dict): The saved model.
        RETURNS (Model): Itself.
        """
        from .listening_shim import ListeningShim

        if len(msg["nodes"]) > 1 and not self.layers:
            shim = self.shims[0]
            self._layers = [encoder_model(shim.settings)]
            self._shims = [ListeningShim(shim.build, head_lr=shim.head_lr)]
        return super().from_dict(msg)


def doc_texts(docs: List[Doc]) -> List[str]:
    """RETURNS (List[str]): The texts of docs."""
    return [doc.text for doc in docs]


def run_head(
    model: Model[List[Doc], Any],
    docs: List[Doc],
    is_train: bool,
    read: Callable[[List[Doc]], Any] = doc_texts,
) -> Tuple[Any, Callable[[Any], List[Doc]]]:
    """Compute the output of a head's module for docs.

    model (Model[List[Doc], Any]): The model of the head.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    read (Callable[[List[Doc]], Any]): Reads the module's argument from docs, if it has its own
        encoder.
    RETURNS (Tuple[Union[Floats2d, Tuple[Optional[Floats2d], ...]], Callable]): The output of the
        module, and a function that takes its gradient, in the same form.
    """
    shim = model.shims[0]
    output = None if is_train else shim.started(docs)
    backprop_rows = backward = _nothing
    if output is None:
        if model.layers:
            lengths = [len(doc) for doc in docs]
            rows, backprop_rows = flat_rows(model, docs, lengths, is_train)
            argument: Any = rows, lengths
        else:
            argument = read(docs)
        rate = model.attrs.get("fixed_dropout", model.attrs.get("dropout_rate", 0.0))
        output, backward = shim((argument, rate), is_train)

    def backprop(d_output: Any) -> List[Doc]:
        backprop_rows(backward(d_output))
        return docs

    if isinstance(output, tuple):
        return tuple(part if part is None else model.ops.asarray(part) for part in output), backprop
    return model.ops.asarray(output), backprop


def _nothing(gradient: Any) -> None:
    """Drop a gradient."""


def init(model: Model[List[Doc], Any], X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Make a new head, on a pretrained encoder or for the width of the token vectors.

    model (Model[List[Doc], Any]): The model.
    X (Optional[List[Doc]]): A sample of the docs. A head that listens needs its vocabulary.
    Y (Optional[Floats2d]): A sample of the gold values, one column per label.
    RAISES (ValueError): The head listens, and there are no docs or no token vectors.
    """
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    if not model.layers:
        model.shims[0].initialize(model.get_dim("nO"))
        return
    if not X:
        raise ValueError("A head that listens needs a doc to be initialized with.")
    if any(node.has_dim("nO") is None for node in listeners(model)):
        raise ValueError(
            "This head has a spacy-transformers.TransformerListener.v1, but no component before it "
            "has vectors for it. Put a `transformer` component in front, and let it be initialized "
            "as well. To listen to a `reprtune_encoder`, use spacy.Tok2VecListener.v1."
        )
    docs = [Doc(X[0].vocab, words=["hello", "world"])]
    encoder = model.layers[0]
    encoder.initialize(X=docs)
    vectors = encoder.predict(docs)
    model.shims[0].initialize(model.get_dim("nO"), width=vectors[0].shape[1])
