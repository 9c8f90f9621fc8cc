"""How much each of several heads moves the encoder that they share."""

import math
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy
from thinc.types import Floats2d

# Of the mean of squared norms: some hundred steps count.
DECAY = 0.99
# A head whose gradient is smaller than the largest by more than this has learned what it can: what
# is left is noise, and may fade.
LIMIT = 100.0


class GradientBalance:
    """Weights that make the gradients of all heads equally large, in the mean over steps.

    What heads send back differs by factors of ten, with their losses and their labels. Adam divides
    by the size of the sum: the smaller gradient is lost in the noise of the larger, and its head
    hardly moves the encoder. With these weights each head has as much to say in a batch that it
    learns from.

    As in GradNorm (Chen et al. 2018, section 3) sizes are compared at the last shared layer, here
    an identity behind the encoder. Weights follow from them instead of being learned.
    """

    def __init__(self) -> None:
        """Begin without any gradient."""
        # Of each head by name: the head, its mean of squared norms, and of how many.
        self._known: Dict[str, Tuple[Any, float, int]] = {}

    def weights(self, norms: Mapping[str, float], heads: Mapping[str, Any]) -> Dict[str, float]:
        """Take the gradients of a batch into account.

        norms (Mapping[str, float]): The norm of each head's gradient, of the heads that have one.
        heads (Mapping[str, Any]): All heads there are now. What is known of others is forgotten.
        RETURNS (Dict[str, float]): The weights of the heads in `norms`. Whose gradient is the
            largest, as a rule, has 1; nobody has more than `LIMIT`.
        """
        self._known = {
            name: known for name, known in self._known.items() if heads.get(name) is known[0]
        }
        for name, norm in norms.items():
            # What is nothing, or no number, tells nothing about the next batch.
            if 0.0 < norm < math.inf:
                _, square, steps = self._known.get(name, (None, 0.0, 0))
                square = DECAY * square + (1.0 - DECAY) * norm**2
                self._known[name] = heads[name], square, steps + 1
        usual = {
            # As Adam corrects for the zeros that its means begin with.
            name: math.sqrt(square / (1.0 - DECAY**steps))
            for name, (_, square, steps) in self._known.items()
        }
        largest = max(usual.values(), default=1.0)
        return {name: min(largest / usual.get(name, largest), LIMIT) for name in norms}


def gradient_norm(vectors: Sequence[Floats2d], gradients: Sequence[Floats2d]) -> float:
    """Measure a gradient where it enters the encoder.

    vectors (Sequence[Floats2d]): The encoder's output, a matrix a doc, shape (n_tokens, width).
    gradients (Sequence[Floats2d]): The gradient of it.
    RETURNS (float): The norm of the gradient of a linear layer, an identity, on top of the encoder.
    """
    return float(numpy.linalg.norm(numpy.concatenate(vectors).T @ numpy.concatenate(gradients)))
