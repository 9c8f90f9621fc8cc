"""Attention inside each window of a packed batch: no padding, no mask, no window sees another."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import List, Optional, Sequence, Tuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# Below this, products of scores kept whole are faster on a CPU than its flash kernel, which is
# made for long rows; above, they cost memory by the square.
FLASH_FROM = 384


class NotPackable(Exception):
    """An encoder's attention needs more than the pieces of the window: a bias, a local mask."""


@dataclass(frozen=True)
class Layout:
    """Where the windows of a packed batch are.

    groups (List[Tuple[int, int, int]]): First piece, number of windows and length of each run of
        windows of one length.
    positions (Tensor): Position of each piece in its window, int64 of shape (n,).
    bounds (Tensor): First piece of each window, and the end; int32 of shape (n_windows + 1,).
    longest (int): Length of the longest window.
    """

    groups: List[Tuple[int, int, int]]
    positions: torch.Tensor
    bounds: torch.Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Layout":
        """RETURNS (Layout): The layout of windows of these lengths, one after the other."""
        groups, first = [], 0
        for length, run in groupby(lengths):
            rows = len(list(run))
            groups.append((first, rows, length))
            first += rows * length
        sizes = torch.tensor(lengths, dtype=torch.int64)
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        positions = torch.arange(first) - torch.repeat_interleave(bounds[:-1], sizes)
        move = {"device": device, "non_blocking": True}
        return cls(groups, positions.to(**move), bounds.int().to(**move), max(lengths))


class PackedAttention(TorchFunctionMode):
    """Within this context, torch's attention over one packed row keeps to the windows.

    Every encoder that calls `scaled_dot_product_attention` without a bias of its own can be
    packed so, whatever its family.
    """

    def __init__(self, layout: Layout) -> None:
        """layout (Layout): The windows of the row."""
        super().__init__()
        self.layout = layout
        self.called = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is scaled_dot_product_attention:
            self.called = True
            return _checked(self.layout, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _checked(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: Optional[torch.Tensor] = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    if attn_mask is not None or dropout_p or is_causal or enable_gqa or query.shape[0] != 1:
        raise NotPackable
    return packed_attention(layout, query, key, value, scale)


@torch.compiler.disable
def packed_attention(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: Optional[float] = None,
) -> torch.Tensor:
    """Attend within each window.

    layout (Layout): The windows.
    query, key, value (Tensor): Shape (1, n_heads, n, width).
    scale (Optional[float]): Of the scores; null for one over the root of the width.
    RETURNS (Tensor): The same shape.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # (n, n_heads, width): heads of a piece beside each other, as the layer before left them.
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and _has_varlen():
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = layout.bounds, layout.longest
        out = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scale)
    else:
        out = _GroupedAttention.apply(query, key, value, layout.groups, scale)
    return out.transpose(0, 1)[None]


class _GroupedAttention(torch.autograd.Function):
    """Windows of one length form a batch of products. Written out rather than composed, so that
    a step of a small encoder does not spend its time on slices and their gradients."""

    @staticmethod
    def forward(ctx, query, key, value, groups, scale):
        out = torch.empty_like(value, memory_format=torch.contiguous_format)
        kept = []
        for group in groups:
            q, k, v = (_rows(x, group) for x in (query, key, value))
            if _flash(q, group):
                o, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    *(x.unflatten(0, (group[1], -1)) for x in (q, k, v)), scale=scale
                )
                kept.append(log_sum)
                o = o.flatten(0, 1)
            else:
                weights = torch.softmax(torch.bmm(q * scale, k.transpose(1, 2)), -1)
                kept.append(weights)
                o = torch.bmm(weights, v)
            _put(out, group, o)
        ctx.save_for_backward(query, key, value, out, *kept)
        ctx.groups, ctx.scale = groups, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, *kept = ctx.saved_tensors
        into = [torch.empty_like(out) for _ in range(3)]
        for group, known in zip(ctx.groups, kept, strict=True):
            q, k, v, g = (_rows(x, group) for x in (query, key, value, grad))
            if _flash(q, group):
                o = _rows(out, group)
                g, q, k, v, o = (x.unflatten(0, (group[1], -1)) for x in (g, q, k, v, o))
                found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    g, q, k, v, o, known, 0.0, False, scale=ctx.scale
                )
                found = [x.flatten(0, 1) for x in found]
            else:
                d_weights = torch.bmm(g, v.transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_weights, known, -1, known.dtype)
                d_scores *= ctx.scale
                found = [
                    torch.bmm(d_scores, k),
                    torch.bmm(d_scores.transpose(1, 2), q),
                    torch.bmm(known.transpose(1, 2), g),
                ]
            for x, gradient in zip(into, found, strict=True):
                _put(x, group, gradient)
        return (*into, None, None)


def _rows(x: torch.Tensor, group: Tuple[int, int, int]) -> torch.Tensor:
    """RETURNS (Tensor): A group's part of x, shape (n_windows * n_heads, length, width)."""
    first, rows, length = group
    part = x[first : first + rows * length].unflatten(0, (rows, length))
    return part.transpose(1, 2).flatten(0, 1)


def _put(x: torch.Tensor, group: Tuple[int, int, int], values: torch.Tensor) -> None:
    first, rows, length = group
    part = x[first : first + rows * length].unflatten(0, (rows, length))
    part.copy_(values.unflatten(0, (rows, -1)).transpose(1, 2))


def _flash(x: torch.Tensor, group: Tuple[int, int, int]) -> bool:
    return x.device.type == "cpu" and group[2] >= FLASH_FROM


@lru_cache(maxsize=1)
def _has_varlen() -> bool:
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:
        return False
    return torch.cuda.get_device_capability()[0] >= 8
