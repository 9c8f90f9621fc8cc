"""`reprtune_setfit`: few texts a label, as SetFit (Tunstall et al. 2022), under `spacy train`."""

from typing import Any, Callable, Iterable, List, Optional

from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.pipeline.textcat_multilabel import textcat_multilabel_score
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Config, Model
from thinc.types import Floats2d

from .cats import ClassWeights
from .default_encoder import DEFAULT_ENCODER
from .few_shot import FewShotTextClassifier
from .few_shot_checks import check_training
from .textcat import SCORE_WEIGHTS
from .textcat_multilabel import MultiLabelTextClassifier

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
    "contrastive": "cosine",
    "supcon_temperature": 0.1,
    "cross_entropy": 0.0,
    "class_weights": None,
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
    contrastive: str,
    supcon_temperature: float,
    cross_entropy: float,
    class_weights: ClassWeights,
    threshold: Optional[float],
    trainer: Optional[Any],
    scorer: Optional[Callable],
) -> "FewShotTextClassifier":
    """Create a text classifier for few texts a label.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], Floats2d]): A `spacy_reprtune.SentenceClassifier.v1`.
    exclusive (bool): Whether each text has exactly one label, or any number of them. Texts are
        alike if they have the label, or one of their labels, in common.
    contrastive (str): "cosine" for the loss that SetFit trains with, over all pairs of a batch;
        "supcon" for the supervised contrastive loss.
    supcon_temperature (float): What "supcon" divides cosines by.
    cross_entropy (float): Share of the loss that is the classifier's own, from 0 to below 1. The
        head that predicts is a solved one all the same.
    class_weights (Optional[Union[str, Dict[str, float]]]): "balanced" to weight each label by the
        inverse of its frequency when the head is solved, a table of weights, or null.
    threshold (Optional[float]): The score from which on the scorer counts a label as predicted;
        null for 0.5 with independent labels, and for the highest score with exclusive ones.
    trainer (Optional[SetFitTrainer]): `spacy_reprtune.SetFitTrainer.v1` to have the `setfit`
        library train instead, when the pipeline is initialized; null for this component's own
        training.
    scorer (Optional[Callable]): The scoring method; null for spaCy's of text classification.
    """
    if scorer is None:
        scorer = textcat_score if exclusive else textcat_multilabel_score
    if threshold is None:
        threshold = 0.0 if exclusive else 0.5
    kind = SetFit if exclusive else MultiLabelSetFit
    return kind(
        nlp.vocab,
        model,
        name,
        contrastive=contrastive,
        supcon_temperature=supcon_temperature,
        cross_entropy=cross_entropy,
        class_weights=class_weights,
        threshold=threshold,
        trainer=trainer,
        scorer=scorer,
    )


class SetFit(FewShotTextClassifier):
    """Pipeline component that learns from few texts and gives each exactly one label."""

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
        positive_label: Optional[str] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, and solve the head on it.

        get_examples (Callable[[], Iterable[Example]]): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        positive_label (Optional[str]): With two labels, the one whose F-score is `cats_score`.
        RAISES (ValueError): As `TextClassifier.initialize`; also a label without an example, a
            text with different labels, or training settings that split or stream batches.
        """
        check_training(nlp, self.name)
        super().initialize(get_examples, nlp=nlp, labels=labels, positive_label=positive_label)


class MultiLabelSetFit(FewShotTextClassifier, MultiLabelTextClassifier):
    """Pipeline component that learns from few texts and gives each any number of labels."""

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, and solve the head on it.

        get_examples (Callable[[], Iterable[Example]]): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        RAISES (ValueError): As `MultiLabelTextClassifier.initialize`; also a label without an
            example, a text with different labels, or settings that split or stream batches.
        """
        check_training(nlp, self.name)
        super().initialize(get_examples, nlp=nlp, labels=labels)
