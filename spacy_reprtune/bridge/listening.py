"""Get token vectors from another component, and send their gradient back."""

from typing import TYPE_CHECKING, Any, Callable, List, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

if TYPE_CHECKING:
    from ..encoder.token_rows import TokenRows


def listeners(model: Model) -> List[Model]:
    """RETURNS (List[Model]): The layers of a head that read the vectors of another component. A
    head with its own encoder or spaCy `tok2vec` has none."""
    # Finds listeners of spaCy and of spacy-transformers without importing either.
    return [node for node in model.walk() if hasattr(node, "upstream_name")]


def token_rows(model: Model[List[Doc], Any], docs: List[Doc]) -> "TokenRows":
    """Get the token vectors of docs, without gradient.

    model (Model[List[Doc], Any]): A head on token vectors.
    docs (List[Doc]): The docs, annotated by the component that the head listens to.
    RETURNS (TokenRows): The vectors.
    """
    lengths = [len(doc) for doc in docs]
    rows, _ = flat_rows(model, docs, lengths, is_train=False)
    return model.shims[0].token_rows(rows, lengths)


def pass_nothing_back(model: Model, docs: List[Doc]) -> None:
    """Send zeros to the component that this head listens to, when the head has nothing to learn.

    The stock `transformer` and `tok2vec` components wait for their last listener. If that belongs
    to this head and it sent nothing, the gradients of the other heads would be lost.

    model (Model): The model of a head.
    docs (List[Doc]): The batch.
    """
    if any(node._backprop is not None for node in listeners(model)):
        vectors, backprop = model.layers[0](docs, is_train=True)
        backprop([model.ops.xp.zeros_like(rows) for rows in vectors])


def flat_rows(
    model: Model, docs: List[Doc], lengths: List[int], is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Any]]:
    """Get the vectors of all tokens, one after the other.

    model (Model): A head on token vectors.
    docs (List[Doc]): The docs.
    lengths (List[int]): The number of tokens of each doc.
    is_train (bool): Whether the second return value will be called.
    RETURNS (Tuple[Floats2d, Callable]): The vectors, shape (n_tokens, width), and a function that
        takes their gradient.
    RAISES (ValueError): No component has vectors for the docs.
    """
    if not any(lengths):
        # TransformerListener.v1 fails on docs without any token.
        return numpy.zeros((0, model.shims[0].width), dtype="f"), lambda d_rows: None
    heard = listeners(model)
    if heard and (not is_train or any(node._batch_id is None for node in heard)):
        # In training, this means that the component is frozen, or that there is none. Without
        # vectors, spaCy's listener would return zeros.
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
                "`reprtune_encoder`, `tok2vec` or `transformer` component before it, or enable the "
                "one that is there. If it is in [training] frozen_components, list it in "
                "annotating_components as well."
            )
