"""Dropout whose masks cost less on a CPU."""

import torch

# Random numbers of 16 bits, four of them from one draw.
_LEVELS = 1 << 16
_LOWEST = -(1 << 63)


class CheapDropout(torch.nn.Dropout):
    """Dropout (Srivastava et al. 2014) from 16 random bits an element.

    torch draws a double for each element of a mask, on one core: a sixth of a training step of a
    small encoder. A rate is rounded to a multiple of 1/65536 here, and the scale of what stays
    is that of the rounded rate.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop elements in training.

        input (Tensor): Any shape.
        RETURNS (Tensor): The same shape.
        """
        dropped = round(self.p * _LEVELS)
        if not self.training or dropped == 0:
            return input
        draws = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
        bits = draws.view(torch.int16)[: input.numel()].view(input.shape)
        scale = _LEVELS / max(_LEVELS - dropped, 1)
        return input * (bits >= dropped - _LEVELS // 2).to(input.dtype).mul_(scale)


def use_cheap_dropout(module: torch.nn.Module) -> None:
    """Replace all of torch's dropout in a module that runs on a CPU.

    module (Module): Changed in place.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(parent, name, CheapDropout(child.p))
