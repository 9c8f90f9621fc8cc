"""The poolings under the names that configs know them by.

A pooling of your own is registered in the same way: a function in `spacy.registry.misc` that
returns a constructor of the pooling, given the width of the vectors. A subclass of
`spacy_reprtune.heads.pooling.Pooling` does, or a `functools.partial` of one; a lambda can't be
pickled for the workers of `nlp.pipe`.
"""

from typing import TYPE_CHECKING, Callable

from spacy.util import registry

if TYPE_CHECKING:
    from ..heads.pooling import Pooling


def _make(kind: str) -> "Callable[[int], Pooling]":
    from ..heads.pooling import POOLINGS

    return POOLINGS[kind]


@registry.misc("spacy_reprtune.MeanPooling.v1")
def MeanPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of a mean of all positions."""
    return _make("mean")


@registry.misc("spacy_reprtune.ClsPooling.v1")
def ClsPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of a mean of the leading special pieces."""
    return _make("cls")


@registry.misc("spacy_reprtune.MaxPooling.v1")
def MaxPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of a maximum over all positions."""
    return _make("max")


@registry.misc("spacy_reprtune.AttentionPooling.v1")
def AttentionPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of an attention with one learned query."""
    return _make("attention")
