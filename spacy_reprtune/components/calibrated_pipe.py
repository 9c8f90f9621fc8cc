"""A pipe whose probabilities are calibrated when it is saved."""

from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Sequence, Union
from weakref import WeakKeyDictionary

from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import SimpleFrozenList
from thinc.api import Optimizer

from .encoder_pipe import EncoderPipe

LossOfTemperature = Callable[[float], float]


class CalibratedPipe(EncoderPipe):
    """Base class of components with a temperature.

    `spacy train` evaluates on dev, then saves. The first evaluation after an update keeps the
    logits that it has computed anyway, and the next `to_disk` fits the temperature to them and to
    the gold values, so what is saved as model-best has the temperature of its own weights and its
    own dev evaluation. Evaluation by itself changes nothing.

    Subclasses hand their logits to `keep_logits` in `predict`, call `keep_evaluation` in `score`,
    and define `temperature_loss`.
    """

    # Logits of docs that are alive, since the last update; None outside of training.
    _dev_logits: Optional["WeakKeyDictionary[Doc, Any]"] = None
    _dev_loss: Optional[LossOfTemperature] = None

    @property
    def temperature(self) -> float:
        """RETURNS (float): What logits are divided by."""
        return self.cfg.get("temperature", 1.0)

    def temperature_loss(
        self, examples: List[Example], logits: List[Any]
    ) -> Optional[LossOfTemperature]:
        """Prepare to fit the temperature.

        examples (List[Example]): Evaluated examples.
        logits (List[Any]): What `keep_logits` got for each.
        RETURNS (Optional[Callable[[float], float]]): The loss of the gold values at a temperature,
            or None where there is nothing to fit it to.
        """
        raise NotImplementedError

    def keep_logits(self, docs: Sequence[Doc], logits: Iterable[Any]) -> None:
        """Note what was predicted, if the weights have changed since the last evaluation.

        docs (Sequence[Doc]): The docs.
        logits (Iterable[Any]): What `temperature_loss` needs of each.
        """
        if self._dev_logits is not None:
            self._dev_logits.update(zip(docs, logits, strict=True))

    def keep_evaluation(self, examples: List[Example]) -> None:
        """Note the first evaluation since the last update.

        examples (List[Example]): The examples, whose predicted docs went through `predict`.
        """
        logits, self._dev_logits = self._dev_logits, None
        if logits:
            pairs = [(eg, logits[eg.predicted]) for eg in examples if eg.predicted in logits]
            if pairs:
                loss = self.temperature_loss(*map(list, zip(*pairs, strict=True)))
                self._dev_loss = None if loss is None else _Loss(loss)

    def calibrate(self) -> float:
        """Fit the temperature to the first evaluation since the last update, if there was one.

        RETURNS (float): The temperature from now on.
        """
        from ..heads.calibration import fit_temperature

        loss, self._dev_loss = self._dev_loss, None
        if loss is not None:
            self.cfg["temperature"] = round(fit_temperature(loss), 4)
        return self.temperature

    def forget_calibration(self) -> None:
        """Begin anew, with a temperature of 1."""
        self.cfg["temperature"] = 1.0
        self._dev_logits = self._dev_loss = None

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients.

        sgd (Optimizer): The optimizer.
        """
        super().finish_update(sgd)
        self._dev_logits, self._dev_loss = _Logits(), None

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_disk` wrote; see `EncoderPipe.from_disk`."""
        self._dev_logits = self._dev_loss = None
        return super().from_disk(path, exclude=exclude)

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_bytes` gave; see `TrainablePipe.from_bytes`."""
        self._dev_logits = self._dev_loss = None
        return super().from_bytes(data, exclude=exclude)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Calibrate, then save; see `EncoderPipe.to_disk`.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        """
        self.calibrate()
        super().to_disk(path, exclude=exclude)

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Calibrate, then save; see `TrainablePipe.to_bytes`.

        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (bytes): The component.
        """
        self.calibrate()
        return super().to_bytes(exclude=exclude)


class _StaysHere:
    """Not handed to the workers of `nlp.pipe`, which only predict."""

    def __reduce__(self):
        return _nothing, ()


class _Logits(_StaysHere, WeakKeyDictionary):
    """Logits by doc."""


class _Loss(_StaysHere):
    """A loss of the temperature."""

    def __init__(self, loss: LossOfTemperature) -> None:
        self.loss = loss

    def __call__(self, temperature: float) -> float:
        return self.loss(temperature)


def _nothing() -> None:
    return None
