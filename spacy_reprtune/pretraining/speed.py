"""Model FLOPs utilization: the share of a GPU's arithmetic that a run uses."""

from typing import Optional

import torch

from ..encoder.freezing import find_blocks
from .model import Restorer

# Dense bf16 operations per second, from the vendors' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12}


def flops_per_piece(lm: Restorer, rate: float) -> float:
    """Count the arithmetic of training, given what is frozen now.

    lm (Restorer): The model.
    rate (float): Share of the pieces that are masked.
    RETURNS (float): Operations per piece: two for each weight of a matrix forward, and four more
        backward where it trains. Attention scores are left out: they depend on the windows.
    """
    blocks = find_blocks(lm.model.base_model) or [lm.model.base_model]
    weights = [p for block in blocks for p in block.parameters() if p.ndim > 1]
    needed = sum(p.numel() * (6.0 if p.requires_grad else 2.0) for p in weights)
    return lm.encoded * needed + lm.head.flops_per_piece(rate)


def utilization(lm: Restorer, rate: float, pieces_per_second: float) -> Optional[float]:
    """RETURNS (Optional[float]): Share of the device's peak (model FLOPs utilization, Chowdhery et
    al. 2022, PaLM, appendix B), or None for an unknown device."""
    if lm.device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(lm.device)
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    return None if peak is None else pieces_per_second * flops_per_piece(lm, rate) / peak
