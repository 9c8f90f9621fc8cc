"""The token vectors of another component, and their gradient on its way back."""

from typing import TYPE_CHECKING, Any, Callable, List, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

if TYPE_CHECKING:
    from ..encoder.token_rows import TokenRows


def listeners(model: Model) -> List[Model]:
    """RETURNS (List[Model]): The layers of a head that read the vectors of another component. A
    head with an encoder or a spaCy `tok2vec` of its own has none."""
    # Listeners of spaCy and of spacy-transformers, without importing either's.
    return [node for node in model.walk() if hasattr(node, "upstream_name")]


def token_rows(model: Model[List[Doc], Any], docs: List[Doc]) -> "TokenRows":
    """Get the token vectors of docs, without gradient.

    model (Model[List[Doc], Any]): A head on token vectors.
    docs (List[Doc]): The docs, as the component that it listens to left them.
    RETURNS (TokenRows): The vectors.
    """
    lengths = [len(doc) for doc in docs]
    rows, _ = flat_rows(model, docs, lengths, is_train=False)
    return model.shims[0].token_rows(rows, lengths)


def pass_nothing_back(model: Model, docs: List[Doc]) -> None:
    """Answer the component that this head listens to, when the head has nothing to learn.

    The stock `transformer` and `tok2vec` components wait for their last listener. If that is this
    head's, its silence would cost the other heads the batch.

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
        # TransformerListener.v1 can't do without any token at all.
        return numpy.zeros((0, model.shims[0].width), dtype="f"), lambda d_rows: None
    heard = listeners(model)
    if heard and (not is_train or any(node._batch_id is None for node in heard)):
        # In training, the component that this head listens to is frozen, or there is none. Without
        # vectors, spaCy's listener would hand out zeros.
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
