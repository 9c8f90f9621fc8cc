"""`reprtune_setfit`: few texts per label, as in SetFit (Tunstall et al. 2022)."""

from typing import Any, Callable, List, Optional

from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.pipeline.textcat_multilabel import textcat_multilabel_score
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .cats import ClassWeights
from .default_encoder import DEFAULT_ENCODER
from .few_shot import FewShotTrainer
from .label_kinds import Exclusive, Independent
from .spacy_calls import resolve_optimizer_variables
from .text_classifier import TextClassifier
from .textcat import SCORE_WEIGHTS

DEFAULT_MODEL = """
[model]
@architectures = "spacy_reprtune.SentenceClassifier.v1"
pooling = "mean"
normalize = true
"""

DEFAULT_CONFIG = {
    "model": {
        **Config().from_str(DEFAULT_MODEL)["model"],
        "encoder": DEFAULT_ENCODER,
    },
    "exclusive": True,
    "contrastive": None,
    "supcon_temperature": 0.1,
    "cross_entropy": 0.0,
    "class_weights": None,
    "temperature": None,
    "threshold": None,
    "trainer": None,
    "scorer": None,
}


@Language.factory(
    "reprtune_setfit",
    assigns=["doc.cats"],
    default_config=DEFAULT_CONFIG,
    default_score_weights=SCORE_WEIGHTS,
)
def make_setfit(
    nlp: Language,
    name: str,
    model: Model[List[Doc], Floats2d],
    exclusive: bool,
    contrastive: Optional[str],
    supcon_temperature: float,
    cross_entropy: float,
    class_weights: ClassWeights,
    temperature: Optional[float],
    threshold: Optional[float],
    trainer: Optional[Any],
    scorer: Optional[Callable],
) -> "TextClassifier":
    """Create a text classifier for few texts per label.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], Floats2d]): A `spacy_reprtune.SentenceClassifier.v1`.
    exclusive (bool): Whether each text has exactly one label, or any number of them. Two texts
        form a positive pair if they have a label in common.
    contrastive (Optional[str]): "supcon" for the supervised contrastive loss over all pairs of a
        batch, or "cosine" for SetFit's own loss, which is also used for batches without positive or
        without negative pairs; null for "supcon" with exclusive labels, and for "cosine" with
        independent ones.
    supcon_temperature (float): Number that "supcon" divides cosines by.
    cross_entropy (float): Share of the classifier's cross-entropy in the loss, from 0 to below 1.
        For predictions, the head is fitted to the support set in any case.
    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced" to weight each label by the
        inverse of its frequency when the head is fitted, a table of weights, or null.
    temperature (Optional[float]): Softmax temperature; null fits it on dev during training.
    threshold (Optional[float]): Lowest score at which the scorer counts a label as predicted; null
        for 0.5 with independent labels, and for the highest score with exclusive ones.
    trainer (Optional[SetFitTrainer]): `spacy_reprtune.SetFitTrainer.v1` to have the `setfit`
        library train instead, when the pipeline is initialized; null for this component's own
        training.
    scorer (Optional[Callable]): The scoring method; null for spaCy's scorer of text classification.
    """
    resolve_optimizer_variables(nlp)
    if scorer is None:
        scorer = textcat_score if exclusive else textcat_multilabel_score
    if contrastive is None:
        # The library's trainer has its own loss.
        contrastive = "supcon" if exclusive and trainer is None else "cosine"
    if threshold is None:
        threshold = 0.0 if exclusive else 0.5
    few_shot = FewShotTrainer(
        contrastive=contrastive,
        supcon_temperature=supcon_temperature,
        cross_entropy=cross_entropy,
        trainer=trainer,
    )
    return TextClassifier(
        nlp.vocab,
        model,
        name,
        kind=Exclusive() if exclusive else Independent(),
        class_weights=class_weights,
        temperature=temperature,
        threshold=threshold,
        few_shot=few_shot,
        scorer=scorer,
    )
