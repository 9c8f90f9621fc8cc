"""The pipe that writes `doc.ents`, with a probability for each entity."""

import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.ner import ner_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.util import to_numpy

from ..bridge.token_classifier import TagScores
from ..heads.tag_layers import TagLayers
from ..heads.tags import TagScheme
from .calibration import Calibration, LossOfTemperature
from .encoder_pipe import NEW_LABEL, EncoderPipe
from .encoding import run_upstream
from .entities import gold_entities, is_space, read_gold, register_scores, write_entities
from .entity_calibration import calibration_error_of, loss_of_temperature, score_overlapping
from .entity_loss import entity_loss
from .entity_survey import nothing_to_learn, problems, survey
from .notices import warn_of_unknown_labels
from .probe_start import check_head_init, fit_tags, start_from
from .soft_tags import write_tag_posteriors
from .spacy_calls import read_examples
from .tag_rows import DocEntities, decode


class EntityRecognizer(EncoderPipe):
    """Pipeline component that finds named entities, each with its probability.

    With `overlapping`, entities of different labels may overlap or be nested: each label has its
    own sequence of tags. `doc.spans[spans_key]` then has all entities, and `doc.ents` those that do
    not overlap and have the greatest sum of probabilities.

    The model computes logits of tags for each token. The best legal sequence of tags becomes
    `doc.ents`. The probability of an entity is the share of all sequences that have exactly this
    entity. It is in `doc.spans[spans_key].attrs["scores"]` and in `span._.reprtune_score`, and in
    `span._.score` unless another package has that extension.

    White space and tokens without a piece are left out of the sequence, so an entity may span
    them, but never begins or ends with them. No entity crosses a sentence boundary that is set.
    """

    attribute = "doc.ents"
    # The entities of a missing label would be learned as tokens outside of entities.
    needs_all_labels = True

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "ner",
        *,
        scheme: str = "bilou",
        shared_positions: bool = True,
        head_init: str = "random",
        soft_labels: bool = False,
        overlapping: bool = False,
        min_score: float = 0.0,
        temperature: Optional[float] = None,
        spans_key: Optional[str] = "ner",
        overwrite: bool = False,
        incorrect_spans_key: Optional[str] = None,
        scorer: Optional[Callable] = ner_score,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model): Docs to logits.
        name (str): Name of the component, used as the key of its loss.
        scheme (str): See `make_ner`, as for the other settings.
        RAISES (ValueError): A setting is out of range.
        """
        TagScheme([], scheme)
        _check_settings(head_init, min_score)
        if overlapping:
            _check_overlapping(name, soft_labels, spans_key)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scheme = scheme
        self.shared_positions = shared_positions
        self.head_init = head_init
        self.soft_labels = soft_labels
        self.overlapping = overlapping
        # Whether predictions put the probabilities of all tags into `doc.user_data`, for a student.
        self.writes_tags = False
        self.min_score = min_score
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.incorrect_spans_key = incorrect_spans_key
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "scheme": scheme,
            "shared_positions": shared_positions,
        }
        self.calibration = Calibration(self.cfg, temperature)
        self.scorer = scorer
        register_scores()

    @property
    def tags(self) -> TagScheme:
        """RETURNS (TagScheme): The tags of a layer."""
        return self.layers.scheme

    @property
    def layers(self) -> TagLayers:
        """RETURNS (TagLayers): The tags behind the labels: one layer of them, or with `overlapping`
        one layer per label."""
        return TagLayers(
            self.labels,
            self.scheme,
            shared_positions=self.shared_positions,
            overlapping=self.overlapping,
        )

    @property
    def gold_key(self) -> Optional[str]:
        """RETURNS (Optional[str]): Key of the `doc.spans` with gold entities, before `doc.ents`."""
        return self.spans_key if self.overlapping else None

    def grown_head(self, label: str) -> Tuple[NDArray, NDArray]:
        """See `EncoderPipe`."""
        mapping, is_new = self.layers.growth(label)
        return mapping, numpy.where(is_new, NEW_LABEL, 0.0).astype("f")

    def predict(self, docs: Iterable[Doc]) -> List[DocEntities]:
        """Find the entities of docs without changing them.

        docs (Iterable[Doc]): The docs. Tokens that are in an entity or blocked already stay
            outside of new entities, unless `overwrite` is set.
        RETURNS (List[DocEntities]): Entities and their probabilities, one item per doc.
        """
        from ..heads.lattice import Lattice

        docs = list(docs)
        if not docs:
            return []
        scores = self.model.predict(docs)
        logits, transitions = to_numpy(scores.logits), self._transitions(scores)
        rows = numpy.split(logits, numpy.cumsum(scores.lengths)[:-1])
        self.calibration.note(docs, [(own, transitions) for own in rows])
        if self.writes_tags:
            write_tag_posteriors(docs, logits, self.tags, transitions, self.temperature)
        lattice = Lattice(self.tags, transitions, temperature=self.temperature)
        limits = self.calibration.limits(self.labels)
        return decode(
            docs,
            self.layers.unfold(logits),
            lattice,
            # In another layer, new entities may overlap those that a doc already has.
            overwrite=self.overwrite or self.overlapping,
            min_score=self.min_score if limits is None else numpy.maximum(self.min_score, limits),
            layers=self.layers.labels,
        )

    def set_annotations(self, docs: Iterable[Doc], predictions: Iterable[DocEntities]) -> None:
        """Write entities to `doc.ents`, and their scores to `doc.spans` and the spans.

        docs (Iterable[Doc]): The docs.
        predictions (Iterable[DocEntities]): What `predict` returned for them.
        """
        for doc, (entities, scores) in zip(docs, predictions, strict=True):
            write_entities(
                doc,
                entities,
                scores,
                spans_key=self.spans_key,
                overwrite=self.overwrite,
                overlapping=self.overlapping,
                labels=self.labels,
            )

    def get_loss(self, examples: Iterable[Example], scores: TagScores) -> Tuple[float, TagScores]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples. Tokens without annotation do not count.
        scores (TagScores): The model's logits for their predicted docs.
        RETURNS (Tuple[float, TagScores]): Mean over the annotated tokens of the cross-entropy, or
            with learned transitions of the negative log-likelihood, and its gradient; with
            `overlapping` the sum of those means over the labels. Spans that are known to be
            incorrect count as a token each.
        RAISES (ValueError): A span is an entity and known to be incorrect, or settings exclude each
            other.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        layers = self.layers
        logits = layers.scheme.logits(layers.unfold(to_numpy(scores.logits)))
        loss, gradient, d_transitions = entity_loss(
            examples,
            logits,
            self._transitions(scores),
            layers,
            name=self.name,
            spans_key=self.gold_key,
            incorrect_spans_key=self.incorrect_spans_key,
            soft_labels=self.soft_labels,
        )
        return loss, self._of_parts(gradient, scores.lengths, d_transitions)

    def training_batch(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with an annotated token that is not white space, or
        with a span that is known to be incorrect."""
        key = self.incorrect_spans_key
        return [
            eg
            for eg in examples
            if (key and eg.reference.spans.get(key))
            or (read_gold(eg, self.gold_key).known & ~is_space(eg.predicted)).any()
        ]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Find the labels, load the pretrained encoder, make a new head.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        RAISES (ValueError): There are no labels.
        """
        examples = read_examples(get_examples, f"{type(self).__name__}.initialize")
        self.check_trains()
        found = survey(examples, self.gold_key)
        for label in list(found.labels) if labels is None else labels:
            self.take_label(label)
        if not self.labels:
            raise ValueError(nothing_to_learn(self.name, found, self.gold_key))
        self.calibration.reset()
        self.warned_of = frozenset()
        sample = numpy.zeros((1, self.n_columns), dtype="f")
        self.model.initialize(X=[examples[0].reference], Y=sample)
        # If other components annotate entities, only `update` can warn of labels that none has.
        is_only = nlp is None or not self._others_annotate(nlp)
        wrong = problems(
            found,
            self.labels if is_only else list(found.labels),
            pieceless=self._pieceless(found.odd, nlp),
        )
        if is_only:
            self.warned_of |= set(found.labels)
        if wrong:
            warnings.warn(
                f"Not all of the training data can be learned by '{self.name}': "
                f"{'; '.join(wrong)}.",
                stacklevel=2,
            )
        self.announce(eg.reference.text for eg in examples)
        if self.head_init == "probe":
            probe = fit_tags(self, examples, nlp)
            lacking = "the examples that it sees before training have no entities"
            start_from(self, probe, what="tags", lacking=lacking)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predictions. Warns of gold labels that the component can't predict; fits the
        temperature if `spacy train` asks.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores, with spaCy's keys, and `ents_ece`, the expected
            calibration error of the entities' scores as they were predicted. With `overlapping`,
            they are those of all entities, in `ents_f` and in `spans_KEY_f` as from `spancat`.
        """
        examples = list(examples)
        warn_of_unknown_labels(self, examples, training=False)
        scores = super().score(examples, **kwargs)
        if self.overlapping:
            scores.update(score_overlapping(examples, self.spans_key))
        scores["ents_ece"] = calibration_error_of(
            examples, self.spans_key, overlapping=self.overlapping
        )
        self.calibrate_to_noted(examples)
        return scores

    def calibration_loss(
        self, examples: List[Example], logits: List[Tuple[NDArray, Optional[NDArray]]]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature to whether entities were right.

        examples (List[Example]): Predicted examples.
        logits (List[Tuple[ndarray, Optional[ndarray]]]): The logits of the tokens of each, and the
            transitions.
        RETURNS (Optional[Callable[[float], float]]): See `loss_of_temperature`.
        """
        rows, transitions = [own for own, _ in logits], logits[0][1]
        return loss_of_temperature(examples, rows, transitions, self.layers, self.gold_key)

    @property
    def n_columns(self) -> int:
        """RETURNS (int): Number of columns of the head's output, given the labels."""
        return self.layers.n_columns

    def gold_labels(self, examples: Iterable[Example]) -> Set[str]:
        """RETURNS (Set[str]): The labels of the gold entities."""
        golds = (gold_entities(eg.reference, self.gold_key) for eg in examples)
        return {entity.label_ for gold in golds for entity in gold}

    def after_load(self) -> None:
        """Check that the component was trained with the same tags.

        RAISES (ValueError): It was trained with another scheme, or does not fit the config for
            another reason.
        """
        for setting in ("scheme", "shared_positions"):
            before, now = self.cfg[setting], getattr(self, setting)
            if before != now:
                raise ValueError(
                    f"'{self.name}' was trained with {setting} = {before!r}, but its config says "
                    f"{now!r}. Load a pipeline with the config that it was saved with."
                )
        super().after_load()

    def _transitions(self, scores: TagScores) -> Optional[NDArray]:
        """Turn learned transitions between parts of tags into transitions between tags."""
        if scores.transitions is None:
            return None
        if self.overlapping:
            raise ValueError(
                f"'{self.name}' has overlapping = true, so every label has its own tags, and "
                "transitions between tags of all labels can't be learned: set "
                "learned_transitions = false."
            )
        tags = self.tags
        return tags.logits(tags.logits(to_numpy(scores.transitions)).T).T

    def _of_parts(
        self, d_logits: NDArray, lengths: List[int], d_transitions: Optional[NDArray]
    ) -> TagScores:
        ops, tags = self.model.ops, self.tags
        learned = None
        if d_transitions is not None:
            learned = ops.asarray2f(tags.gradient(tags.gradient(d_transitions).T).T)
        d_parts = self.layers.fold(tags.gradient(d_logits))
        return TagScores(ops.asarray2f(d_parts), lengths, learned)

    def _pieceless(self, texts: Dict[str, int], nlp: Optional[Language]) -> int:
        """Count the entities without a word piece, given their texts and counts."""
        if not texts or (self.listens and nlp is None):
            # Without the pipeline, there are no vectors.
            return 0
        docs = run_upstream(self, [Doc(self.vocab, words=[text]) for text in texts], nlp)
        has_piece = to_numpy(self.model.predict(docs).logits).any(1)
        pairs = zip(texts.items(), has_piece, strict=True)
        return sum(count for (text, count), seen in pairs if text.isspace() or not seen)

    def _others_annotate(self, nlp: Language) -> bool:
        """Whether another component of a pipeline annotates entities as well."""
        others = [name for name, pipe in nlp.components if pipe is not self]
        return any(self.attribute in nlp.get_pipe_meta(name).assigns for name in others)


def _check_overlapping(name: str, soft_labels: bool, spans_key: Optional[str]) -> None:
    if soft_labels or not spans_key:
        raise ValueError(
            f"'{name}' with overlapping = true needs soft_labels = false and a spans_key; it has "
            f"{str(soft_labels).lower()} and {spans_key!r}."
        )


def _check_settings(head_init: str, min_score: float) -> None:
    check_head_init(head_init)
    if not 0.0 <= min_score <= 1.0:
        raise ValueError(f"min_score = {min_score}. Use a probability from 0 to 1.")
