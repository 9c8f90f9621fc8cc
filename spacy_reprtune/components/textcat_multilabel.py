"""`reprtune_textcat_multilabel`: any number of labels for each text."""

from typing import Callable, List, Optional

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .cats import ClassWeights
from .label_kinds import Independent
from .spacy_calls import resolve_optimizer_variables
from .text_classifier import TextClassifier
from .textcat import DEFAULT_CONFIG, SCORE_WEIGHTS


@Language.factory(
    "reprtune_textcat_multilabel",
    assigns=["doc.cats"],
    default_config={
        **DEFAULT_CONFIG,
        "threshold": 0.5,
        "scorer": {"@scorers": "spacy.textcat_multilabel_scorer.v2"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model[List[Doc], Floats2d],
    class_weights: ClassWeights,
    label_smoothing: float,
    head_init: str,
    soft_labels: bool,
    temperature: Optional[float],
    threshold: float,
    scorer: Optional[Callable],
) -> "TextClassifier":
    """Create a text classifier whose labels are independent of each other.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], Floats2d]): Docs to logits, a `spacy_reprtune.TextClassifier.v1`.
    class_weights (Optional[Union[str, Dict[str, float]]]): Weight of each label's positive
        examples: "balanced" by the inverse of its frequency, a table, or null.
    label_smoothing (float): How far targets move from 0 and 1 towards a half.
    head_init (str): "random", or "probe" for one logistic regression per label on the untouched
        encoder's vectors, with its regularization chosen on held-out folds of the training data.
    soft_labels (bool): Whether the training data may hold probabilities, such as another model's
        predictions, which the component learns to reproduce. Otherwise, values other than 0 and 1
        are an error.
    temperature (Optional[float]): Number that logits are divided by before the sigmoid; null fits
        it on dev during training.
    threshold (float): Lowest score at which the scorer counts a label as predicted.
    scorer (Optional[Callable]): The scoring method.
    """
    resolve_optimizer_variables(nlp)
    return TextClassifier(
        nlp.vocab,
        model,
        name,
        kind=Independent(),
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        head_init=head_init,
        soft_labels=soft_labels,
        temperature=temperature,
        threshold=threshold,
        scorer=scorer,
    )
