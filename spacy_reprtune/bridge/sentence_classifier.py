"""`spacy_reprtune.SentenceClassifier.v1`: vectors for contrastive training, under a fitted head."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Callable, List, Tuple, Union

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from .head_model import head_model, run_head
from .text_classifier import pooling_for

if TYPE_CHECKING:
    from ..encoder.module import Encoder


@dataclass
class PooledScores:
    """The output of the model for docs, and the form of its gradient.

    vectors (Floats2d): The vector of each doc, shape (n_docs, width).
    logits (Floats2d): The logits of each doc, shape (n_docs, n_labels).
    """

    vectors: Floats2d
    logits: Floats2d


DocsToPooledScores = Model[List[Doc], PooledScores]


@registry.architectures("spacy_reprtune.SentenceClassifier.v1")
def SentenceClassifier_v1(
    encoder: Model[List[Doc], List[Floats2d]],
    *,
    pooling: Union[str, Callable] = "mean",
    normalize: bool = True,
) -> DocsToPooledScores:
    """Pool an encoder's vectors and classify the result with a linear head.

    The contrastive loss is computed from the vectors, so the model returns them beside the logits.

    encoder (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`, or a listener on a
        shared one, whose token vectors are pooled instead of piece vectors.
    pooling (Union[str, Callable]): "mean", "cls", "max" or "attention", over all word pieces and
        special pieces of a text, however many windows it takes; or a block with a pooling that is
        registered in `@misc`.
    normalize (bool): Whether vectors are scaled to length 1, as in the training of most sentence
        encoders.
    RETURNS (Model[List[Doc], PooledScores]): The model.
    RAISES (ValueError): An unknown pooling, or one that a shared encoder has no vectors for.
    """
    build = partial(_build, pooling=pooling_for(encoder, pooling), normalize=normalize)
    return head_model("reprtune_sentence_classifier", encoder, build, forward)


def forward(
    model: DocsToPooledScores, docs: List[Doc], is_train: bool
) -> Tuple[PooledScores, Callable[[PooledScores], List[Doc]]]:
    """Compute the vectors and the logits of docs; identical texts are computed once.

    model (Model[List[Doc], PooledScores]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[PooledScores, Callable]): The vectors and logits, and a function that takes their
        gradients.
    """
    (vectors, logits), backward = run_head(model, docs, is_train)
    scores = PooledScores(vectors, logits)
    return scores, lambda d_scores: backward((d_scores.vectors, d_scores.logits))


def _build(encoder: "Encoder", n_labels: int, *, pooling: Callable, normalize: bool):
    from ..heads.sentence_classifier import SentenceClassifier

    return SentenceClassifier(encoder, n_labels, pooling=pooling, normalize=normalize)
