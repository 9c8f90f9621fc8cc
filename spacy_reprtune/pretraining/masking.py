"""Which pieces are masked: a pure function of seed, epoch and place in the corpus.

There is no random state: a piece's place is hashed. So the masks of a step are the same in any
batch, on any number of processes, and after a restart. The host does that: how many pieces are
masked decides about shapes, and to ask a device for it is to wait until it has nothing left to do.
"""

from dataclasses import dataclass
from typing import Sequence

import torch

from ..encoder.transfer import transfer

# 80 % of the chosen pieces become the mask, 10 % a random piece, 10 % stay (Devlin et al. 2019,
# BERT).
MASKED, REPLACED = 0.8, 0.1
EVAL_RATE = 0.15
EVAL_SEED = 0x5EED
# Bits that each decision uses, so rates are multiples of 2**-24.
_BITS = 24
_LOW64 = (1 << 64) - 1
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Masked:
    """A masked batch.

    ids (Tensor): The pieces to feed, shape (n,).
    positions (Tensor): Where to predict, shape (n_masked,).
    labels (Tensor): The pieces to predict there, shape (n_masked,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "Masked":
        """RETURNS (Masked): The batch on a device."""
        arrays = [self.ids.numpy(), self.positions.numpy(), self.labels.numpy()]
        return Masked(*transfer(arrays, device))


class Masker:
    """Masks batches for one tokenizer."""

    def __init__(
        self,
        *,
        mask_id: int,
        special_ids: Sequence[int],
        vocab_size: int,
        rate: float,
        whole_words: bool,
    ) -> None:
        """Prepare to mask.

        mask_id (int): Id of the mask piece.
        special_ids (Sequence[int]): Pieces that are never masked and never replace another piece.
        vocab_size (int): Ids below this are pieces.
        rate (float): Share of the pieces to mask.
        whole_words (bool): Whether the pieces of a word are masked together.
        """
        self.mask_id, self.whole_words = mask_id, whole_words
        self.rate = rate
        self.ordinary = torch.ones(vocab_size, dtype=torch.bool)
        self.ordinary[torch.as_tensor(list(special_ids), dtype=torch.int64)] = False
        self.choices = self.ordinary.nonzero()[:, 0]

    def __call__(
        self, ids: torch.Tensor, index: torch.Tensor, words: torch.Tensor, *key: int
    ) -> Masked:
        """Mask a batch.

        ids, index, words (Tensor): As in `Batch`.
        *key (int): Numbers that select the masks, such as seed and epoch.
        RETURNS (Masked): The masked batch.
        """
        unit = words if self.whole_words else index
        wanted = bits_of(hashed(unit, *key, 0)) < threshold(self.rate)
        chosen = wanted & (index >= 0) & self.ordinary[ids]
        positions = chosen.nonzero()[:, 0]
        labels, place = ids[positions], index[positions]
        fate = bits_of(hashed(place, *key, 1))
        other = self.choices[(hashed(place, *key, 2) & ((1 << 62) - 1)) % len(self.choices)]
        fed = torch.where(fate < threshold(MASKED + REPLACED), other, labels)
        fed = torch.where(fate < threshold(MASKED), self.mask_id, fed)
        return Masked(ids.index_copy(0, positions, fed), positions, labels)


def hashed(values: torch.Tensor, *key: int) -> torch.Tensor:
    """Hash integers (Steele et al. 2014, Fast splittable pseudorandom number generators: the
    finalizer of SplitMix64).

    values (Tensor): int64, any shape.
    *key (int): Numbers that select the hash function.
    RETURNS (Tensor): int64 of the same shape; all bits can be used.
    """
    x = values * _signed(_GOLDEN) + _signed(_state_of(key))
    x = (x ^ _shift(x, 30)) * _signed(_MIX[0])
    x = (x ^ _shift(x, 27)) * _signed(_MIX[1])
    return x ^ _shift(x, 31)


def seed_of(*key: int) -> int:
    """RETURNS (int): A seed for torch's own generators, of 63 bits."""
    return _state_of(key) >> 1


def _state_of(key: Sequence[int]) -> int:
    state = 0
    for part in key:
        x = (state + _GOLDEN + part) & _LOW64
        x = ((x ^ (x >> 30)) * _MIX[0]) & _LOW64
        x = ((x ^ (x >> 27)) * _MIX[1]) & _LOW64
        state = x ^ (x >> 31)
    return state


def _shift(x: torch.Tensor, n: int) -> torch.Tensor:
    # torch fills in the sign from the left.
    return (x >> n) & ((1 << (64 - n)) - 1)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """RETURNS (Tensor): The upper bits of hashes, to be compared with a `threshold`."""
    return _shift(x, 64 - _BITS)


def threshold(rate: float) -> int:
    """RETURNS (int): What this share of all `bits_of` is below."""
    return round(rate * (1 << _BITS))


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
