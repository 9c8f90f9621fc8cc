"""Heads that read token vectors from elsewhere, usually from a listener on a shared encoder.

The source of the vectors is a layer of the head's thinc model, and only the head itself is torch's.
A head takes part with two things: its architecture calls `listening_head` where `is_encoder` is
false, and its torch module, built on a `ListenedEncoder`, takes `TokenRows` as its argument. A head
whose output is more than one array gives its own `forward`, and gets the array from `run_head`.
"""

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .encoder import encoder_model

if TYPE_CHECKING:
    import torch

    from ..encoder.token_rows import ListenedEncoder, TokenRows

TokenVectorModel = Model[List[Doc], List[Floats2d]]


def is_encoder(model: Model) -> bool:
    """Find out what a head was configured with.

    model (Model): What the config gave as `encoder`.
    RETURNS (bool): True for a `spacy_reprtune.Encoder.v1`, which becomes a part of the head's torch
        module. False for any other source of token vectors: a listener, or a spaCy `tok2vec`.
    """
    return model.name == "reprtune_encoder"


def listening_head(
    name: str,
    encoder: TokenVectorModel,
    build: "Callable[[ListenedEncoder, int], torch.nn.Module]",
    *,
    head_lr: float = 1.0,
    attrs: Optional[Dict[str, Any]] = None,
    forward: Optional[Callable[[Model, List[Doc], bool], Tuple[Any, Callable]]] = None,
) -> Model[List[Doc], Any]:
    """Put a head on token vectors that come from elsewhere.

    name (str): Name of the thinc model.
    encoder (Model[List[Doc], List[Floats2d]]): Docs to one row per token.
    build (Callable[[ListenedEncoder, int], Module]): Makes the head, given what stands for the
        encoder and the number of labels. Its argument is a `TokenRows`.
    head_lr (float): Learning rate of the head as a multiple of the optimizer's.
    attrs (Optional[Dict[str, Any]]): Attributes of the model; the dropout rate is read from
        "fixed_dropout" or "dropout_rate".
    forward (Optional[Callable]): The forward pass of the thinc model, or None for one that gives
        the module's output as it is.
    RETURNS (Model[List[Doc], Any]): Docs to what `forward` gives.
    """
    from .listening_shim import ListeningShim

    return Model(
        name,
        forward or run_head,
        init=init,
        dims={"nO": None},
        layers=[encoder],
        shims=[ListeningShim(build, head_lr=head_lr)],
        attrs=attrs or {},
    )


class HeadModel(Model):
    """A head with an encoder inside, which can be loaded as one that reads token vectors.

    `nlp.replace_listeners` puts a copy of a shared encoder where a head's listener was, and the
    encoder's config block where the listener's block was. By itself that block makes a head that
    holds its encoder and reads pieces, so the saved model tells the two apart: it has a layer.
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
            self.init = init
        return super().from_dict(msg)


def run_head(
    model: Model[List[Doc], Any], docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], List[Doc]]]:
    """Compute the output of a head's module for docs.

    model (Model[List[Doc], Any]): The model of the head.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[Floats2d, Callable]): The output, and backprop from its gradient.
    """
    rate = model.attrs.get("fixed_dropout", model.attrs.get("dropout_rate", 0.0))
    lengths = [len(doc) for doc in docs]
    rows, backprop_rows = _rows(model, docs, lengths, is_train)
    output, backward = model.shims[0](((rows, lengths), rate), is_train)

    def backprop(d_output: Floats2d) -> List[Doc]:
        backprop_rows(backward(d_output))
        return docs

    return output if isinstance(output, tuple) else model.ops.asarray(output), backprop


def init(model: Model[List[Doc], Floats2d], X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Find out how wide the token vectors are, and make a new head.

    model (Model[List[Doc], Floats2d]): The model.
    X (Optional[List[Doc]]): A sample of the docs; needed for its vocabulary.
    Y (Optional[Floats2d]): A sample of the gold values, one column per label.
    RAISES (ValueError): There are no token vectors.
    """
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    if not X:
        raise ValueError("A head that listens needs a doc to be initialized with.")
    docs = [Doc(X[0].vocab, words=["hello", "world"])]
    encoder = model.layers[0]
    if any(node.has_dim("nO") is None for node in _listeners(model)):
        raise ValueError(
            "This head has a spacy-transformers.TransformerListener.v1, but no component before it "
            "has vectors for it. Put a `transformer` component in front, and let it be initialized "
            "as well. To listen to a `reprtune_encoder`, use spacy.Tok2VecListener.v1."
        )
    encoder.initialize(X=docs)
    vectors = encoder.predict(docs)
    model.shims[0].initialize(model.get_dim("nO"), width=vectors[0].shape[1])


def token_rows(model: Model[List[Doc], Floats2d], docs: List[Doc]) -> "TokenRows":
    """Get the token vectors of docs, without gradient.

    model (Model[List[Doc], Floats2d]): A head on token vectors.
    docs (List[Doc]): The docs, as the component that it listens to left them.
    RETURNS (TokenRows): The vectors.
    """
    lengths = [len(doc) for doc in docs]
    rows, _ = _rows(model, docs, lengths, is_train=False)
    return model.shims[0].token_rows(rows, lengths)


def pass_nothing_back(model: Model, docs: List[Doc]) -> None:
    """Answer the component that this head listens to, when the head has nothing to learn.

    The stock `transformer` and `tok2vec` components wait for their last listener, so if that is
    this head's, its silence would cost the other heads the batch.

    model (Model): The model of a head.
    docs (List[Doc]): The batch.
    """
    if any(node._backprop is not None for node in _listeners(model)):
        vectors, backprop = model.layers[0](docs, is_train=True)
        backprop([model.ops.xp.zeros_like(rows) for rows in vectors])


def _rows(
    model: Model, docs: List[Doc], lengths: List[int], is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Any]]:
    """The vectors of all tokens, one after the other, and what takes their gradient."""
    if not any(lengths):
        # TransformerListener.v1 can't do without any token at all.
        return numpy.zeros((0, model.shims[0].width), dtype="f"), lambda d_rows: None
    if is_train and any(node._batch_id is None for node in _listeners(model)):
        # The component that this head listens to is frozen, or there is none.
        _check_annotated(model, docs)
        is_train = False
    vectors, backprop = model.layers[0](docs, is_train)
    rows = model.ops.xp.concatenate([v for v in vectors if len(v)])

    def backprop_rows(d_rows: Floats2d) -> Any:
        d_flat = model.ops.asarray2f(d_rows)
        return backprop(model.ops.unflatten(d_flat, model.ops.asarray1i(lengths)))

    return rows, backprop_rows


def _check_annotated(model: Model, docs: List[Doc]) -> None:
    for doc in docs:
        stock = doc.has_extension("trf_data") and doc._.trf_data is not None
        if len(doc) and not doc.tensor.size and not stock:
            raise ValueError(
                f"'{model.name}' listens, but no component has token vectors for it. Put a "
                "`reprtune_encoder`, `tok2vec` or `transformer` component before it. If there is "
                "one in [training] frozen_components, list it in annotating_components as well."
            )


def _listeners(model: Model) -> List[Model]:
    # Listeners of spaCy and of spacy-transformers, without importing either's.
    return [node for node in model.walk() if hasattr(node, "upstream_name")]
