"""The base class of the components: annotating a stream, updating, labels, and calibration."""

import logging
import math
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Optional,
    Set,
    Tuple,
)

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Model, Optimizer, set_dropout_rate

from ..bridge.listening import listeners, pass_nothing_back
from .calibration import Calibration, LossOfTemperature
from .encoding import run_upstream
from .notices import warn_of_optimizer, warn_of_unknown_labels
from .saving import SavedPipe
from .streams import LOOK_AHEAD_CHARS, LOOK_AHEAD_DOCS, blocks

if TYPE_CHECKING:
    import torch

    from ..bridge.shim import TorchShim

logger = logging.getLogger("spacy")

# The logit that a new label of a trained head starts with, a probability of 0.02: so low that the
# predictions of the other labels hardly change, and high enough to be learned.
NEW_LABEL = -4.0


class EncoderPipe(SavedPipe):
    """Base class of the components: a pipe whose model runs a torch encoder, usually under a head
    with a fixed set of labels.

    Subclasses set `vocab`, `model`, `name`, `cfg`, `attribute` and, with labels, `cfg["labels"]`
    and `calibration`; without labels, `n_columns` is the number of outputs. They define `predict`,
    `set_annotations`, `get_loss`, `initialize`, `training_batch` and `gold_labels`. With
    `calibration`, they define `calibration_loss`, `predict` hands its logits to
    `calibration.note`, and `score` calls `calibrate_to_noted`.

    `initialize` reads the examples with `read_examples`, resets `calibration` and `warned_of`,
    takes the labels, initializes the model with a `Y` of one column per output, and calls
    `announce`. `score` calls `warn_of_unknown_labels`, the factory `resolve_optimizer_variables`.
    """

    model: Model
    name: str
    cfg: Dict[str, Any]
    # The shared encoder has neither labels nor probabilities. All others have both.
    calibration: Optional[Calibration] = None
    # What the component annotates, as spaCy's factories name it in `assigns`.
    attribute: str
    # Whether a gold label that the component does not have would teach it something wrong.
    needs_all_labels = False
    # What logs of a part add to the name of the component that it is a part of.
    part: str = ""
    # The labels and settings that the user has been warned of; see `notices`.
    warned_of: FrozenSet[str] = frozenset()

    @property
    def shim(self) -> "TorchShim":
        """RETURNS (TorchShim): The bridge between the model and its torch modules."""
        return self.model.shims[0]  # type: ignore[return-value]

    @property
    def encoder(self) -> "torch.nn.Module":
        """RETURNS (Module): The torch encoder; without weights if the component listens.

        RAISES (ValueError): The component is not initialized.
        """
        return self.head.encoder

    @property
    def head(self) -> "torch.nn.Module":
        """RETURNS (Module): The torch module that classifies. Its `vectors` computes the input of
            its linear layer `output`, and `set_output` replaces the weights of that layer.

        RAISES (ValueError): The component is not initialized.
        """
        return self.shim.module

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels."""
        return tuple(self.cfg.get("labels", ()))

    @property
    def n_columns(self) -> int:
        """RETURNS (int): Number of columns of the head's output, given the labels."""
        return len(self.labels)

    @property
    def label_data(self) -> Optional[List[str]]:
        """RETURNS (Optional[List[str]]): The labels, as `spacy init labels` saves them."""
        return list(self.labels) if "labels" in self.cfg else None

    @property
    def temperature(self) -> float:
        """RETURNS (float): The number that logits are divided by."""
        return self.calibration.temperature

    @property
    def listens(self) -> bool:
        """RETURNS (bool): Whether the model reads vectors of tokens, either from another component
        or from a thinc model of its own."""
        return bool(self.model.layers)

    def __call__(self, doc: Doc) -> Doc:
        """Annotate a doc.

        doc (Doc): The doc.
        RETURNS (Doc): The same doc. An error goes to the error handler; if that does not raise, the
            doc comes back without this component's annotation. The base class would return None.
        """
        error_handler = self.get_error_handler()
        try:
            self.set_annotations([doc], self.predict([doc]))
        except Exception as error:
            error_handler(self.name, self, [doc], error)
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of docs.

        A batch is read as a whole, because texts of similar length are cheapest together.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs per batch. A batch ends earlier after 512 docs or a million
            characters.
        YIELDS (Doc): The docs in order.
        """
        # Before earlier components compute anything, above all spaCy's stock transformer.
        self.shim.take_one_thread_after_fork()
        error_handler = self.get_error_handler()
        read = blocks(iter(stream), *self.look_ahead(batch_size))
        for docs in self.batches(read):
            try:
                self.set_annotations(docs, self.predict(docs))
            except Exception as error:
                error_handler(self.name, self, docs, error)
            else:
                yield from docs

    def batches(self, docs: Iterator[List[Doc]]) -> Iterator[List[Doc]]:
        """RETURNS (Iterator[List[Doc]]): The same batches. On a device that computes while the host
        continues, the model has already started on the next one."""
        return self.shim.batches(docs, self.model.predict)

    def look_ahead(self, batch_size: int) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): The most docs and characters that `pipe` reads at once."""
        return min(batch_size, LOOK_AHEAD_DOCS), LOOK_AHEAD_CHARS

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch of examples.

        examples (Iterable[Example]): The examples. Those without annotation for this component
            are left out; a batch without any annotation changes nothing.
        drop (float): Dropout rate of the head, unless its own setting fixes another.
        sgd (Optional[Optimizer]): The optimizer, or None to accumulate gradients only.
        losses (Optional[Dict[str, float]]): Losses by component name, updated.
        RETURNS (Dict[str, float]): The losses.
        RAISES (ValueError): The loss or the gradient is not finite. The weights are as before.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        self.check_trains()
        warn_of_unknown_labels(self, examples, training=True)
        batch = self.training_batch(examples)
        if not batch:
            if self.listens:
                pass_nothing_back(self.model, [eg.predicted for eg in examples])
            return losses
        if not self.listens:
            # A listener has vectors for the whole batch; the loss leaves the others out.
            examples = batch
        self.announce()
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_scores = self.get_loss(examples, scores)
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss of '{self.name}' is {loss}, so training stops here, with the weights "
                "from before this batch. Lower [training.optimizer] learn_rate, or set the "
                f"encoder's precision to 'fp32'. The batch: {_excerpts(examples)}"
            )
        backprop(d_scores)
        if sgd:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def training_batch(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples that `update` learns from, given those of a
        batch."""
        raise NotImplementedError

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients.

        sgd (Optimizer): The optimizer.
        """
        warn_of_optimizer(self, sgd)
        learned = self.shim.n_backward > 0
        self.model.finish_update(sgd)
        if learned and self.calibration is not None:
            self.calibration.weights_changed()

    def rehearse(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, float]:
        """Not supported. The method of the base class would silently do nothing.

        RAISES (NotImplementedError): Always.
        """
        raise NotImplementedError(
            f"'{self.name}' can't rehearse. Mix examples of the earlier training data into your "
            f"updates, and leave it out: nlp.rehearse(…, exclude=['{self.name}'])."
        )

    def add_label(self, label: str) -> int:
        """Add a label. A trained head keeps its weights and gets new ones for the label, which
        starts out improbable.

        label (str): The label.
        RETURNS (int): 1, or 0 if the component already has the label.
        RAISES (ValueError): The label is empty or not a string, or the head can't grow.
        """
        if self.shim.n_labels is None or label in self.labels:
            return self.take_label(label)
        self.check_trains()
        self._check_label(label)
        mapping, bias = self.grown_head(label)
        self.take_label(label)
        self.shim.resize(mapping, bias)
        self.model.set_dim("nO", self.shim.n_labels, force=True)
        self.calibration.weights_changed()
        return 1

    def check_trains(self) -> None:
        """Check that the component can learn.

        RAISES (ValueError): Its encoder can only predict.
        """
        if not self.shim.trains:
            raise ValueError(
                f"'{self.name}' can't be trained: its encoder was exported to ONNX Runtime, which "
                "only predicts. Train the pipeline that it was packaged from, and package that."
            )

    def grown_head(self, label: str) -> Tuple[NDArray, NDArray]:
        """Describe a trained head with one more label.

        label (str): The new label.
        RETURNS (Tuple[ndarray, ndarray]): The new outputs (rows) as sums of the present ones
            (columns), and the numbers that are added to their biases.
        RAISES (ValueError): The head can't grow.
        """
        n_labels = len(self.labels)
        bias = numpy.zeros(n_labels + 1, dtype="f")
        bias[-1] = NEW_LABEL
        return numpy.eye(n_labels + 1, n_labels, dtype="f"), bias

    def take_label(self, label: str) -> int:
        """Add a label to the list; the head stays as it is.

        label (str): The label.
        RETURNS (int): 1, or 0 if the component already has the label.
        RAISES (ValueError): The label is empty or not a string, or the component has no labels.
        """
        self._check_label(label)
        if "labels" not in self.cfg:
            raise ValueError(f"'{self.name}' does not predict labels, so it can't take {label!r}.")
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def _check_label(self, label: str) -> None:
        if not isinstance(label, str) or not label:
            raise ValueError(
                f"A label has to be a string that is not empty; '{self.name}' was given {label!r}."
            )

    def gold_labels(self, examples: Iterable[Example]) -> Set[str]:
        """RETURNS (Set[str]): The labels that the examples annotate."""
        raise NotImplementedError

    def calibrate(self, examples: Iterable[Example], *, nlp: Optional[Language] = None) -> float:
        """Fit the temperature to annotated examples, which should not be training data.

        `spacy train` does this with dev. Nothing else changes the temperature: neither evaluation
        nor saving.

        examples (Iterable[Example]): The examples.
        nlp (Optional[Language]): The pipeline. Only needed if the component listens to another
            one, for its vectors.
        RETURNS (float): The temperature from now on.
        RAISES (ValueError): The component listens, and there is no pipeline, or it predicts no
            probabilities.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.calibrate")
        if self.calibration is None:
            raise ValueError(f"'{self.name}' predicts no probabilities that could be calibrated.")
        if listeners(self.model) and nlp is None:
            raise ValueError(
                f"'{self.name}' gets its vectors from another component: "
                "calibrate(examples, nlp=nlp) runs that as well."
            )
        docs = run_upstream(self, [eg.predicted.copy() for eg in examples], nlp)
        copies = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
        with self.calibration.noting_all():
            self.predict(docs)
            return self.calibrate_to_noted(copies)

    def calibrate_to_noted(self, examples: List[Example]) -> float:
        """Fit the temperature to the logits that were noted in `predict`; `score` has to call this.
        Outside of `spacy train`, evaluations note no logits, so nothing happens.

        examples (List[Example]): The predicted examples.
        RETURNS (float): The temperature from now on.
        """
        found, logits = self.calibration.take_noted(examples)
        return self.calibration.fit(self.calibration_loss(found, logits) if found else None)

    def calibration_loss(
        self, examples: List[Example], logits: List[Any]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature.

        examples (List[Example]): Predicted examples.
        logits (List[Any]): The logits that `predict` has noted for each.
        RETURNS (Optional[Callable[[float], float]]): The loss of the gold values at a temperature,
            or None if nothing is annotated.
        """
        raise NotImplementedError

    def announce(self, texts: Optional[Iterator[str]] = None) -> None:
        """Log what is going to train, once.

        texts (Optional[Iterator[str]]): The training texts, if they are at hand.
        """
        if self.shim.announced:
            return
        self.shim.announced = True
        if logger.isEnabledFor(logging.INFO):
            overview = self.shim.overview(texts)
            logger.info("What trains in '%s'%s:\n%s", self.name, self.part, overview)

    def after_load(self) -> None:
        """Check the loaded component, and forget everything that belongs to earlier weights.

        RAISES (ValueError): The loaded component does not fit the config.
        """
        labels, n_rows = self.labels, self.shim.n_labels
        if len(set(labels)) != len(labels):
            raise ValueError(f"'{self.name}' has a label twice: {', '.join(labels)}.")
        if n_rows is not None and n_rows != self.n_columns:
            raise ValueError(
                f"'{self.name}' has {len(labels)} labels ({', '.join(labels[:9])}), which need "
                f"{self.n_columns} rows of its head, but the saved head has {n_rows}: settings and "
                "weights belong to different models."
            )
        if self.calibration is not None:
            self.calibration.after_load(self.name)


def _excerpts(examples: List[Example], n: int = 5) -> str:
    texts = [repr(eg.reference.text[:60]) for eg in islice(examples, n)]
    more = f" and {len(examples) - n} more" if len(examples) > n else ""
    return ", ".join(texts) + more
