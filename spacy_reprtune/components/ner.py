"""`reprtune_ner`: named entities, each with its probability."""

from typing import Callable, List, Optional

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model

from ..bridge.token_classifier import TagScores
from .default_encoder import DEFAULT_ENCODER
from .entity_recognizer import EntityRecognizer
from .spacy_calls import resolve_optimizer_variables

DEFAULT_MODEL = """
[model]
@architectures = "spacy_reprtune.TokenClassifier.v1"
piece_pooling = "mean"
learned_transitions = false
dropout = null
head_lr = 1.0
"""


@Language.factory(
    "reprtune_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config={
        "model": {**Config().from_str(DEFAULT_MODEL)["model"], "encoder": DEFAULT_ENCODER},
        "scheme": "bilou",
        "shared_positions": True,
        "head_init": "random",
        "soft_labels": False,
        "overlapping": False,
        "min_score": 0.0,
        "temperature": None,
        "spans_key": "ner",
        "overwrite": False,
        "incorrect_spans_key": None,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        "ents_ece": None,
    },
)
def make_ner(
    nlp: Language,
    name: str,
    model: Model[List[Doc], TagScores],
    scheme: str,
    shared_positions: bool,
    head_init: str,
    soft_labels: bool,
    overlapping: bool,
    min_score: float,
    temperature: Optional[float],
    spans_key: Optional[str],
    overwrite: bool,
    incorrect_spans_key: Optional[str],
    scorer: Optional[Callable],
) -> "EntityRecognizer":
    """Create an entity recognizer.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], TagScores]): Docs to logits, a `spacy_reprtune.TokenClassifier.v1`.
    scheme (str): Scheme of the tags that the model predicts for tokens: "bilou" or "bio".
    shared_positions (bool): Whether all labels share weights for the positions in an entity: the
        weights of a tag are the sum of weights for its label and weights for its position.
        Otherwise, each tag has its own weights.
    head_init (str): "random", or "probe" for a logistic regression on the untouched encoder's
        vectors, with its regularization chosen on held-out folds of the training data.
    soft_labels (bool): Whether to learn the probabilities of tags that another recognizer has put
        into the training data, as in `reprtune distill`. Docs without them are learned from their
        entities.
    overlapping (bool): Whether entities of different labels may overlap or be nested. Each label
        then has its own tags, whatever shared_positions is. All entities are in
        `doc.spans[spans_key]`, where gold entities are read from as well, and `doc.ents` gets the
        most probable ones that do not overlap.
    min_score (float): The lowest probability of a predicted entity.
    temperature (Optional[float]): Softmax temperature; null fits it on dev during training.
    spans_key (Optional[str]): Key of `doc.spans` for the entities and their scores, or null for
        none.
    overwrite (bool): Whether to replace entities and blocked tokens that a doc already has.
    incorrect_spans_key (Optional[str]): Key of `doc.spans` in the training docs for spans that are
        known not to be entities of their label, or null.
    scorer (Optional[Callable]): The scoring method.
    """
    resolve_optimizer_variables(nlp)
    return EntityRecognizer(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        shared_positions=shared_positions,
        head_init=head_init,
        soft_labels=soft_labels,
        overlapping=overlapping,
        min_score=min_score,
        temperature=temperature,
        spans_key=spans_key,
        overwrite=overwrite,
        incorrect_spans_key=incorrect_spans_key,
        scorer=scorer,
    )
