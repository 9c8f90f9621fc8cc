"""The pipe that writes `doc.cats`, for exclusive and independent labels, many texts and few."""

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from thinc.util import to_numpy

from .calibration import Calibration, LossOfTemperature
from .cats import (
    ClassWeights,
    check_cats,
    check_weights,
    hard_labels,
    label_weights,
    positive_labels,
    read_cats,
)
from .encoder_pipe import EncoderPipe
from .encoding import head_inputs
from .few_shot import FewShotTrainer
from .label_kinds import Exclusive, LabelKind
from .notices import warn_of_unknown_labels
from .probe_start import can_fit, check_head_init, sample_texts, start_from
from .spacy_calls import is_training_evaluation, read_examples

# The extension of docs with the labels that reach their thresholds, None without thresholds.
SURE_LABELS = "reprtune_labels"


class TextClassifier(EncoderPipe):
    """Pipeline component that gives each text one of its labels, or any number of them.

    `doc.cats` holds the probability of every label. The model computes logits, `predict` turns them
    into probabilities, and `get_loss` starts from the logits. A gold value that `doc.cats` does
    not mention is missing: it is neither learned from nor scored.
    """

    attribute = "doc.cats"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "textcat",
        *,
        kind: Optional[LabelKind] = None,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
        head_init: str = "random",
        soft_labels: bool = False,
        temperature: Optional[float] = None,
        threshold: float = 0.0,
        few_shot: Optional[FewShotTrainer] = None,
        scorer: Optional[Callable] = textcat_score,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model): Docs to logits.
        name (str): Name of the component, used as the key of its loss.
        kind (Optional[LabelKind]): The kind of labels; `Exclusive()` if left out.
        class_weights (Optional[Union[str, Dict[str, float]]]): See `make_textcat`, as for the next
            four settings.
        threshold (float): Lowest score at which the scorer counts a label as predicted.
        few_shot (Optional[FewShotTrainer]): Trains the encoder on pairs of few texts and fits the
            head to them; None to train both by gradient.
        scorer (Optional[Callable]): The scoring method.
        RAISES (ValueError): A setting is out of range.
        """
        check_weights(class_weights)
        _check_settings(label_smoothing, head_init, threshold)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.kind = kind or Exclusive()
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.head_init = head_init
        self.soft_labels = soft_labels
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "threshold": threshold,
            # Weight of each label, with "balanced" worked out.
            "label_weights": None,
        }
        if self.kind.exclusive:
            # Only the scorer of exclusive labels has this argument.
            self.cfg["positive_label"] = None
        self.calibration = Calibration(self.cfg, temperature)
        self.few_shot = few_shot
        self.scorer = scorer
        if few_shot is not None:
            few_shot.check(self)
        if not Doc.has_extension(SURE_LABELS):
            Doc.set_extension(SURE_LABELS, default=None)

    @property
    def exclusive(self) -> bool:
        """RETURNS (bool): Whether each text gets exactly one label."""
        return self.kind.exclusive

    @property
    def weights(self) -> Optional[NDArray]:
        """RETURNS (Optional[ndarray]): The weight of each label in the loss, or None for 1."""
        weights = self.cfg["label_weights"]
        return None if weights is None else numpy.asarray(weights, dtype="f")

    def grown_head(self, label: str) -> Tuple[NDArray, NDArray]:
        """See `EncoderPipe`.

        RAISES (ValueError): The head is fitted to a few texts per label.
        """
        if self.few_shot is not None:
            raise ValueError(
                f"'{self.name}' fits its head to the texts of all labels, so {label!r} can't be "
                "added to it: initialize it again with texts of this label as well."
            )
        if self.cfg["label_weights"] is not None:
            given = self.class_weights if isinstance(self.class_weights, dict) else {}
            self.cfg["label_weights"].append(float(given.get(label, 1.0)))
        return super().grown_head(label)

    def predict(self, docs: Iterable[Doc]) -> NDArray:
        """Score docs without changing them.

        docs (Iterable[Doc]): The docs. Empty docs are scored as texts without any piece.
        RETURNS (ndarray): Probabilities, one row per doc, one column per label.
        """
        docs = list(docs)
        if not docs:
            return numpy.zeros((0, len(self.labels)), dtype="f")
        return self.kind.probabilities(self.logits(docs) / self.temperature)

    def logits(self, docs: List[Doc]) -> NDArray:
        """RETURNS (ndarray): The logits of docs, at least one, shape (n_docs, n_labels)."""
        if self.few_shot is not None:
            self.few_shot.refit(self)
        scores = self.model.predict(docs)
        logits = to_numpy(getattr(scores, "logits", scores))
        self.calibration.note(docs, logits)
        return logits

    def set_annotations(self, docs: Iterable[Doc], scores: NDArray) -> None:
        """Write scores to `doc.cats`, and with thresholds also the labels that reach their
        thresholds to `doc._.reprtune_labels`.

        docs (Iterable[Doc]): The docs.
        scores (ndarray): The probabilities that `predict` returned for them.
        """
        docs, labels = list(docs), self.labels
        for doc, row in zip(docs, scores.tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))
        limits = self.calibration.limits(labels)
        if limits is None or not docs:
            return
        given = scores >= limits
        if self.exclusive:
            given &= self.kind.decisions(scores) > 0
        for doc, row in zip(docs, given, strict=True):
            others = [label for label in doc._.get(SURE_LABELS) or () if label not in labels]
            own = [label for label, sure in zip(labels, row, strict=True) if sure]
            doc._.set(SURE_LABELS, others + own)

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Tuple[float, Any]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples. Those without annotation do not count.
        scores (Union[Floats2d, PooledScores]): The output of the model: logits, not probabilities;
            with vectors if the component trains on few texts.
        RETURNS (Tuple[float, Union[Floats2d, PooledScores]]): Mean cross-entropy over the annotated
            examples, mixed with the contrastive loss for few texts, and its gradient in the form
            of `scores`.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        check_cats(examples, self.labels, self.kind, self.name, soft=self.soft_labels)
        if self.few_shot is not None:
            return self.few_shot.get_loss(self, examples, scores)
        loss, gradient = self.cross_entropy(examples, to_numpy(scores))
        return loss, self.model.ops.asarray2f(gradient)

    def cross_entropy(self, examples: Sequence[Example], logits: NDArray) -> Tuple[float, NDArray]:
        """RETURNS (Tuple[float, ndarray]): The cross-entropy with the weights and the smoothing of
        the settings, and its gradient in the shape of the logits."""
        gold, known = self.read_gold(examples)
        return self.kind.loss(
            logits, gold, known, weights=self.weights, smoothing=self.label_smoothing
        )

    def training_batch(self, examples: List[Example]) -> List[Example]:
        """Choose the examples that `update` learns from.

        examples (List[Example]): The batch.
        RETURNS (List[Example]): The examples with a gold value for some label of this component;
            for few texts see `FewShotTrainer.batch`.
        RAISES (ValueError): Gold values that don't fit the kind of labels.
        """
        annotated = self.annotated(examples)
        return annotated if self.few_shot is None else self.few_shot.batch(self, annotated)

    def annotated(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with a gold value for a label of this component.

        RAISES (ValueError): Gold values that don't fit the kind of labels.
        """
        check_cats(examples, self.labels, self.kind, self.name, soft=self.soft_labels)
        _, known = self.read_gold(examples)
        return [eg for eg, row in zip(examples, known, strict=True) if row.any()]

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients.

        sgd (Optimizer): The optimizer.
        """
        if self.few_shot is not None:
            self.few_shot.before_step(self, sgd.learn_rate)
        super().finish_update(sgd)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
        positive_label: Optional[str] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, make a new head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        positive_label (Optional[str]): With two exclusive labels, the one whose F-score is
            `cats_score`.
        RAISES (ValueError): Too few labels, a positive label that is not one of two, or gold
            values that are not 0 or 1 or don't fit the kind of labels. For few texts also a label
            without an example, a text with different labels, or training settings that split or
            stream batches.
        """
        examples = read_examples(get_examples, f"{type(self).__name__}.initialize")
        self.check_trains()
        self.calibration.reset()
        self.warned_of = frozenset()
        self._find_labels(examples, labels)
        self.kind.check_labels(self.labels, positive_label, self.name)
        if self.kind.exclusive:
            self.cfg["positive_label"] = positive_label
        if self.few_shot is not None:
            self.few_shot.begin(self, examples, nlp)
        sample = numpy.zeros((1, len(self.labels)), dtype="f")
        self.model.initialize(X=[examples[0].reference], Y=sample)
        if self.few_shot is not None:
            self.few_shot.prepare_head(self)
        self.announce(eg.reference.text for eg in examples)
        if self.few_shot is not None:
            self.few_shot.fit_first_head(self)
        elif self.head_init == "probe":
            self._start_from_probe(examples, nlp)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predictions. Warns of gold labels that the component can't predict; fits the
        temperature if `spacy train` asks.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores, with spaCy's keys, and `cats_ece`, the expected
            calibration error of the probabilities as they were predicted.
        """
        from ..heads.calibration import calibration_error

        given = list(examples)
        examples = (
            [hard_labels(eg, self.labels, self.kind) for eg in given] if self.soft_labels else given
        )
        warn_of_unknown_labels(self, examples, training=False)
        # spaCy's scorer would count a prediction for a text without annotation as wrong.
        answered = [eg for eg in examples if self.is_answered(eg.reference.cats)]
        scores = super().score(answered, **kwargs)
        gold, known = self.read_gold(examples)
        cells = [[eg.predicted.cats.get(label, 0.0) for label in self.labels] for eg in examples]
        scores["cats_ece"] = None
        if not numpy.isfinite(cells).all():
            raise ValueError(
                f"The probabilities of '{self.name}' are not numbers any more: the last updates "
                "have destroyed its weights. Lower [training.optimizer] learn_rate, and start "
                "again from the last saved pipeline."
            )
        if known.any():
            confidences = self.kind.confidences(numpy.array(cells), gold, known)
            scores["cats_ece"] = calibration_error(*confidences)
        self.calibrate_to_noted(given)
        if self.few_shot is not None and is_training_evaluation():
            self.few_shot.probe.compare(self.name, scores.get("cats_score"))
        return scores

    def calibration_loss(
        self, examples: List[Example], logits: List[NDArray]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature to the gold values.

        examples (List[Example]): Predicted examples.
        logits (List[ndarray]): The logits of each.
        RETURNS (Optional[Callable[[float], float]]): The cross-entropy at a temperature, or None
            if nothing is annotated.
        """
        return self.kind.loss_of_temperature(numpy.stack(logits), *self.read_gold(examples))

    def gold_labels(self, examples: Iterable[Example]) -> Set[str]:
        """RETURNS (Set[str]): The labels that are right for any of the examples."""
        return positive_labels(examples)

    def is_answered(self, cats: Mapping[str, float]) -> bool:
        """RETURNS (bool): Whether gold values say something about this classifier's labels, and not
        only about those of another one."""
        return self.kind.is_answered(cats) and not cats.keys().isdisjoint(self.labels)

    def read_gold(self, examples: Sequence[Example]) -> Tuple[NDArray, NDArray]:
        """RETURNS (Tuple[ndarray, ndarray]): Gold values and which of them are known: see
        `read_cats`."""
        return read_cats(examples, self.labels, self.kind)

    def before_save(self) -> None:
        """Fit the few-shot head if the encoder has moved, as predictions do."""
        if self.few_shot is not None:
            self.few_shot.refit(self)

    def after_load(self) -> None:
        """Forget the few texts of another training, and check the loaded component.

        RAISES (ValueError): The loaded component does not fit the config.
        """
        super().after_load()
        if self.few_shot is not None:
            self.few_shot.forget()

    def _find_labels(self, examples: List[Example], labels: Optional[Iterable[str]]) -> None:
        given = None if labels is None else list(labels)
        own = [] if given is None else [*self.labels, *given]
        check_cats(examples, own, self.kind, self.name, soft=self.soft_labels)
        found = {label for example in examples for label in example.reference.cats}
        if not any(example.reference.text.strip() for example in examples):
            raise ValueError(
                f"'{self.name}' can't be trained: none of the training docs has any text."
            )
        for label in sorted(found) if given is None else given:
            self.take_label(label)
        if not self.labels:
            raise ValueError(
                f"'{self.name}' has no labels: none of the training docs has doc.cats, and none "
                f"were given. Set doc.cats = {{'label': 1.0, …}} in the training data, or give "
                f"labels in [initialize.components.{self.name}]."
            )
        self.cfg["label_weights"] = label_weights(
            self.class_weights, examples, self.labels, self.kind, self.name
        )

    def _start_from_probe(self, examples: List[Example], nlp: Optional[Language]) -> None:
        gold, known = self.read_gold(examples)
        rows = numpy.flatnonzero(known.any(1))
        if not self.encoder.caches:
            # With frozen blocks, training needs their output for all texts, which stays in a cache.
            rows = rows[sample_texts(gold[rows])]
        probe = None
        if can_fit(self.kind, gold[rows]):
            vectors = head_inputs(self, [examples[row].reference for row in rows], nlp)
            probe = self.kind.fit_head(vectors, gold[rows], known[rows], weights=self.weights)
        lacking = "all the texts that it sees before training have the same label"
        start_from(self, probe, what="gold values", lacking=lacking)


def _check_settings(smoothing: float, head_init: str, threshold: float) -> None:
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"label_smoothing = {smoothing}. Use at least 0 and less than 1.")
    check_head_init(head_init)
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold = {threshold}. Use a value from 0 to 1.")
