"""The pipe that classifies spans that already exist, in one pass over their document."""

import warnings
from difflib import get_close_matches
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.spancat import spancat_score
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.util import to_numpy

from ..bridge.token_classifier import TagScores
from .calibration import Calibration, LossOfTemperature
from .encoder_pipe import EncoderPipe
from .label_kinds import Exclusive, LabelKind
from .notices import warn_of_unknown_labels
from .probe_start import can_fit, check_head_init, sample_examples, start_from, token_inputs
from .spacy_calls import read_examples
from .span_rows import (
    ENTS,
    SENTS,
    Place,
    SpanRows,
    annotated_only,
    gold_spans,
    has_spans,
    is_set_before,
    places_of,
)


class SpanScores(NamedTuple):
    """The predictions for the spans of a doc.

    places (List[Tuple[int, int]]): First token of each span and the one after its last.
    scores (ndarray): Probabilities, shape (n_spans, n_labels).
    """

    places: List[Place]
    scores: NDArray


class SpanClassifier(EncoderPipe):
    """Pipeline component that classifies given spans: sentences, entities, or a group of spans.

    All spans of a document share one pass over it and see the whole document. A span's logits are
    the mean of its tokens' logits. `doc.spans[spans_key]` gets a span for each label, with its
    probability in `attrs["scores"]`.

    It learns from the spans in the gold `doc.spans[spans_key]`. Other spans are not annotated: they
    are neither learned from nor scored. With independent labels, a gold span without a label means
    that no label applies.
    """

    attribute = "doc.spans"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "span_classifier",
        *,
        spans: str = "sents",
        spans_key: str = "sc",
        kind: Optional[LabelKind] = None,
        head_init: str = "random",
        threshold: float = 0.5,
        temperature: Optional[float] = None,
        scorer: Optional[Callable] = spancat_score,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model): Docs to a row of logits for each token, one column per label.
        name (str): Name of the component, used as the key of its loss.
        spans (str): See `make_span_classifier`, as for the other settings.
        spans_key (str): Key of the labeled spans.
        kind (Optional[LabelKind]): The kind of labels; `Exclusive()` if left out.
        head_init (str): "random" or "probe".
        threshold (float): Lowest probability at which a span gets an independent label.
        temperature (Optional[float]): Number that logits are divided by, or None to fit it on dev.
        scorer (Optional[Callable]): The scoring method.
        RAISES (ValueError): A setting is out of range.
        """
        if not spans or not spans_key:
            raise ValueError(
                f"spans = {spans!r} and spans_key = {spans_key!r}: name 'sents', 'ents' or a key "
                "of doc.spans for the first, and a key of doc.spans for the second."
            )
        check_head_init(head_init)
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold = {threshold}. Use a value from 0 to 1.")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.spans = spans
        self.kind = kind or Exclusive()
        self.head_init = head_init
        self.cfg: Dict[str, Any] = {"labels": [], "threshold": threshold, "spans_key": spans_key}
        self.calibration = Calibration(self.cfg, temperature)
        self.scorer = scorer

    @property
    def key(self) -> str:
        """RETURNS (str): Key of the labeled spans."""
        return self.cfg["spans_key"]

    def predict(self, docs: Iterable[Doc]) -> List[SpanScores]:
        """Score the spans of docs without changing them.

        docs (Iterable[Doc]): The docs. One without spans costs nothing.
        RETURNS (List[SpanScores]): Spans and their probabilities, one item per doc. Spans without a
            piece, such as white space, are left out.
        """
        docs = list(docs)
        places = [places_of(doc, self.spans) for doc in docs]
        empty = SpanScores([], numpy.zeros((0, len(self.labels)), dtype="f"))
        found = [empty] * len(docs)
        chosen = [i for i, own in enumerate(places) if own]
        if not chosen:
            return found
        scores = self.model.predict([docs[i] for i in chosen])
        spans = [places[i] for i in chosen]
        logits = SpanRows(spans, scores.lengths, to_numpy(scores.logits)).by_doc()
        self.calibration.note([docs[i] for i in chosen], logits)
        for i, (own, rows) in zip(chosen, logits, strict=True):
            found[i] = SpanScores(own, self.kind.probabilities(rows / self.temperature))
        return found

    def batches(self, docs: Iterator[List[Doc]]) -> Iterator[List[Doc]]:
        """See `EncoderPipe.batches`. The model reads only docs with spans."""

        def read(batch: List[Doc]) -> None:
            if chosen := [doc for doc in batch if places_of(doc, self.spans)]:
                self.model.predict(chosen)

        return self.shim.batches(docs, read)

    def set_annotations(self, docs: Iterable[Doc], predictions: Iterable[SpanScores]) -> None:
        """Write labeled spans to `doc.spans[spans_key]`, with `attrs["scores"]`.

        docs (Iterable[Doc]): The docs. One that does not have the spans at all stays as it is.
        predictions (Iterable[SpanScores]): What `predict` returned for them.
        """
        for doc, (places, scores) in zip(docs, predictions, strict=True):
            if not has_spans(doc, self.spans):
                continue
            given = self._given(scores)
            spans = [
                Span(doc, *places[row], label=self.labels[column])
                for row, column in zip(*numpy.nonzero(given), strict=True)
            ]
            attrs = {"scores": scores[given].astype("f")}
            doc.spans[self.key] = SpanGroup(doc, name=self.key, attrs=attrs, spans=spans)

    def get_loss(self, examples: Iterable[Example], scores: TagScores) -> Tuple[float, TagScores]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples.
        scores (TagScores): The model's logits for the tokens of their predicted docs.
        RETURNS (Tuple[float, TagScores]): Mean cross-entropy over the annotated spans, and its
            gradient.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        golds = [gold_spans(eg, self.key) for eg in examples]
        places = [sorted(own) for own in golds]
        rows = SpanRows(places, scores.lengths, to_numpy(scores.logits))
        gold, known = self._targets(golds, places)
        known = known * rows.readable[:, None]
        loss, gradient = self.kind.loss(rows.means, gold, known)
        d_logits = self.model.ops.asarray2f(rows.gradient(gradient))
        return loss, TagScores(d_logits, scores.lengths, None)

    def training_batch(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples with an annotated span.

        RAISES (ValueError): A span has several exclusive labels.
        """
        self._check(examples)
        return [eg for eg in examples if gold_spans(eg, self.key)]

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
        RAISES (ValueError): There are too few labels, or a span has several exclusive ones.
        """
        examples = read_examples(get_examples, f"{type(self).__name__}.initialize")
        self.calibration.reset()
        self.warned_of = frozenset()
        found, keys = set(), set()
        for example in examples:
            self._check([example])
            found |= self.gold_labels([example])
            keys |= set(example.reference.spans)
        for label in sorted(found) if labels is None else labels:
            self.take_label(label)
        if not self.labels:
            seen = f"their span groups are {', '.join(sorted(keys))}" if keys else "they have none"
            remedy = "Set spans_key, or convert" if keys else "Convert"
            raise ValueError(
                f"'{self.name}' has no labels: no training doc has labeled spans in "
                f"doc.spans[{self.key!r}]; {seen}. {remedy} with --spans-key "
                f"{self.key}."
            )
        self.kind.check_labels(self.labels, None, self.name)
        with_docs = self.spans == self.key or self.spans in keys - {SENTS, ENTS}
        if nlp is not None and not with_docs and not is_set_before(nlp, self, self.spans):
            meant = get_close_matches(self.spans, (SENTS, ENTS, "sentences", "entities"), n=1)
            if meant and self.spans not in (SENTS, ENTS):
                name = SENTS if meant[0].startswith("sent") else ENTS
                raise ValueError(
                    f"'{self.name}' classifies the spans {self.spans!r}, but nothing sets "
                    f'doc.spans[{self.spans!r}]. Did you mean spans = "{name}"?'
                )
            self._warn_of_spans("no component before it says that it sets them")
        sample = numpy.zeros((1, len(self.labels)), dtype="f")
        self.model.initialize(X=[examples[0].reference], Y=sample)
        self.announce(eg.reference.text for eg in examples)
        if self.head_init == "probe":
            self._start_from_probe(self.training_batch(examples), nlp)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score the labels of annotated spans; fits the temperature if `spacy train` asks.

        If the spans are a group that nothing in the pipeline sets, the spans of the gold doc are
        classified.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores, with the keys of spaCy's `spancat`: precision, recall
            and F over all labels and per label.
        """
        examples = list(examples)
        warn_of_unknown_labels(self, examples, training=False)
        scored = self._predicted(examples)
        if scored and not any(map(self._comes_with_spans, examples)):
            self._warn_of_spans("none of the evaluated docs has them")
        counted = [annotated_only(eg, self.key, self.kind) for eg in scored]
        scores = super().score(counted, **kwargs)
        self.calibrate_to_noted(scored)
        return scores

    def scored_examples(self, examples: Iterable[Example]) -> List[Example]:
        """RETURNS (List[Example]): The annotated ones of evaluated examples, with copies of their
        docs that have only the spans that count in a score."""
        return [annotated_only(eg, self.key, self.kind) for eg in self._predicted(examples)]

    def calibrate(self, examples: Iterable[Example], *, nlp: Optional[Language] = None) -> float:
        """Fit the temperature to annotated examples; see `EncoderPipe.calibrate`.

        examples (Iterable[Example]): The examples. The predicted docs need the spans, if these are
            sentences or entities; spans of a key may be those of the gold docs.
        nlp (Optional[Language]): The pipeline. Only needed if the component listens.
        RETURNS (float): The temperature from now on.
        """
        examples = [self._scored(eg) for eg in examples]
        if not any(has_spans(eg.predicted, self.spans) for eg in examples):
            warnings.warn(
                f"The temperature of '{self.name}' stays {self.temperature}: none of the docs has "
                f"the spans that it classifies ({self.spans}). Set them in the predicted docs, for "
                "example Example(nlp(eg.reference.text), eg.reference).",
                stacklevel=2,
            )
        return super().calibrate(examples, nlp=nlp)

    def calibration_loss(
        self, examples: List[Example], logits: List[Tuple[List[Place], NDArray]]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature to the labels of annotated spans.

        examples (List[Example]): Predicted examples.
        logits (List[Tuple[List[Tuple[int, int]], ndarray]]): Spans and logits of each.
        RETURNS (Optional[Callable[[float], float]]): The cross-entropy at a temperature, or None
            if nothing is annotated.
        """
        golds = [gold_spans(eg, self.key) for eg in examples]
        gold, known = self._targets(golds, [places for places, _ in logits])
        rows = numpy.concatenate([own for _, own in logits])
        return self.kind.loss_of_temperature(rows, gold, known)

    def gold_labels(self, examples: Iterable[Example]) -> Set[str]:
        """RETURNS (Set[str]): The labels of the gold spans."""
        groups = [eg.reference.spans[self.key] for eg in examples if self.key in eg.reference.spans]
        return {span.label_ for group in groups for span in group} - {""}

    def _comes_with_spans(self, example: Example) -> bool:
        """Whether a doc has the spans, by itself or from its gold doc, or has been predicted."""
        doc, reference = example.predicted, example.reference
        from_gold = self.spans not in (SENTS, ENTS) and self.spans in reference.spans
        return from_gold or has_spans(doc, self.spans) or self.key in doc.spans

    def _warn_of_spans(self, reason: str) -> None:
        if reason not in self.warned_of:
            self.warned_of |= {reason}
            warnings.warn(
                f"'{self.name}' classifies the spans '{self.spans}', but {reason}. It predicts "
                "nothing for docs that do not have them. Add a component before it that sets them, "
                "such as sentencizer for 'sents'. Other names than 'sents' and 'ents' are keys of "
                "doc.spans.",
                stacklevel=3,
            )

    def _start_from_probe(self, examples: List[Example], nlp: Optional[Language]) -> None:
        examples = sample_examples(examples)
        golds = [gold_spans(eg, self.key) for eg in examples]
        places = [sorted(own) for own in golds]
        gold, known = self._targets(golds, places)
        rows, probe = numpy.flatnonzero(known.any(1)), None
        if can_fit(self.kind, gold[rows]):
            n_tokens = numpy.cumsum([len(eg.predicted) for eg in examples])
            tokens = numpy.split(token_inputs(self, examples, nlp), n_tokens[:-1])
            # Doc by doc, because sums over all tokens in fp64 would take much memory.
            pairs = zip(places, tokens, strict=True)
            spans = [SpanRows([own], [len(vectors)], vectors) for own, vectors in pairs]
            vectors = numpy.concatenate([own.means for own in spans])
            rows = rows[numpy.concatenate([own.readable for own in spans])[rows]]
            if can_fit(self.kind, gold[rows]):
                probe = self.kind.fit_head(vectors[rows], gold[rows], known[rows])
        lacking = "all the spans that it sees before training have the same label"
        start_from(self, probe, what="gold values", lacking=lacking)

    def _given(self, scores: NDArray) -> NDArray[numpy.bool_]:
        """Whether each span gets each label."""
        if self.kind.exclusive and len(scores):
            return numpy.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
        return scores >= self.cfg["threshold"]

    def _targets(
        self, golds: Sequence[Dict[Place, Set[str]]], places: Sequence[Sequence[Place]]
    ) -> Tuple[NDArray, NDArray]:
        """Gold values of spans, and 1 where they are known; see `label_kinds`."""
        found = [own.get(p) for own, ps in zip(golds, places, strict=True) for p in ps]
        gold = numpy.zeros((len(found), len(self.labels)), dtype="f")
        annotated = numpy.zeros_like(gold)
        for row, labels in enumerate(found):
            annotated[row] = labels is not None
            gold[row] = [label in (labels or ()) for label in self.labels]
        return gold, self.kind.known(gold, annotated) if len(gold) else annotated

    def _check(self, examples: Iterable[Example]) -> None:
        for example in examples if self.kind.exclusive else ():
            for (start, end), labels in gold_spans(example, self.key).items():
                if len(labels) > 1:
                    raise ValueError(
                        f"'{self.name}' has exclusive labels, but the span "
                        f"{example.predicted[start:end].text[:60]!r} has several: "
                        f"{', '.join(sorted(labels))}. Set exclusive = false."
                    )

    def _scored(self, example: Example) -> Example:
        """An example whose predicted doc has the spans, taken from the gold doc if necessary."""
        if has_spans(example.predicted, self.spans) or self.spans in (SENTS, ENTS):
            return example
        places = gold_spans(example, self.key)
        doc = example.predicted.copy()
        doc.tensor = example.predicted.tensor
        doc.spans[self.spans] = [doc[start:end] for start, end in places]
        return Example(doc, example.reference)

    def _predicted(self, examples: Iterable[Example]) -> List[Example]:
        """The annotated examples, predicted if their spans are those of the gold docs."""
        scored = [self._scored(eg) for eg in examples if self.key in eg.reference.spans]
        self._predict_given(scored)
        return scored

    def _predict_given(self, examples: Sequence[Example]) -> None:
        docs = [eg.predicted for eg in examples if self.key not in eg.predicted.spans]
        given = [doc for doc in docs if has_spans(doc, self.spans)]
        if self.spans == self.key and self.spans not in (SENTS, ENTS):
            docs = [eg.predicted for eg in examples]
            given = [doc for doc in docs if not any(s.label_ for s in doc.spans[self.key])]
        if given:
            self.set_annotations(given, self.predict(given))
