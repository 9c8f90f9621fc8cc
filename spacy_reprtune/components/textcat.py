"""`reprtune_textcat`: exactly one label for each text."""

from typing import Callable, List, Optional

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .cats import ClassWeights
from .default_encoder import DEFAULT_ENCODER
from .spacy_calls import resolve_optimizer_variables
from .text_classifier import TextClassifier

DEFAULT_MODEL = """
[model]
@architectures = "spacy_reprtune.TextClassifier.v1"
pooling = "mean"
hidden_width = null
dropout = null
head_lr = 1.0
"""

DEFAULT_CONFIG = {
    "model": {**Config().from_str(DEFAULT_MODEL)["model"], "encoder": DEFAULT_ENCODER},
    "class_weights": None,
    "label_smoothing": 0.0,
    "head_init": "random",
    "soft_labels": False,
    "temperature": None,
}

SCORE_WEIGHTS = {
    "cats_score": 1.0,
    "cats_score_desc": None,
    "cats_micro_p": None,
    "cats_micro_r": None,
    "cats_micro_f": None,
    "cats_macro_p": None,
    "cats_macro_r": None,
    "cats_macro_f": None,
    "cats_macro_auc": None,
    "cats_f_per_type": None,
    "cats_ece": None,
}


@Language.factory(
    "reprtune_textcat",
    assigns=["doc.cats"],
    default_config={
        **DEFAULT_CONFIG,
        "threshold": 0.0,
        "scorer": {"@scorers": "spacy.textcat_scorer.v2"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_textcat(
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
    """Create a text classifier with exclusive labels.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], Floats2d]): Docs to logits, a `spacy_reprtune.TextClassifier.v1`.
    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced" to weight each label by the
        inverse of its frequency, a table of weights (1.0 for labels that it does not name), or
        null.
    label_smoothing (float): Share of each target that is spread over all labels.
    head_init (str): "random", or "probe" for a logistic regression on the untouched encoder's
        vectors, with its regularization chosen on held-out folds of the training data.
    soft_labels (bool): Whether the training data may hold probabilities, such as another model's
        predictions, which the component learns to reproduce. Otherwise, values other than 0 and 1
        are an error.
    temperature (Optional[float]): Softmax temperature; null fits it on dev during training.
    threshold (float): Not used: the label with the highest score is the prediction.
    scorer (Optional[Callable]): The scoring method.
    """
    resolve_optimizer_variables(nlp)
    return TextClassifier(
        nlp.vocab,
        model,
        name,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        head_init=head_init,
        soft_labels=soft_labels,
        temperature=temperature,
        threshold=threshold,
        scorer=scorer,
    )
