"""`reprtune_span_classifier`: labels for sentences, entities and other given spans."""

from typing import Callable, List, Optional

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model

from ..bridge.token_classifier import TagScores
from .default_encoder import DEFAULT_ENCODER
from .label_kinds import Exclusive, Independent
from .ner import DEFAULT_MODEL
from .spacy_calls import resolve_optimizer_variables
from .span_classifier import SpanClassifier


@Language.factory(
    "reprtune_span_classifier",
    assigns=["doc.spans"],
    default_config={
        "model": {**Config().from_str(DEFAULT_MODEL)["model"], "encoder": DEFAULT_ENCODER},
        "spans": "sents",
        "spans_key": "sc",
        "exclusive": True,
        "head_init": "random",
        "threshold": 0.5,
        "temperature": None,
        "scorer": {"@scorers": "spacy.spancat_scorer.v1"},
    },
    default_score_weights={
        "spans_sc_f": 1.0,
        "spans_sc_p": 0.0,
        "spans_sc_r": 0.0,
        "spans_sc_per_type": None,
    },
)
def make_span_classifier(
    nlp: Language,
    name: str,
    model: Model[List[Doc], TagScores],
    spans: str,
    spans_key: str,
    exclusive: bool,
    head_init: str,
    threshold: float,
    temperature: Optional[float],
    scorer: Optional[Callable],
) -> "SpanClassifier":
    """Create a classifier of given spans.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], TagScores]): Docs to logits, a `spacy_reprtune.TokenClassifier.v1`.
        The logits of a span are the mean over its tokens.
    spans (str): The spans to classify: "sents", "ents", or a key of `doc.spans`. An earlier
        component, such as `sentencizer`, has to set them; spans under a key may also come with the
        docs.
    spans_key (str): Key of `doc.spans` for the labeled spans, in predictions and in gold docs. It
        may be the same as `spans`.
    exclusive (bool): Whether each span has exactly one label.
    head_init (str): "random", or "probe" for a logistic regression on the untouched encoder's
        vectors of spans, with its regularization chosen on held-out folds of the training data.
    threshold (float): Lowest probability at which a span gets a label, if labels are independent.
    temperature (Optional[float]): Softmax temperature; null fits it on dev during training.
    scorer (Optional[Callable]): The scoring method.
    """
    resolve_optimizer_variables(nlp)
    return SpanClassifier(
        nlp.vocab,
        model,
        name,
        spans=spans,
        spans_key=spans_key,
        kind=Exclusive() if exclusive else Independent(),
        head_init=head_init,
        threshold=threshold,
        temperature=temperature,
        scorer=scorer,
    )
