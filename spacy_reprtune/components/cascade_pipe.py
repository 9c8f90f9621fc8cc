"""The pipe that asks a large text classifier only where a small one is not sure."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy
import srsly
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.textcat import textcat_score
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from ..files import replaced_directory
from ..manifest import check_manifest, seal, unseal, write_manifest
from .calibration import NotedLogits
from .cascade_part import CascadePart
from .encoder_pipe import EncoderPipe
from .label_kinds import Exclusive, Independent
from .text_classifier import TextClassifier

# The extension of docs that names the classifier that has answered.
ANSWERED_BY = "reprtune_answered_by"
SMALL, LARGE = "small", "large"


class Answers(NamedTuple):
    """The predictions for docs.

    probabilities (ndarray): One row per doc, one column per label.
    early (ndarray): Whether the small classifier has answered, shape (n_docs,).
    """

    probabilities: NDArray
    early: NDArray


class Cascade(EncoderPipe):
    """Pipeline component that asks a large text classifier only where a small one is not sure.

    Both learn from the same examples and have their own temperatures. `doc.cats` holds the
    probabilities of the classifier that has answered, and `doc._.reprtune_answered_by` its name,
    "small" or "large". The threshold is fitted when `spacy train` evaluates on dev, or by
    `calibrate`. Before that, the large classifier answers everything.
    """

    attribute = "doc.cats"

    def __init__(
        self,
        vocab: Vocab,
        small: Model,
        large: Model,
        name: str = "textcat",
        *,
        exclusive: bool = True,
        keep: float = 0.99,
        threshold: Optional[float] = None,
        scorer: Optional[Callable] = textcat_score,
        **settings: Any,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        small, large (Model): Docs to logits.
        name (str): Name of the component, used as the key of its loss.
        exclusive (bool): See `make_cascade`, as for the other settings.
        settings: Settings of both classifiers.
        RAISES (ValueError): A setting is out of range, or a model listens to another component.
        """
        if not 0.0 < keep <= 1.0:
            raise ValueError(f"keep = {keep}. Use a share of the score above 0, at most 1.")
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold = {threshold}. Use 0 to 1, or null to fit it on dev.")
        if small.layers or large.layers:
            raise ValueError(
                f"The classifiers of '{name}' need encoders of their own: a cascade saves nothing "
                "if another component computes the vectors of every doc. Use "
                "spacy_reprtune.Encoder.v1 and spacy_reprtune.StaticEncoder.v1."
            )
        self.vocab = vocab
        self.name = name
        self.keep = keep
        self.fixed = threshold
        self.scorer = scorer
        self.parts: Dict[str, TextClassifier] = {
            part: CascadePart(
                self,
                model,
                part,
                kind=Exclusive() if exclusive else Independent(),
                threshold=0.0 if exclusive else 0.5,
                **settings,
            )
            for part, model in ((SMALL, small), (LARGE, large))
        }
        # Only a container, so that code that walks through a pipeline's models finds both.
        self.model = Model("reprtune_cascade", _no_forward, layers=[small, large])
        self.cfg: Dict[str, Any] = {"threshold": None, "early": None, "kept": None}
        # Logits of both.
        self._noted = NotedLogits()
        if not Doc.has_extension(ANSWERED_BY):
            Doc.set_extension(ANSWERED_BY, default=None)

    @property
    def small(self) -> TextClassifier:
        """RETURNS (TextClassifier): The classifier that answers if it is sure."""
        return self.parts[SMALL]

    @property
    def large(self) -> TextClassifier:
        """RETURNS (TextClassifier): The classifier that answers the rest."""
        return self.parts[LARGE]

    @property
    def shim(self) -> Any:
        """RETURNS (TorchShim): The bridge to the large classifier's torch module."""
        return self.large.shim

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels, the same for both."""
        return self.large.labels

    @property
    def label_data(self) -> Optional[List[str]]:
        """RETURNS (Optional[List[str]]): The labels, as `spacy init labels` saves them."""
        return list(self.labels)

    @property
    def listens(self) -> bool:
        """RETURNS (bool): False, because both have their own encoder."""
        return False

    @property
    def threshold(self) -> Optional[float]:
        """RETURNS (Optional[float]): The lowest certainty at which the small classifier answers;
        None if it never does."""
        return self.cfg["threshold"] if self.fixed is None else self.fixed

    def predict(self, docs: Iterable[Doc]) -> Answers:
        """Score docs without changing them.

        docs (Iterable[Doc]): The docs.
        RETURNS (Answers): Probabilities, and which classifier has answered. When the threshold will
            be fitted to them, both classifiers score all docs.
        """
        docs = list(docs)
        probabilities = numpy.zeros((len(docs), len(self.labels)), dtype="f")
        early = numpy.zeros(len(docs), dtype=bool)
        if not docs:
            return Answers(probabilities, early)
        noting = self._noted.noting
        kind = self.large.kind
        if self.threshold is not None or noting:
            quick = self.small.logits(docs)
            probabilities = kind.probabilities(quick / self.small.temperature)
            if self.threshold is not None:
                early = kind.certainty(probabilities) >= self.threshold
        rest = numpy.flatnonzero(~early | noting)
        if len(rest):
            slow = self.large.logits([docs[i] for i in rest])
            answers = kind.probabilities(slow / self.large.temperature)
            probabilities[rest] = numpy.where(early[rest][:, None], probabilities[rest], answers)
        if noting:
            self._noted.note(docs, zip(quick, slow, strict=True))
        return Answers(probabilities, early)

    def set_annotations(self, docs: Iterable[Doc], answers: Answers) -> None:
        """Write scores to `doc.cats`, and which classifier has answered to
        `doc._.reprtune_answered_by`.

        docs (Iterable[Doc]): The docs.
        answers (Answers): What `predict` returned for them.
        """
        docs = list(docs)
        self.large.set_annotations(docs, answers.probabilities)
        for doc, early in zip(docs, answers.early.tolist(), strict=True):
            doc._.set(ANSWERED_BY, SMALL if early else LARGE)

    def batches(self, docs: Iterator[List[Doc]]) -> Iterator[List[Doc]]:
        """See `EncoderPipe.batches`. Only one classifier reads all docs."""
        return (self.large if self.threshold is None else self.small).batches(docs)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Let both classifiers learn from a batch of examples; see `EncoderPipe.update`.

        examples (Iterable[Example]): The examples.
        drop (float): Dropout rate of the heads, unless their own setting fixes another.
        sgd (Optional[Optimizer]): The optimizer, or None to accumulate gradients only.
        losses (Optional[Dict[str, float]]): Losses by component name, updated with the sum of both.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        for part in self.parts.values():
            losses[self.name] += part.update(examples, drop=drop, sgd=sgd)[part.name]
        if sgd:
            self._noted.weights_changed()
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients.

        sgd (Optimizer): The optimizer.
        """
        for part in self.parts.values():
            part.finish_update(sgd)
        self._noted.weights_changed()

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
        positive_label: Optional[str] = None,
    ) -> None:
        """Find the labels, load the pretrained encoders, make new heads.

        get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Iterable[str]]): The labels, as from `spacy init labels`; found in the
            examples (and sorted) if left out.
        positive_label (Optional[str]): With two exclusive labels, the one whose F-score is
            `cats_score`.
        RAISES (ValueError): See `TextClassifier.initialize`.
        """
        labels = None if labels is None else list(labels)
        self.warned_of = frozenset()
        for part in self.parts.values():
            part.initialize(get_examples, nlp=nlp, labels=labels, positive_label=positive_label)
        self._forget()

    def add_label(self, label: str) -> int:
        """Add a label to both classifiers; see `EncoderPipe.add_label`.

        label (str): The label.
        RETURNS (int): 1, or 0 if the component already has the label.
        """
        added = [part.add_label(label) for part in self.parts.values()]
        if any(added) and self.large.shim.n_labels is not None:
            self._noted.weights_changed()
        return max(added)

    def calibrate(self, examples: Iterable[Example], *, nlp: Optional[Language] = None) -> float:
        """Fit the temperatures and the threshold to annotated examples that are not training data.

        examples (Iterable[Example]): The examples.
        nlp (Optional[Language]): Not used.
        RETURNS (float): The share of the examples that the small classifier may answer.
        """
        examples = list(examples)
        validate_examples(examples, "Cascade.calibrate")
        copies = [Example(eg.predicted.copy(), eg.reference) for eg in examples]
        with ExitStack() as noting:
            for noted in (self._noted, *(part.calibration for part in self.parts.values())):
                noting.enter_context(noted.noting_all())
            self.predict([eg.predicted for eg in copies])
            self._fit(copies)
        return self.cfg["early"] or 0.0

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predictions; fits the temperatures and the threshold if `spacy train` asks.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): The scores of `TextClassifier.score`, and `cascade_early`, the
            share of texts that the small classifier has answered.
        """
        examples = list(examples)
        scores = self.large.score(examples, **kwargs)
        early = [eg.predicted._.get(ANSWERED_BY) == SMALL for eg in examples]
        scores["cascade_early"] = sum(early) / len(early) if early else None
        self._fit(examples)
        return scores

    def _fit(self, examples: List[Example]) -> None:
        from ..heads.cascade import fit_threshold

        found, noted = self._noted.take_noted(examples)
        for part in self.parts.values():
            part.calibrate_to_noted(examples)
        gold, known = self.large.read_gold(found)
        rows = numpy.flatnonzero(known.any(1))
        if not len(rows):
            return
        logits = zip(*(noted[i] for i in rows), strict=True)
        kind = self.large.kind
        small, large = (
            kind.probabilities(numpy.stack(own) / part.temperature)
            for own, part in zip(logits, self.parts.values(), strict=True)
        )
        fit = fit_threshold(
            kind.certainty(small),
            kind.decisions(small),
            kind.decisions(large),
            kind.decisions(gold[rows]),
            known[rows],
            keep=self.keep,
        )
        self.cfg.update(fit._asdict())

    def _forget(self) -> None:
        self.cfg.update(threshold=None, early=None, kept=None)
        self._noted.forget_noted()

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Save to bytes.

        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (bytes): The component.
        """
        saved: Dict[str, Any] = {"cfg": json.dumps(self.cfg)}
        for name, part in self.parts.items():
            saved[name] = part.to_bytes(exclude=exclude)
        return seal(srsly.msgpack_dumps(saved))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()) -> "Cascade":
        """Load what `to_bytes` returned.

        data (bytes): The bytes.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (Cascade): Itself.
        RAISES (ValueError): The bytes are damaged, or do not fit the config.
        """
        try:
            saved = srsly.msgpack_loads(unseal(data))
            parts, cfg = {name: saved[name] for name in self.parts}, json.loads(saved["cfg"])
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(
                f"The component '{self.name}' can't be loaded from bytes: {error}. Load the bytes "
                "that `to_bytes` of a component with the same config returned."
            ) from error
        for name, part in self.parts.items():
            part.from_bytes(parts[name], exclude=exclude)
        self._loaded(cfg, exclude)
        return self

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory: the threshold, and each classifier in a directory of its own.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        """
        with replaced_directory(Path(path)) as folder:
            (folder / "cfg").write_text(json.dumps(self.cfg, indent=2), encoding="utf8")
            for name, part in self.parts.items():
                # The pipeline saves the vocabulary.
                part.to_disk(folder / name, exclude=[*exclude, "vocab"])
            write_manifest(folder)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "Cascade":
        """Load what `to_disk` wrote.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (Cascade): Itself.
        RAISES (ValueError): The files are damaged, or do not fit the config.
        """
        path = Path(path)
        with check_manifest(path, self.name):
            for name, part in self.parts.items():
                part.from_disk(path / name, exclude=exclude)
            self._loaded(json.loads((path / "cfg").read_text(encoding="utf8")), exclude)
        return self

    def _loaded(self, cfg: Dict[str, Any], exclude: Iterable[str]) -> None:
        self._forget()
        if "cfg" in exclude:
            return
        self.cfg.update(cfg)
        if self.small.labels != self.large.labels:
            raise ValueError(f"The classifiers of '{self.name}' have different labels.")
        threshold = self.cfg["threshold"]
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise ValueError(
                f"The saved threshold of '{self.name}' is {threshold}, but it has to be from 0 to "
                "1: its file cfg is damaged."
            )


def _no_forward(model: Model, docs: List[Doc], is_train: bool) -> Any:
    raise TypeError("Call the component: it runs the two models of the cascade by itself.")
