"""`spacy_reprtune.TokenClassifier.v1`: from docs to one row of logits per token."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from .encoder import token_spans
from .head_model import head_model, is_encoder, run_head
from .text_classifier import check_rates

if TYPE_CHECKING:
    from ..encoder.align import TokenSpans
    from ..encoder.module import Encoder

PIECE_POOLINGS = ("mean", "first")


@dataclass
class TagScores:
    """The output of the model for docs, and the form of its gradient.

    The columns are tags or the parts of tags, depending on the component.

    logits (Floats2d): One row per token of all docs in order, shape (n_tokens, n_tags), with zeros
        for a token without a piece.
    lengths (List[int]): Number of tokens of each doc.
    transitions (Optional[Floats2d]): Learned score of each tag (column) after another (row), shape
        (n_tags, n_tags), or None.
    """

    logits: Floats2d
    lengths: List[int]
    transitions: Optional[Floats2d] = None


DocsToTagScores = Model[List[Doc], TagScores]


@registry.architectures("spacy_reprtune.TokenClassifier.v1")
def TokenClassifier_v1(
    encoder: Model[List[Doc], List[Floats2d]],
    *,
    piece_pooling: str = "mean",
    learned_transitions: bool = False,
    dropout: Optional[float] = None,
    head_lr: float = 1.0,
) -> DocsToTagScores:
    """Classify tokens by the encoder's vectors of their pieces.

    encoder (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`, or a listener on a
        shared one.
    piece_pooling (str): Vector of a token: the "mean" of its pieces, or the "first". Each
        piece is read in the window where it is most central.
    learned_transitions (bool): Whether to learn a score for each tag after another, which makes
        the head a linear-chain conditional random field.
    dropout (Optional[float]): Dropout rate in front of the head, or null for `[training] dropout`.
    head_lr (float): Learning rate of the head as a multiple of `[training.optimizer] learn_rate`.
    RETURNS (Model[List[Doc], TagScores]): Docs to logits.
    RAISES (ValueError): A setting is out of range, or does not suit the encoder.
    """
    if piece_pooling not in PIECE_POOLINGS:
        raise ValueError(f"piece_pooling = {piece_pooling!r}. Use one of mean, first.")
    if piece_pooling == "first" and not is_encoder(encoder):
        raise ValueError(
            "piece_pooling = 'first' needs vectors of pieces, but a shared encoder provides only "
            "their mean, one vector per token. Use 'mean'."
        )
    if is_encoder(encoder) and not encoder.shims[0].settings.reads_order:
        raise ValueError(
            "A spacy_reprtune.StaticEncoder.v1 looks at each piece by itself, so it can classify "
            "texts but can't recognize entities. For a small recognizer, use a "
            "spacy_reprtune.Encoder.v1 with keep_blocks = [0, 2, 4]."
        )
    check_rates(dropout, head_lr)
    build = partial(_build, piece_pooling=piece_pooling, learned_transitions=learned_transitions)
    name = "reprtune_token_classifier"
    return head_model(name, encoder, build, forward, head_lr=head_lr, dropout=dropout)


def forward(
    model: DocsToTagScores, docs: List[Doc], is_train: bool
) -> Tuple[TagScores, Callable[[TagScores], List[Doc]]]:
    """Compute the logits of the tokens of docs.

    model (Model[List[Doc], TagScores]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[TagScores, Callable]): The logits, and a function that takes their gradient.
    """
    (logits, transitions), backward = run_head(model, docs, is_train, _all_spans)
    scores = TagScores(logits, [len(doc) for doc in docs], transitions)
    return scores, lambda d_scores: backward((d_scores.logits, d_scores.transitions))


def _all_spans(docs: List[Doc]) -> "List[TokenSpans]":
    return [token_spans(doc) for doc in docs]


def _build(encoder: "Encoder", n_tags: int, *, piece_pooling: str, learned_transitions: bool):
    from ..heads.token_classifier import TokenClassifier

    return TokenClassifier(
        encoder, n_tags, piece_pooling=piece_pooling, learned_transitions=learned_transitions
    )
