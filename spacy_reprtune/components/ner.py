"""`reprtune_ner`: named entities, each with its probability."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.ner import ner_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..bridge.token_classifier import TagScores
from ..heads.losses import cross_entropy
from ..heads.tags import TagScheme
from .calibrated_pipe import LossOfTemperature
from .default_encoder import DEFAULT_ENCODER
from .encoder_pipe import settle_optimizer
from .entities import is_space, read_gold, register_score, write_entities
from .entity_calibration import calibration_error_of, loss_of_temperature
from .entity_survey import nothing_to_learn, problems, survey
from .labelled_pipe import LabelledPipe
from .tag_rows import DocEntities, decode, gold_tags

if TYPE_CHECKING:
    from ..heads.lattice import Lattice

logger = logging.getLogger("spacy")

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
        "min_score": 0.0,
        "temperature": None,
        "spans_key": "ner",
        "overwrite": False,
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
    min_score: float,
    temperature: Optional[float],
    spans_key: Optional[str],
    overwrite: bool,
    scorer: Optional[Callable],
) -> "EntityRecognizer":
    """Create an entity recognizer.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], TagScores]): Docs to logits, a `spacy_reprtune.TokenClassifier.v1`.
    scheme (str): How entities are tagged behind the scenes: "bilou" or "bio".
    shared_positions (bool): Whether all labels share what the beginning and the end of an entity
        look like: the weights of a tag are then those of its label plus those of its position.
        Without, each tag has weights of its own.
    head_init (str): "random", or "probe" for the logistic regression on the untouched encoder's
        vectors, with its regularisation chosen on held-out folds of the training data.
    min_score (float): Entities whose probability is lower are not predicted.
    temperature (Optional[float]): What logits are divided by to give probabilities, or null to
        fit it to dev at the end of training.
    spans_key (Optional[str]): Where in `doc.spans` entities are with their scores, or null for
        nowhere.
    overwrite (bool): Whether entities and blocked tokens that a doc has already are replaced.
    scorer (Optional[Callable]): The scoring method.
    """
    return EntityRecognizer(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        shared_positions=shared_positions,
        head_init=head_init,
        min_score=min_score,
        temperature=temperature,
        spans_key=spans_key,
        overwrite=overwrite,
        scorer=scorer,
    )


class EntityRecognizer(LabelledPipe):
    """Pipeline component that finds named entities and says how sure it is of each.

    The model gives logits of tags for each token. The best legal sequence of tags gives
    `doc.ents`; the probability of an entity is the share that all sequences with just this entity
    have. It is in `doc.spans[spans_key].attrs["scores"]` and in `span._.score`.

    White space and tokens without a piece are left out of the sequence, so an entity may span
    them, but never begins or ends with them.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "ner",
        *,
        scheme: str = "bilou",
        shared_positions: bool = True,
        head_init: str = "random",
        min_score: float = 0.0,
        temperature: Optional[float] = None,
        spans_key: Optional[str] = "ner",
        overwrite: bool = False,
        scorer: Optional[Callable] = ner_score,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model): Docs to logits.
        name (str): Name of the component, and of its loss.
        scheme (str): See `make_ner`, as for the other settings.
        RAISES (ValueError): A setting is out of range.
        """
        TagScheme([], scheme)
        _check_settings(head_init, min_score, temperature)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scheme = scheme
        self.shared_positions = shared_positions
        self.head_init = head_init
        self.min_score = min_score
        self.fixed_temperature = temperature
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "scheme": scheme,
            "shared_positions": shared_positions,
            "temperature": 1.0,
        }
        self.scorer = scorer
        register_score()

    @property
    def tags(self) -> TagScheme:
        """RETURNS (TagScheme): The tags behind the labels."""
        return TagScheme(self.labels, self.scheme, shared_positions=self.shared_positions)

    @property
    def temperature(self) -> float:
        """RETURNS (float): What logits are divided by."""
        fixed = self.fixed_temperature
        return self.cfg["temperature"] if fixed is None else fixed

    def predict(self, docs: Iterable[Doc]) -> List[DocEntities]:
        """Find the entities of docs without changing them.

        docs (Iterable[Doc]): The docs. Tokens that are in an entity or blocked already stay
            outside of new entities, unless `overwrite` is set.
        RETURNS (List[DocEntities]): Entities and their probabilities, one item a doc.
        """
        docs = list(docs)
        if not docs:
            return []
        scores = self.model.predict(docs)
        logits, transitions = _numpy(scores.logits), self._transitions(scores)
        rows = numpy.split(logits, numpy.cumsum(scores.lengths)[:-1])
        self.keep_logits(docs, [(own, transitions) for own in rows])
        lattice = self._lattice(transitions, self.temperature)
        return decode(docs, logits, lattice, overwrite=self.overwrite, min_score=self.min_score)

    def set_annotations(self, docs: Iterable[Doc], predictions: Iterable[DocEntities]) -> None:
        """Write entities to `doc.ents`, and with their scores to `doc.spans` and `span._.score`.

        docs (Iterable[Doc]): The docs.
        predictions (Iterable[DocEntities]): What `predict` returned for them.
        """
        for doc, (entities, scores) in zip(docs, predictions, strict=True):
            write_entities(
                doc, entities, scores, spans_key=self.spans_key, overwrite=self.overwrite
            )

    def get_loss(self, examples: Iterable[Example], scores: TagScores) -> Tuple[float, TagScores]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples. Tokens without annotation count for nothing.
        scores (TagScores): The model's logits for their predicted docs.
        RETURNS (Tuple[float, TagScores]): Mean over the annotated tokens of the cross-entropy, or
            with learned transitions of the negative log-likelihood, and its gradient.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        tags = self.tags
        logits, transitions = tags.logits(_numpy(scores.logits)), self._transitions(scores)
        gold = gold_tags(examples, logits, tags)
        gradient = numpy.zeros_like(logits)
        if transitions is not None:
            lattice = self._lattice(transitions, 1.0)
            loss, d_rows, d_transitions = lattice.loss(logits[gold.rows], gold.lengths, gold.tags)
            gradient[gold.rows] = d_rows
            return loss, self._of_parts(gradient, scores.lengths, d_transitions)
        known = numpy.flatnonzero(gold.tags >= 0)
        rows = gold.rows[known]
        loss = 0.0
        if len(rows):
            loss, gradient[rows] = cross_entropy(logits[rows], gold.tags[known])
        return loss, self._of_parts(gradient, scores.lengths, None)

    def annotated(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with a token (white space is none) of which it is
        known what it is."""
        return [eg for eg in examples if (read_gold(eg).known & ~is_space(eg.predicted)).any()]

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
        RAISES (ValueError): There are no entities to learn, or a head that listens is to start from
            a probe.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        found = survey(get_examples())
        for label in list(found.labels) if labels is None else labels:
            self.take_label(label)
        if not self.labels or (labels is None and not found.labels):
            raise ValueError(nothing_to_learn(self.name, found))
        if self.head_init == "probe" and self.listens:
            raise ValueError(
                f"head_init = 'probe' of '{self.name}' needs an encoder of its own, but it listens "
                "to a shared one: set it to 'random'."
            )
        self.forget_calibration()
        settle_optimizer(nlp)
        sample = numpy.zeros((1, self.tags.n_parts), dtype="f")
        self.model.initialize(X=[next(iter(get_examples())).reference], Y=sample)
        wrong = problems(found, self.labels, pieceless=self._pieceless(found.odd, nlp))
        if wrong:
            warnings.warn(
                f"Not all of the training data can be learned by '{self.name}': "
                f"{'; '.join(wrong)}.",
                stacklevel=2,
            )
        self.announce([eg.reference.text for eg in get_examples()])
        if self.head_init == "probe":
            self._start_from_probe(get_examples())

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predictions; warns of gold labels that the component can't predict.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores, with spaCy's keys, and `ents_ece`, the expected
            calibration error of the entities' scores.
        """
        examples = list(examples)
        gold = {ent.label_ for eg in examples for ent in eg.reference.ents}
        self.warn_of_other_labels(gold, "It can't find these entities.")
        scores = super().score(examples, **kwargs)
        scores["ents_ece"] = calibration_error_of(examples, self.spans_key)
        self.keep_evaluation(examples)
        return scores

    def temperature_loss(
        self, examples: List[Example], logits: List[Tuple[NDArray, Optional[NDArray]]]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature, unless the config gives one.

        examples (List[Example]): Evaluated examples.
        logits (List[Tuple[ndarray, Optional[ndarray]]]): Of the tokens of each, and transitions.
        RETURNS (Optional[Callable[[float], float]]): See `loss_of_temperature`.
        """
        if self.fixed_temperature is not None:
            return None
        rows, transitions = [own for own, _ in logits], logits[0][1]
        return loss_of_temperature(examples, rows, transitions, self.tags)

    def calibrate(self) -> float:
        """Fit the temperature, unless the config gives one; see `CalibratedPipe.calibrate`.

        RETURNS (float): The temperature from now on.
        """
        return self.temperature if self.fixed_temperature is not None else super().calibrate()

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_disk` wrote; see `EncoderPipe.from_disk`.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (EntityRecognizer): Itself.
        RAISES (ValueError): It was trained with another scheme.
        """
        super().from_disk(path, exclude=exclude)
        return self._checked()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_bytes` gave.

        data (bytes): The bytes.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (EntityRecognizer): Itself.
        RAISES (ValueError): It was trained with another scheme.
        """
        super().from_bytes(data, exclude=exclude)
        return self._checked()

    def _checked(self) -> "EntityRecognizer":
        for setting in ("scheme", "shared_positions"):
            before, now = self.cfg[setting], getattr(self, setting)
            if before != now:
                raise ValueError(
                    f"'{self.name}' was trained with {setting} = {before!r}, and its config says "
                    f"{now!r}. A pipeline has to be loaded with the config that it was saved with."
                )
        return self

    def _lattice(self, transitions: Optional[NDArray], temperature: float) -> "Lattice":
        from ..heads.lattice import Lattice

        return Lattice(self.tags, transitions, temperature=temperature)

    def _transitions(self, scores: TagScores) -> Optional[NDArray]:
        """The learned transitions between tags, from those between their parts."""
        if scores.transitions is None:
            return None
        tags = self.tags
        return tags.logits(tags.logits(_numpy(scores.transitions)).T).T

    def _of_parts(
        self, d_logits: NDArray, lengths: List[int], d_transitions: Optional[NDArray]
    ) -> TagScores:
        ops, tags = self.model.ops, self.tags
        learned = None
        if d_transitions is not None:
            learned = ops.asarray2f(tags.gradient(tags.gradient(d_transitions).T).T)
        return TagScores(ops.asarray2f(tags.gradient(d_logits)), lengths, learned)

    def _pieceless(self, texts: Dict[str, int], nlp: Optional[Language]) -> int:
        """How many entities with these texts have no piece, each text read as a single token."""
        if not texts or (self.listens and nlp is None):
            # Without the pipeline there is nothing to listen to.
            return 0
        docs = self.heard([Doc(self.vocab, words=[text]) for text in texts], nlp)
        has_piece = _numpy(self.model.predict(docs).logits).any(1)
        pairs = zip(texts.items(), has_piece, strict=True)
        return sum(count for (text, count), seen in pairs if text.isspace() or not seen)

    def _start_from_probe(self, examples: Iterable[Example]) -> None:
        from .token_probe import solve

        module = self._shim.module
        probe = solve(module, examples, self.tags)
        module.set_output(*self.tags.split(probe.weight, probe.bias))
        module.encoder.weights_changed()
        logger.info(
            "'%s' starts from a linear probe: %.3f of the held-out tags right with C = %g.",
            self.name,
            probe.score,
            probe.strength,
        )


def _check_settings(head_init: str, min_score: float, temperature: Optional[float]) -> None:
    if head_init not in ("random", "probe"):
        raise ValueError(f"head_init = {head_init!r}. Use 'random' or 'probe'.")
    if not 0.0 <= min_score <= 1.0:
        raise ValueError(f"min_score = {min_score}. Use a probability from 0 to 1.")
    if temperature is not None and not temperature > 0.0:
        raise ValueError(
            f"temperature = {temperature}. Use a number above 0, or null to fit it to dev."
        )


def _numpy(array: Any) -> NDArray:
    return array.get() if hasattr(array, "get") else numpy.asarray(array)
