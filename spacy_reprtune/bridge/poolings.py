"""Register the poolings under their names in configs.

Register a pooling of your own in the same way: a function in `spacy.registry.misc` that returns a
constructor of the pooling, which takes the width of the vectors. The constructor can be a subclass
of `spacy_reprtune.heads.pooling.Pooling`, or a `functools.partial` of one, but not a lambda, which
can't be pickled for the workers of `nlp.pipe`.
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
    """RETURNS (Callable[[int], Pooling]): Constructor of the mean of all positions."""
    return _make("mean")


@registry.misc("spacy_reprtune.ClsPooling.v1")
def ClsPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of the mean of the leading special pieces."""
    return _make("cls")


@registry.misc("spacy_reprtune.MaxPooling.v1")
def MaxPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of the maximum over all positions."""
    return _make("max")


@registry.misc("spacy_reprtune.AttentionPooling.v1")
def AttentionPooling_v1() -> "Callable[[int], Pooling]":
    """RETURNS (Callable[[int], Pooling]): Constructor of attention with one learned query."""
    return _make("attention")
