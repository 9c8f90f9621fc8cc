"""Time an encoder on this machine, and estimate how long each recipe takes."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

if TYPE_CHECKING:
    import torch

# Passes over the training texts, and the fewest steps that warm-up and decay need.
EPOCHS = 3
MIN_STEPS = 120
BATCH = 16
# Documents per batch of the shipped config for labeled sentences.
SENTENCES_BATCH = 4
EVALUATIONS = 6
# SetFit: texts per batch and steps of the shipped config, which suit few texts.
SETFIT_BATCH = 32
SETFIT_STEPS = 20
# The learning rates of the recipes suit an encoder of up to 512 columns. Larger ones are usually
# tuned at 2e-5 to 5e-5 (Devlin et al. 2019, appendix A.3), the largest at the lower end.
_RATE_FACTORS = ((1024, 0.2), (768, 0.4), (0, 1.0))
# The gradient of a matrix product takes two products, so a step costs three forward passes.
_STEP = 3
# Seconds for which the encoder is timed.
_TIMED = 3.0


@dataclass(frozen=True)
class Speed:
    """An encoder on this machine.

    rate (float): Pieces per second, forward.
    depth (int): Blocks of the encoder.
    width (int): Columns of its vectors.
    weights (int): Number of its weights.
    device (str): Device that it ran on.
    """

    rate: float
    depth: int
    width: int
    weights: int
    device: str


def measure_speed(texts: Sequence[str], encoder: str, device: "torch.device") -> Speed:
    """Time an encoder on some texts, with the windows and batches of training.

    The fastest pass of each batch counts, so that other work on the machine matters little.

    texts (Sequence[str]): Some of the texts.
    encoder (str): Name of the encoder.
    device (torch.device): Where to run it.
    RETURNS (Speed): Speed and size of the encoder.
    RAISES (ValueError): There is no such encoder, or no text to time it on.
    """
    import torch

    from ..encoder.load import load_pretrained, resolve_encoder
    from ..encoder.module import Encoder, EncoderSettings
    from ..encoder.pieces import PieceTokenizer

    path = resolve_encoder(encoder)
    settings = EncoderSettings(name=encoder, cache_mb=0)
    tokenizer = PieceTokenizer.from_directory(path)
    model = Encoder(load_pretrained(path), tokenizer, settings, device)
    pieces = [p for p in model.tokenize(texts) if len(p)]
    if not pieces:
        raise ValueError("The texts of train have no word to time the encoder with.")
    fastest: Dict[int, Tuple[float, int]] = {}
    begin = time.perf_counter()
    with torch.no_grad():
        # The first pass warms up.
        for _ in range(1000):
            start = time.perf_counter()
            for k, (batch, vectors) in enumerate(model.encode(pieces)):
                # Reading a value waits until the device has computed it.
                vectors.flatten()[0].item()
                now = time.perf_counter() - start, sum(batch.lengths)
                fastest[k] = min(fastest.get(k, now), now)
                start = time.perf_counter()
            if time.perf_counter() - begin > _TIMED:
                break
    seconds = sum(spent for spent, _ in fastest.values())
    rate = sum(count for _, count in fastest.values()) / seconds
    weights = sum(weight.numel() for weight in model.model.parameters())
    return Speed(rate, model.depth, model.width, weights, str(model.device))


def estimate(report: Dict[str, Any], speed: Speed, recipes: List[str]) -> Dict[str, float]:
    """Estimate how long each recipe takes, from the encoder's measured speed.

    report (Dict[str, Any]): Result of `check`.
    speed (Speed): Speed of the encoder.
    recipes (List[str]): Names of recipes.
    RETURNS (Dict[str, float]): Recipe to seconds.
    """
    # Two special pieces per text.
    mean = report["pieces"].get("mean", 0.0) + 2
    n_texts = report["splits"]["train"]["texts"]
    train = n_texts * mean / speed.rate
    dev = report["splits"]["dev"]["texts"] * mean / speed.rate

    def all_blocks(batch: int) -> float:
        passes = steps_for(n_texts, batch) / math.ceil(n_texts / batch)
        return passes * _STEP * train + EVALUATIONS * dev

    joint = all_blocks(BATCH)
    last_blocks = train + dev + joint * 2 / speed.depth
    setfit_passes = setfit_steps(n_texts, speed.width) * SETFIT_BATCH / n_texts
    costs = {
        # The frozen blocks compute train and dev once.
        "frozen": train + dev,
        # The head is fitted to all texts before each of the two evaluations.
        "setfit": setfit_passes * _STEP * train + 2 * (train + dev),
        "last-blocks": last_blocks,
        "joint": joint,
        "multitask": joint,
        "sentences": all_blocks(SENTENCES_BATCH),
        "overlapping": last_blocks,
    }
    return {recipe: round(costs[recipe], 1) for recipe in recipes}


def steps_for(n_texts: int, batch: int) -> int:
    """RETURNS (int): Steps of a training, from the number of texts and of texts per batch."""
    return max(MIN_STEPS, EPOCHS * math.ceil(n_texts / batch))


def rate_factor(width: int) -> float:
    """RETURNS (float): What to multiply the learning rates of the recipes by, given the columns of
    the encoder."""
    return next(factor for least, factor in _RATE_FACTORS if width >= least)


def setfit_steps(n_texts: int, width: int) -> int:
    """RETURNS (int): Steps of SetFit that show each text about as often as the shipped config, and
    more often at a lower learning rate, or else the encoder has hardly moved."""
    steps = max(SETFIT_STEPS, EPOCHS * math.ceil(n_texts / SETFIT_BATCH))
    return round(steps / rate_factor(width))
