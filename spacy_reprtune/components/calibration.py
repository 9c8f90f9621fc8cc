"""The temperature of a component: where it comes from, and when it is fitted."""

import math
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import srsly
from spacy.tokens import Doc
from spacy.training import Example

from .spacy_calls import is_training_evaluation

LossOfTemperature = Callable[[float], float]


class Calibration:
    """The number that logits are divided by, so that probabilities mean what they say.

    It is fixed by the config, or fitted to annotated examples at two moments only: when
    `spacy train` evaluates on dev, and when a user calls `calibrate`. The first case needs no
    second pass: `note` keeps the logits of the evaluation, and `score` asks for them.
    """

    def __init__(self, cfg: Dict[str, Any], fixed: Optional[float] = None) -> None:
        """Prepare the temperature of a component.

        cfg (Dict[str, Any]): The component's `cfg`, which is saved. A fitted temperature is kept
            there, under "temperature".
        fixed (Optional[float]): The temperature that the config gives, or None to fit it.
        RAISES (ValueError): The fixed temperature is not above 0.
        """
        if fixed is not None and not fixed > 0.0:
            raise ValueError(
                f"temperature = {fixed}. Use a number above 0, or null to fit it to dev."
            )
        self.cfg = cfg
        self.fixed = fixed
        # Logits by doc; None if there is nothing to fit, because no weight has changed.
        self._noted: Optional[WeakKeyDictionary[Doc, Any]] = None
        # Whether logits are noted outside of `spacy train` as well.
        self._always = False
        cfg.setdefault("temperature", 1.0)

    @property
    def temperature(self) -> float:
        """RETURNS (float): The number that logits are divided by."""
        return self.cfg["temperature"] if self.fixed is None else self.fixed

    def fit(self, loss: Optional[LossOfTemperature]) -> float:
        """Set the temperature to the one with the lowest loss, unless the config fixes it.

        loss (Optional[Callable[[float], float]]): The loss of gold values at a temperature, or
            None if there are no gold values.
        RETURNS (float): The temperature from now on.
        """
        from ..heads.calibration import fit_temperature

        if loss is not None and self.fixed is None:
            # srsly reads 2.5828 as 2.5827999999999998: use what a saved pipeline will read.
            text = srsly.json_dumps(round(fit_temperature(loss), 4))
            self.cfg["temperature"] = srsly.json_loads(text)
        return self.temperature

    def reset(self) -> None:
        """Start again from a temperature of 1."""
        self.cfg["temperature"] = 1.0
        self.forget_noted()

    def after_load(self, name: str) -> None:
        """Check a temperature that was loaded, and forget what belongs to earlier weights.

        name (str): Name of the component, for errors.
        RAISES (ValueError): The temperature is not a number above 0.
        """
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(
                f"The saved temperature of '{name}' is {self.temperature}, but has to be above 0: "
                "its file cfg is damaged."
            )
        self.forget_noted()

    def weights_changed(self) -> None:
        """Get ready for the next evaluation of `spacy train`: `note` what is predicted in it."""
        self._noted, self._always = WeakKeyDictionary(), False

    def note_all(self) -> None:
        """From now on, `note` whatever is predicted."""
        self._noted, self._always = WeakKeyDictionary(), True

    def forget_noted(self) -> None:
        """Forget what was noted, and note nothing until the next update."""
        self._noted = None

    def note(self, docs: Sequence[Doc], logits: Iterable[Any]) -> None:
        """Keep the logits of docs, as long as these live, if the temperature is to be fitted.

        docs (Sequence[Doc]): The docs.
        logits (Iterable[Any]): The logits of each doc.
        """
        if self._noted is not None and (self._always or is_training_evaluation()):
            self._noted.update(zip(docs, logits, strict=True))

    def take_noted(self, examples: Iterable[Example]) -> Tuple[List[Example], List[Any]]:
        """Hand out the logits that were noted, and forget them.

        examples (Iterable[Example]): Predicted examples.
        RETURNS (Tuple[List[Example], List[Any]]): The examples whose predicted docs have logits,
            and the logits of each.
        """
        noted: Any = self._noted
        if not noted:
            return [], []
        self.forget_noted()
        found = [eg for eg in examples if eg.predicted in noted]
        return found, [noted[eg.predicted] for eg in found]

    def __reduce__(self) -> Tuple[Callable[..., "Calibration"], Tuple[Any, ...]]:
        """Copies and the workers of `nlp.pipe` get the temperature, and none of the logits."""
        return Calibration, (self.cfg, self.fixed)
