"""How much each of several heads moves the encoder that they share."""

import math
from typing import Dict, Mapping, Sequence

import numpy
from thinc.types import Floats2d

# Of the mean of squared norms: some hundred steps count.
DECAY = 0.99


class GradientBalance:
    """Weights that make the gradients of all heads equally large, in the mean over steps.

    What heads send back differs by factors of ten, with their losses and their labels. Adam divides
    by the size of the sum: the smaller gradient is lost in the noise of the larger, and its head
    hardly moves the encoder. With these weights each head has as much to say.

    As in GradNorm (Chen et al. 2018, section 3) sizes are compared at the last shared layer, here
    an identity behind the encoder. Weights follow from them instead of being learned.
    """

    def __init__(self) -> None:
        """Begin without any gradient."""
        self._squares: Dict[str, float] = {}
        self._steps: Dict[str, int] = {}

    def weights(self, norms: Mapping[str, float]) -> Dict[str, float]:
        """Take the gradients of a batch into account.

        norms (Mapping[str, float]): The norm of each head's gradient, of the heads that have one.
        RETURNS (Dict[str, float]): The weights of these heads. Their geometric mean over all heads
            is 1, as is the weight of a head that is alone.
        """
        for name, norm in norms.items():
            # What is nothing, or no number, tells nothing about the next batch.
            if not 0.0 < norm < math.inf:
                continue
            old = self._squares.get(name, 0.0)
            self._squares[name] = DECAY * old + (1.0 - DECAY) * norm**2
            self._steps[name] = self._steps.get(name, 0) + 1
        usual = {
            # As Adam corrects for the zeros that its means begin with.
            name: math.log(square / (1.0 - DECAY ** self._steps[name])) / 2.0
            for name, square in self._squares.items()
        }
        centre = sum(usual.values()) / max(len(usual), 1)
        return {name: math.exp(centre - usual.get(name, centre)) for name in norms}


def gradient_norm(vectors: Sequence[Floats2d], gradients: Sequence[Floats2d]) -> float:
    """Measure a gradient where it enters the encoder.

    vectors (Sequence[Floats2d]): The encoder's output, a matrix a doc, shape (n_tokens, width).
    gradients (Sequence[Floats2d]): The gradient of it.
    RETURNS (float): The norm of the gradient of a linear layer, an identity, on top of the encoder.
    """
    return float(numpy.linalg.norm(numpy.concatenate(vectors).T @ numpy.concatenate(gradients)))
