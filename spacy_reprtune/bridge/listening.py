"""Heads whose token vectors come from elsewhere: from a listener on a shared encoder.

The encoder is a layer of the head's thinc model, and only the head itself is torch's. A head takes
part with two things: its architecture hands over to `listening_head` where `is_encoder` is false,
and its torch module, built on a `ListenedEncoder`, takes `TokenRows` as its argument. A head whose
output is more than one array gives its own `forward`, and gets the array from `run_head`.
"""

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

if TYPE_CHECKING:
    import torch

    from ..encoder.token_rows import ListenedEncoder, TokenRows

TokenVectorModel = Model[List[Doc], List[Floats2d]]

# What is left of a listener when it is replaced: by a copy of a shared encoder of this package, or
# of a stock transformer.
TOKEN_VECTOR_MODELS = ("reprtune_shared_encoder", "trfs2arrays")


def is_encoder(model: Model) -> bool:
    """Find out what a head was configured with.

    model (Model): What the config gave as `encoder`.
    RETURNS (bool): True for a `spacy_reprtune.Encoder.v1`, which becomes a part of the head's torch
        module. False for what the head gets token vectors from: a listener, or the copy of the
        shared encoder that `nlp.replace_listeners` put in the place of one.
    RAISES (ValueError): It is neither.
    """
    if model.name == "reprtune_encoder":
        return True
    if any(_listens(node) or node.name in TOKEN_VECTOR_MODELS for node in model.walk()):
        return False
    raise ValueError(
        f"The encoder of this head is a model named '{model.name}'. Use spacy_reprtune.Encoder.v1 "
        "for an encoder of its own, or spacy-transformers.TransformerListener.v1 to listen to a "
        "`transformer` component."
    )


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
    encoder (Model[List[Doc], List[Floats2d]]): Docs to one row a token.
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

    return model.ops.asarray(output), backprop


def init(model: Model[List[Doc], Floats2d], X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Find out how wide the token vectors are, and make a new head.

    model (Model[List[Doc], Floats2d]): The model.
    X (Optional[List[Doc]]): A sample of the docs; needed for its vocabulary.
    Y (Optional[Floats2d]): A sample of the gold values, one column a label.
    RAISES (ValueError): There are no token vectors.
    """
    if Y is not None:
        model.set_dim("nO", Y.shape[1], force=True)
    if not X:
        raise ValueError("A head that listens needs a doc to be initialized with.")
    docs = [Doc(X[0].vocab, words=["hello", "world"])]
    encoder = model.layers[0]
    if any(_listens(node) and node.has_dim("nO") is None for node in encoder.walk()):
        raise ValueError(
            "The encoder of this head is a listener, but no component before it has vectors for "
            "it. Put a `transformer` component in front, and let it be initialized as well."
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
    """Let the others' gradients through, when a head has nothing to learn from a batch.

    The stock `transformer` and `tok2vec` components wait for their last listener, so if that is
    this head's, its silence would cost the other heads the batch. A shared encoder of this
    package does not wait, and is not bothered.

    model (Model): The model of a head.
    docs (List[Doc]): The batch.
    """
    for node in model.walk():
        if _listens(node) and node._backprop is not None:
            if not getattr(node._backprop, "needs_no_answer", False):
                vectors, backprop = model.layers[0](docs, is_train=True)
                backprop([model.ops.xp.zeros_like(rows) for rows in vectors])
            return


def _rows(
    model: Model, docs: List[Doc], lengths: List[int], is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Any]]:
    """The vectors of all tokens, one after the other, and what takes their gradient."""
    if not any(lengths):
        # Listeners can't do without any token at all.
        return numpy.zeros((0, model.shims[0].width), dtype="f"), lambda d_rows: None
    vectors, backprop = model.layers[0](docs, is_train)
    rows = model.ops.xp.concatenate([v for v in vectors if len(v)])

    def backprop_rows(d_rows: Floats2d) -> Any:
        d_flat = model.ops.asarray2f(d_rows)
        return backprop(model.ops.unflatten(d_flat, model.ops.asarray1i(lengths)))

    return rows, backprop_rows


def _listens(node: Model) -> bool:
    # Listeners of spaCy and of spacy-transformers, without importing either's.
    return hasattr(node, "backprop_and_clear")
