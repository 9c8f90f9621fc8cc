"""The temperature and the thresholds of a component, and when they are fitted."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import numpy
import srsly
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from .spacy_calls import is_training_evaluation

LossOfTemperature = Callable[[float], float]


# Limits of a temperature. Fitted ones are well within them. Beyond them, probabilities are rounded
# to 0, 1 or NaN.
LOWEST, HIGHEST = 0.001, 1000.0
_ALLOWED = f"Use a number from {LOWEST:g} to {HIGHEST:,.0f}"


def is_temperature(value: Any) -> bool:
    """RETURNS (bool): Whether logits can be divided by a value."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and LOWEST <= value <= HIGHEST


class NotedLogits:
    """Logits of predicted docs, kept until something is fitted to them, as long as the docs live.

    Copies and workers of `nlp.pipe` get none of them.
    """

    def __init__(self) -> None:
        """Note nothing until weights have changed."""
        # Logits by doc; None if there is nothing to fit, because no weight has changed.
        self._noted: Optional[WeakKeyDictionary[Doc, Any]] = None
        # Whether logits are noted outside of `spacy train` as well.
        self._always = False

    def __reduce__(self) -> Tuple[Callable[..., "NotedLogits"], Tuple[Any, ...]]:
        """See the class."""
        return type(self), ()

    @property
    def noting(self) -> bool:
        """RETURNS (bool): Whether `note` keeps what is predicted now."""
        return self._noted is not None and (self._always or is_training_evaluation())

    def weights_changed(self) -> None:
        """Get ready for the next evaluation of `spacy train`: `note` what is predicted in it."""
        self._noted, self._always = WeakKeyDictionary(), False

    @contextmanager
    def noting_all(self) -> Iterator[None]:
        """Let `note` keep whatever is predicted within the context. Forget it at the end, or after
        an error, so that a later evaluation fits nothing to it."""
        self._noted, self._always = WeakKeyDictionary(), True
        try:
            yield
        finally:
            self.forget_noted()

    def forget_noted(self) -> None:
        """Forget what was noted, and note nothing until the next update."""
        self._noted, self._always = None, False

    def note(self, docs: Sequence[Doc], logits: Iterable[Any]) -> None:
        """Keep the logits of docs, as long as these live, if something is to be fitted to them.

        docs (Sequence[Doc]): The docs.
        logits (Iterable[Any]): The logits of each doc.
        """
        if self._noted is not None and self.noting:
            self._noted.update(zip(docs, logits, strict=True))

    def take_noted(self, examples: Iterable[Example]) -> Tuple[List[Example], List[Any]]:
        """Return the noted logits, and forget them.

        examples (Iterable[Example]): Predicted examples.
        RETURNS (Tuple[List[Example], List[Any]]): The examples whose predicted docs have logits,
            and the logits of each.
        """
        noted: Any = self._noted
        if noted or self._always:
            self.forget_noted()
        if not noted:
            return [], []
        found = [eg for eg in examples if eg.predicted in noted]
        return found, [noted[eg.predicted] for eg in found]


class Calibration(NotedLogits):
    """The temperature that logits are divided by to calibrate probabilities, and the thresholds.

    The temperature is fixed by the config, or fitted to annotated examples on two occasions only:
    when `spacy train` evaluates on dev, and when a user calls `calibrate`. The first case needs no
    second pass: `note` keeps the logits of the evaluation, and `score` asks for them.

    Thresholds belong to one set of weights and one temperature, so they are dropped when either
    changes.
    """

    def __init__(self, cfg: Dict[str, Any], fixed: Optional[float] = None) -> None:
        """Prepare the temperature of a component.

        cfg (Dict[str, Any]): The component's `cfg`, which is saved. A fitted temperature is kept
            there, under "temperature".
        fixed (Optional[float]): The temperature that the config gives, or None to fit it.
        RAISES (ValueError): The fixed temperature is out of range.
        """
        super().__init__()
        if fixed is not None and not is_temperature(fixed):
            raise ValueError(f"temperature = {fixed}. {_ALLOWED}, or null to fit it on dev.")
        self.cfg = cfg
        self.fixed = fixed
        cfg.setdefault("temperature", 1.0)
        # Set by `reprtune threshold`: {"precision": …, "labels": {label: score or None}}.
        cfg.setdefault("thresholds", None)

    @property
    def temperature(self) -> float:
        """RETURNS (float): The number that logits are divided by."""
        return self.cfg["temperature"] if self.fixed is None else self.fixed

    def limits(self, labels: Sequence[str]) -> Optional[NDArray]:
        """Look up the thresholds.

        labels (Sequence[str]): The labels.
        RETURNS (Optional[ndarray]): The lowest score at which each label reaches its precision,
            infinite if it never does; None without thresholds.
        """
        if self.cfg["thresholds"] is None:
            return None
        found = self.cfg["thresholds"]["labels"]
        limits = [found.get(label) for label in labels]
        return numpy.array([numpy.inf if limit is None else limit for limit in limits])

    def set_thresholds(self, precision: float, limits: Mapping[str, Optional[float]]) -> None:
        """Use thresholds in predictions from now on.

        precision (float): The precision that they reach.
        limits (Mapping[str, Optional[float]]): Threshold of each label, or None if the label never
            reaches the precision.
        """
        self.cfg["thresholds"] = {"precision": precision, "labels": dict(limits)}

    def fit(self, loss: Optional[LossOfTemperature]) -> float:
        """Set the temperature to the one with the lowest loss, unless the config fixes it.

        loss (Optional[Callable[[float], float]]): The loss of gold values at a temperature, or
            None if there are no gold values.
        RETURNS (float): The temperature from now on.
        """
        from ..heads.calibration import fit_temperature

        if loss is not None and self.fixed is None:
            # srsly reads 2.5828 as 2.5827999999999998, so use what a saved pipeline will read.
            text = srsly.json_dumps(round(fit_temperature(loss), 4))
            self.cfg["temperature"] = srsly.json_loads(text)
            self.cfg["thresholds"] = None
        return self.temperature

    def reset(self) -> None:
        """Start again from a temperature of 1, without thresholds."""
        self.cfg["temperature"] = 1.0
        self.cfg["thresholds"] = None
        self.forget_noted()

    def after_load(self, name: str) -> None:
        """Check what was loaded, and forget what belongs to earlier weights.

        name (str): Name of the component, for errors.
        RAISES (ValueError): The temperature is out of range, or the thresholds are damaged.
        """
        if not is_temperature(self.temperature):
            raise ValueError(
                f"The saved temperature of '{name}' is {self.temperature!r}: its file cfg is "
                f"damaged. {_ALLOWED}."
            )
        if not _are_thresholds(self.cfg["thresholds"]):
            raise ValueError(
                f"The saved thresholds of '{name}' are {self.cfg['thresholds']!r}: its file cfg is "
                "damaged. Fit them again with `python -m spacy reprtune threshold`."
            )
        self.forget_noted()

    def weights_changed(self) -> None:
        """Get ready for the next evaluation of `spacy train`: `note` what is predicted in it."""
        self.cfg["thresholds"] = None
        super().weights_changed()

    def __reduce__(self) -> Tuple[Callable[..., "Calibration"], Tuple[Any, ...]]:
        """Copies and workers of `nlp.pipe` get the temperature, but no logits."""
        return Calibration, (self.cfg, self.fixed)


def _are_thresholds(value: Any) -> bool:
    if value is None:
        return True
    labels = value.get("labels") if isinstance(value, dict) else None
    if not isinstance(labels, dict):
        return False
    limits = [limit for limit in labels.values() if limit is not None]
    numbers = all(isinstance(limit, float) and 0.0 <= limit <= 1.0 for limit in limits)
    return numbers and isinstance(value.get("precision"), float)
