"""Dropout whose masks cost less on a CPU."""

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

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
        """RETURNS (Tensor): The input, in training with elements dropped."""
        return cheap_dropout(input, self.p) if self.training else input


def cheap_dropout(input: torch.Tensor, rate: float) -> torch.Tensor:
    """Drop elements.

    input (Tensor): Any shape, on a CPU.
    rate (float): The share to drop, up to, not including, 1.
    RETURNS (Tensor): The same shape.
    """
    dropped = round(rate * _LEVELS)
    if dropped == 0:
        return input
    draws = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
    bits = draws.view(torch.int16)[: input.numel()].view(input.shape)
    scale = _LEVELS / max(_LEVELS - dropped, 1)
    return input * (bits >= dropped - _LEVELS // 2).to(input.dtype).mul_(scale)


class CheapAttentionDropout(TorchFunctionMode):
    """Within this context, attention with dropout takes the same path as torch's own on a CPU
    (scores, softmax, dropout, sum), with `cheap_dropout` in the third step."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and kwargs.get("dropout_p"):
            if kwargs.get("enable_gqa"):
                # Fewer keys than queries: left to torch.
                return func(*args, **kwargs)
            kwargs = {name: value for name, value in kwargs.items() if name != "enable_gqa"}
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    if is_causal or (attn_mask is not None and attn_mask.dtype == torch.bool):
        return scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(cheap_dropout(torch.softmax(scores, -1), dropout_p), value)


def use_cheap_dropout(module: torch.nn.Module) -> None:
    """Replace all of torch's dropout in a module that runs on a CPU.

    module (Module): Changed in place.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(parent, name, CheapDropout(child.p).train(child.training))
