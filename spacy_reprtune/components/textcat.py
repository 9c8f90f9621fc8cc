"""`reprtune_textcat`: exactly one label for each text."""

import logging
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.types import Floats2d

from .calibrated_pipe import LossOfTemperature
from .cats import (
    ClassWeights,
    check_cats,
    check_weights,
    label_weights,
    positive_labels,
    read_cats,
)
from .default_encoder import DEFAULT_ENCODER
from .encoder_pipe import settle_optimizer
from .label_kinds import Exclusive
from .labelled_pipe import LabelledPipe

logger = logging.getLogger("spacy")

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
    head_init (str): "random", or "probe" for the logistic regression on the untouched encoder's
        vectors, with its regularisation chosen on held-out folds of the training data.
    threshold (float): Not used: the label with the highest score is the prediction.
    scorer (Optional[Callable]): The scoring method.
    """
    return TextClassifier(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        head_init=head_init,
        scorer=scorer,
    )


class TextClassifier(LabelledPipe):
    """Pipeline component that gives each text exactly one of its labels.

    `doc.cats` holds the probability of every label; together they are 1. The model gives logits,
    `predict` turns them into probabilities, and `get_loss` starts from the logits.
    """

    exclusive = True
    kind = Exclusive()

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "textcat",
        *,
        threshold: float = 0.0,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
        head_init: str = "random",
        scorer: Optional[Callable] = textcat_score,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model): Docs to logits.
        name (str): Name of the component, and of its loss.
        threshold (float): Kept in `cfg`, where spaCy's tools look for it.
        class_weights (Optional[Union[str, Dict[str, float]]]): See `make_textcat`.
        label_smoothing (float): See `make_textcat`.
        head_init (str): See `make_textcat`.
        scorer (Optional[Callable]): The scoring method.
        RAISES (ValueError): A setting is out of range.
        """
        check_weights(class_weights)
        _check_settings(label_smoothing, head_init, threshold)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.head_init = head_init
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "threshold": threshold,
            "positive_label": None,
            # Weight of each label, once "balanced" has been counted out.
            "label_weights": None,
            # What logits are divided by, fitted to dev at the end of training.
            "temperature": 1.0,
        }
        self.scorer = scorer

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Score docs without changing them.

        docs (Iterable[Doc]): The docs. Empty ones are scored as well: what the model gives for
            a text without any piece.
        RETURNS (Floats2d): Probabilities, one row a doc, one column a label.
        """
        docs = list(docs)
        if not docs:
            return self.model.ops.alloc2f(0, len(self.labels))
        scores = self.model.predict(docs)
        logits = _numpy(getattr(scores, "logits", scores))
        self.keep_logits(docs, logits)
        return self.kind.probabilities(logits / self.temperature)

    def set_annotations(self, docs: Iterable[Doc], scores: Floats2d) -> None:
        """Write scores to `doc.cats`.

        docs (Iterable[Doc]): The docs.
        scores (Floats2d): What `predict` returned for them.
        """
        labels = self.labels
        for doc, row in zip(docs, scores.tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> Tuple[float, Floats2d]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples. Those without annotation count for nothing.
        scores (Floats2d): The model's logits for them, not probabilities.
        RETURNS (Tuple[float, Floats2d]): Mean cross-entropy over the annotated examples, and its
            gradient, one row an example.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        self._check_cats(examples)
        logits = _numpy(scores)
        gold, known = self._gold(examples)
        loss, gradient = self._loss(logits, gold, known)
        return loss, self.model.ops.asarray2f(gradient)

    def annotated(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with a gold value for some label of ours."""
        self._check_cats(examples)
        _, known = self._gold(examples)
        return [eg for eg, row in zip(examples, known, strict=True) if row.any()]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
        positive_label: Optional[str] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, make a new head.

        get_examples (Callable[[], Iterable[Example]]): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        positive_label (Optional[str]): With two labels, the one whose F-score is `cats_score`.
        RAISES (ValueError): Fewer than two labels, an unknown positive label, or annotations that
            are not 0 or 1 or not exclusive.
        """
        self._initialize(get_examples, labels)
        if len(self.labels) < 2:
            raise ValueError(
                f"'{self.name}' has {_named(self.labels)}, and exclusive labels need two at "
                "least: with one, each text would get it. Annotate the other class as well, or "
                "use reprtune_textcat_multilabel for a single yes-or-no label."
            )
        if positive_label is not None:
            if positive_label not in self.labels:
                raise ValueError(
                    f"positive_label = {positive_label!r} is none of the labels of '{self.name}' "
                    f"({', '.join(self.labels)})."
                )
            if len(self.labels) != 2:
                raise ValueError(
                    f"positive_label is for two labels; '{self.name}' has {len(self.labels)}."
                )
        self.cfg["positive_label"] = positive_label
        self._initialize_model(get_examples, nlp)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predictions; warns of gold labels that the component can't predict.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores, with spaCy's keys, and `cats_ece`, the expected
            calibration error of the probabilities.
        """
        examples = list(examples)
        self.warn_of_other_labels(positive_labels(examples), "It can't get these texts right.")
        # spaCy's scorer would count an answer for a text without annotation as a false one.
        scores = super().score([eg for eg in examples if self._has_answer(eg)], **kwargs)
        scores["cats_ece"] = self._calibration_error(examples)
        self.keep_evaluation(examples)
        return scores

    def temperature_loss(
        self, examples: List[Example], logits: List[numpy.ndarray]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature to the gold values.

        examples (List[Example]): Evaluated examples.
        logits (List[ndarray]): Of each.
        RETURNS (Optional[Callable[[float], float]]): The cross-entropy at a temperature, or None
            where nothing is annotated.
        """
        gold, known = self._gold(examples)
        if not known.any():
            return None
        rows = numpy.stack(logits)
        # As if one value more of each kind were there, so that a few texts that are all right do
        # not ask for certainty.
        smoothing = 2.0 / (known.any(1).sum() + 2.0)
        return lambda temperature: self.kind.loss(
            rows / temperature, gold, known, smoothing=smoothing
        )[0]

    def _calibration_error(self, examples: List[Example]) -> Optional[float]:
        from ..heads.calibration import calibration_error

        gold, known = self._gold(examples)
        cells = [[eg.predicted.cats.get(label, 0.0) for label in self.labels] for eg in examples]
        if not known.any():
            return None
        return calibration_error(*self.kind.promises(numpy.array(cells), gold, known))

    def _initialize(
        self, get_examples: Callable[[], Iterable[Example]], labels: Optional[Iterable[str]]
    ) -> None:
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        self.forget_calibration()
        found, texts = set(), 0
        for example in get_examples():
            self._check_cats([example])
            found.update(example.reference.cats)
            texts += bool(example.reference.text.strip())
        if not texts:
            raise ValueError(
                f"'{self.name}' can't be trained: none of the training docs has any text."
            )
        for label in sorted(found) if labels is None else labels:
            self.take_label(label)
        if not self.labels:
            raise ValueError(
                f"'{self.name}' has no labels: none of the training docs has doc.cats, and none "
                f"were given. Set doc.cats = {{'label': 1.0, …}} in the training data, or give "
                f"labels in [initialize.components.{self.name}]."
            )
        self.cfg["label_weights"] = label_weights(
            self.class_weights, get_examples(), self.labels, self.name, exclusive=self.exclusive
        )

    def _initialize_model(
        self, get_examples: Callable[[], Iterable[Example]], nlp: Optional[Language]
    ) -> None:
        settle_optimizer(nlp)
        sample = numpy.zeros((1, len(self.labels)), dtype="f")
        self.model.initialize(X=[next(iter(get_examples())).reference], Y=sample)
        texts = [eg.reference.text for eg in get_examples()]
        self.announce(texts)
        if self.head_init == "probe":
            self._start_from_probe(list(get_examples()), nlp)

    def _start_from_probe(self, examples: List[Example], nlp: Optional[Language]) -> None:
        gold, known = self._gold(examples)
        rows = numpy.flatnonzero(known.any(1))
        if self.exclusive and len(set(gold[rows].argmax(1))) < 2:
            # The first texts of a stream, say.
            logger.warning(
                "'%s' can't start from a linear probe, because all the texts that it sees before "
                "training have the same label: its head starts at random.",
                self.name,
            )
            return
        module = self._shim.module
        vectors = self.head_inputs([examples[row].reference for row in rows], nlp)
        probe = self.kind.fit_probe(vectors, gold[rows], known[rows], weights=self._weights())
        module.set_output(probe.weight, probe.bias)
        self._shim.module.encoder.weights_changed()
        logger.info(
            "'%s' starts from a linear probe: %.3f of the held-out gold values right with C = %g.",
            self.name,
            probe.score,
            probe.strength,
        )

    def _has_answer(self, example: Example) -> bool:
        # Without any label that is right, nothing is known of exclusive ones.
        return bool(positive_labels([example]) if self.exclusive else example.reference.cats)

    def _gold(self, examples: Sequence[Example]) -> Tuple[numpy.ndarray, numpy.ndarray]:
        return read_cats(examples, self.labels, exclusive=self.exclusive)

    def _loss(
        self, logits: numpy.ndarray, gold: numpy.ndarray, known: numpy.ndarray
    ) -> Tuple[float, numpy.ndarray]:
        return self.kind.loss(
            logits, gold, known, weights=self._weights(), smoothing=self.label_smoothing
        )

    def _weights(self) -> Optional[numpy.ndarray]:
        weights = self.cfg["label_weights"]
        return None if weights is None else numpy.asarray(weights, dtype="f")

    def _check_cats(self, examples: Iterable[Example]) -> None:
        check_cats(examples, self.name, exclusive=self.exclusive)


def _check_settings(smoothing: float, head_init: str, threshold: float) -> None:
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"label_smoothing = {smoothing}. Use a value from 0 up to, not with, 1.")
    if head_init not in ("random", "probe"):
        raise ValueError(f"head_init = {head_init!r}. Use 'random' or 'probe'.")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold = {threshold}. Use a value from 0 to 1.")


def _named(labels: Sequence[str]) -> str:
    return f"only the label '{labels[0]}'" if labels else "no labels"


def _numpy(array: Floats2d) -> numpy.ndarray:
    return array.get() if hasattr(array, "get") else array
