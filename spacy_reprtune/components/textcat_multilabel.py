"""`reprtune_textcat_multilabel`: any number of labels for each text."""

from typing import Callable, Iterable, List, Optional

from spacy.language import Language
from spacy.pipeline.textcat_multilabel import textcat_multilabel_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from .cats import ClassWeights
from .label_kinds import Independent
from .textcat import DEFAULT_CONFIG, SCORE_WEIGHTS, TextClassifier


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
    threshold: float,
    scorer: Optional[Callable],
) -> "MultiLabelTextClassifier":
    """Create a text classifier whose labels are independent of each other.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], Floats2d]): Docs to logits, a `spacy_reprtune.TextClassifier.v1`.
    class_weights (Optional[Union[str, Dict[str, float]]]): Weight of each label's positive
        examples: "balanced" by the inverse of its frequency, a table, or null.
    label_smoothing (float): How far targets move from 0 and 1 towards a half.
    head_init (str): "random", or "probe" for one logistic regression a label on the untouched
        encoder's vectors, with a regularisation chosen on held-out folds of the training data.
    threshold (float): The score from which on the scorer counts a label as predicted.
    scorer (Optional[Callable]): The scoring method.
    """
    return MultiLabelTextClassifier(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        head_init=head_init,
        scorer=scorer,
    )


class MultiLabelTextClassifier(TextClassifier):
    """Pipeline component that gives each text any number of its labels.

    `doc.cats` holds a probability for every label, each by itself. A label that a gold doc does
    not mention is missing: it is neither learned from nor scored.
    """

    exclusive = False
    kind = Independent()

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "textcat_multilabel",
        *,
        threshold: float = 0.5,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
        head_init: str = "random",
        scorer: Optional[Callable] = textcat_multilabel_score,
    ) -> None:
        """Create the component; see `TextClassifier`."""
        super().__init__(
            vocab,
            model,
            name,
            threshold=threshold,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
            head_init=head_init,
            scorer=scorer,
        )
        # The scorer of exclusive labels alone knows this one.
        del self.cfg["positive_label"]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, make a new head.

        get_examples (Callable[[], Iterable[Example]]): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        RAISES (ValueError): No labels, or annotations that are not 0 or 1.
        """
        self._initialize(get_examples, labels)
        self._initialize_model(get_examples, nlp)
