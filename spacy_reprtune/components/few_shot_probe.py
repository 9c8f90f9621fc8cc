"""The linear probe beside a few-shot classifier: both are scored on dev, and the better is kept."""

import logging
from typing import Optional

logger = logging.getLogger("spacy")


class ProbeOnDev:
    """Compares the evaluations of `spacy train` with the one before the encoder moved.

    With a warm-up, the learning rate of the first step is 0, so the first evaluation on dev is that
    of a linear probe: a head on the vectors of the untouched encoder. It is a candidate for
    `model-best`, like every later one.
    """

    def __init__(self) -> None:
        """Start with an encoder that has not moved."""
        self._moved = False
        self._score: Optional[float] = None
        self._warned = False

    def step(self, rate: float) -> None:
        """Note a step of the encoder.

        rate (float): Learning rate of the step.
        """
        self._moved = self._moved or rate > 0.0

    def compare(self, name: str, score: Optional[float]) -> None:
        """Log the score of an evaluation beside the score of the probe.

        name (str): Name of the component.
        score (Optional[float]): Score on dev, None if dev has no annotation.
        """
        if score is None:
            return
        if not self._moved:
            self._score = score
            logger.info(
                "'%s': a linear probe on the untouched encoder has %.3f on dev.", name, score
            )
        elif self._score is not None:
            logger.info("'%s' has %.3f on dev, and the probe %.3f.", name, score, self._score)
            if score < self._score and not self._warned:
                self._warned = True
                logger.warning(
                    "'%s' has %.3f on dev, below the linear probe on the untouched encoder "
                    "(%.3f). model-best keeps the better of the two. Fewer steps or a lower rate "
                    "may help; unfreeze = 'none' fits only the probe.",
                    name,
                    score,
                    self._score,
                )
