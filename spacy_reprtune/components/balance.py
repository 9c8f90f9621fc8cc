"""Balance the influence of several heads on the encoder that they share."""

import math
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy
from thinc.types import Floats2d

# Decay of the mean of squared norms: about the last hundred steps count.
DECAY = 0.99
# A head whose gradient is smaller than the largest one by more than this factor has learned what it
# can. The rest of its gradient is noise, which is not worth amplifying further.
LIMIT = 100.0


class GradientBalance:
    """Weights that make the gradients of all heads equally large on average over steps.

    The gradients that heads send back differ by factors of ten, depending on losses and labels.
    Adam divides by the size of their sum, so the smaller gradient is lost in the noise of the
    larger one, and its head hardly moves the encoder. With these weights every head has the same
    influence in the batches that it learns from.

    As in GradNorm (Chen et al. 2018, section 3), sizes are compared at the last shared layer, here
    an identity on top of the encoder. Unlike in GradNorm, weights are computed, not learned.
    """

    def __init__(self) -> None:
        """Start without having seen any gradient."""
        # For each head by name: the head, its mean of squared norms, and their number.
        self._known: Dict[str, Tuple[Any, float, int]] = {}

    def weights(self, norms: Mapping[str, float], heads: Mapping[str, Any]) -> Dict[str, float]:
        """Take the gradients of a batch into account.

        norms (Mapping[str, float]): Norms of the gradients, for the heads that sent one.
        heads (Mapping[str, Any]): All current heads. The norms of other heads are forgotten.
        RETURNS (Dict[str, float]): Weights of the heads in `norms`. The head with the largest
            mean has 1.0; none has more than `LIMIT`.
        """
        self._known = {
            name: known for name, known in self._known.items() if heads.get(name) is known[0]
        }
        for name, norm in norms.items():
            # Skip norms that are zero, infinite or NaN.
            if 0.0 < norm < math.inf:
                _, square, steps = self._known.get(name, (None, 0.0, 0))
                square = DECAY * square + (1.0 - DECAY) * norm**2
                self._known[name] = heads[name], square, steps + 1
        usual = {
            # Corrected for the zero that the mean starts with, as in Adam.
            name: math.sqrt(square / (1.0 - DECAY**steps))
            for name, (_, square, steps) in self._known.items()
        }
        largest = max(usual.values(), default=1.0)
        return {name: min(largest / usual.get(name, largest), LIMIT) for name in norms}


def gradient_norm(vectors: Sequence[Floats2d], gradients: Sequence[Floats2d]) -> float:
    """Measure a gradient where it enters the encoder.

    vectors (Sequence[Floats2d]): The encoder's output, one matrix per doc, shape (n_tokens, width).
    gradients (Sequence[Floats2d]): The gradient of the output, in the same shapes.
    RETURNS (float): The norm of the gradient of a linear layer, an identity, on top of the encoder.
    """
    return float(numpy.linalg.norm(numpy.concatenate(vectors).T @ numpy.concatenate(gradients)))
