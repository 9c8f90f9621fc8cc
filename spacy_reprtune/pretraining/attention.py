"""Attention within each window of a packed batch, without padding or mask."""

import inspect
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# For shorter windows, plain products are faster on a CPU than its flash kernel, which is made for
# long rows. For longer ones, their memory would grow with the square of the length.
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
    orders (Dict[int, Tensor]): Earlier results of `order`, by the number of heads.
    """

    groups: List[Tuple[int, int, int]]
    positions: torch.Tensor
    bounds: torch.Tensor
    longest: int
    orders: Dict[int, torch.Tensor]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Layout":
        """RETURNS (Layout): The layout of windows with these lengths, in this order."""
        groups, first = [], 0
        for length, run in groupby(lengths):
            rows = len(list(run))
            groups.append((first, rows, length))
            first += rows * length
        sizes = torch.tensor(lengths, dtype=torch.int64)
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        positions = torch.arange(first) - torch.repeat_interleave(bounds[:-1], sizes)
        move = {"device": device, "non_blocking": True}
        return cls(groups, positions.to(**move), bounds.int().to(**move), max(lengths), {})

    def order(self, n_heads: int) -> torch.Tensor:
        """Order rows so that each window has its heads in a row, and each head its pieces.

        n_heads (int): Number of attention heads.
        RETURNS (Tensor): Indices into rows of (n * n_heads, width), shape (n * n_heads,). The rows
            of a group are together: (n_windows, n_heads, length).
        """
        if n_heads not in self.orders:
            heads = torch.arange(n_heads)[:, None]
            parts = [
                (torch.arange(first, first + rows * length).view(rows, 1, length) * n_heads + heads)
                for first, rows, length in self.groups
            ]
            order = torch.cat([part.flatten() for part in parts])
            self.orders[n_heads] = order.to(self.positions.device)
        return self.orders[n_heads]


class PackedAttention(TorchFunctionMode):
    """Within this context, torch's attention over one packed row keeps to the windows.

    Works for every family that calls `scaled_dot_product_attention` without a bias of its own.
    """

    def __init__(self, layout: Layout) -> None:
        """layout (Layout): The windows of the row."""
        super().__init__()
        self.layout = layout
        self.called = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    # Not compiled: every batch has another layout, and would be compiled again.
    @torch.compiler.disable
    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: Optional[torch.Tensor] = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: Optional[float] = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        self.called = True
        if attn_mask is not None or dropout_p or is_causal or enable_gqa or query.shape[0] != 1:
            raise NotPackable
        return packed_attention(self.layout, query, key, value, scale)


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
    scale (Optional[float]): Factor of the scores; None for one over the root of the width.
    RETURNS (Tensor): The result, of the same shape.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # (n, n_heads, width): the heads of a piece are adjacent, as the previous layer left them.
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    if query.is_cuda and fits_varlen(query.dtype, query.shape[-1]) and _has_varlen():
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = layout.bounds, layout.longest
        out = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scale)
    else:
        # Keep softmax in the type of the products.
        with torch.autocast(query.device.type, enabled=False):
            out = _GroupedAttention.apply(query, key, value, layout, scale)
    return out.transpose(0, 1)[None]


class _GroupedAttention(torch.autograd.Function):
    """Computes the windows of each length as one batch of products.

    Forward and backward are written out, because the rows of all groups are reordered at once: a
    small encoder would otherwise spend its time on slices and their gradients. Padded rows take
    1.4 times as long (2,048 pieces in windows of 25 on average).
    """

    @staticmethod
    def forward(ctx, query, key, value, layout, scale):
        n_heads, width = query.shape[1:]
        order = layout.order(n_heads)
        query, key, value = (x.reshape(-1, width)[order] for x in (query, key, value))
        out, kept = torch.empty_like(value), []
        for first, rows, length in layout.groups:
            part = slice(first * n_heads, (first + rows * length) * n_heads)
            q, k, v, o = (x[part].view(-1, length, width) for x in (query, key, value, out))
            if _flash(q):
                q, k, v, o = (x.unflatten(0, (rows, n_heads)) for x in (q, k, v, o))
                found, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    q, k, v, scale=scale
                )
                o.copy_(found)
                kept.append(log_sum)
            else:
                weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * scale, -1)
                torch.bmm(weights, v, out=o)
                kept.append(weights)
        ctx.save_for_backward(query, key, value, out, *kept)
        ctx.layout, ctx.scale, ctx.n_heads = layout, scale, n_heads
        return _scattered(out, order, n_heads)

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, *kept = ctx.saved_tensors
        n_heads, width = ctx.n_heads, query.shape[1]
        order = ctx.layout.order(n_heads)
        grad = grad.reshape(-1, width)[order]
        found = [torch.empty_like(x) for x in (query, key, value)]
        for (first, rows, length), known in zip(ctx.layout.groups, kept, strict=True):
            part = slice(first * n_heads, (first + rows * length) * n_heads)
            views = (
                x[part].view(-1, length, width) for x in (query, key, value, out, grad, *found)
            )
            q, k, v, o, g, d_q, d_k, d_v = views
            if _flash(q):
                q, k, v, o, g = (x.unflatten(0, (rows, n_heads)) for x in (q, k, v, o, g))
                backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
                new = backward(g, q, k, v, o, known, 0.0, False, scale=ctx.scale)
                for x, gradient in zip((d_q, d_k, d_v), new, strict=True):
                    x.copy_(gradient.flatten(0, 1))
            else:
                d_weights = torch.bmm(g, v.transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_weights, known, -1, known.dtype)
                d_scores *= ctx.scale
                torch.bmm(d_scores, k, out=d_q)
                torch.bmm(d_scores.transpose(1, 2), q, out=d_k)
                torch.bmm(known.transpose(1, 2), g, out=d_v)
        return (*(_scattered(x, order, n_heads) for x in found), None, None)


def _scattered(x: torch.Tensor, order: torch.Tensor, n_heads: int) -> torch.Tensor:
    return torch.empty_like(x).index_copy_(0, order, x).view(-1, n_heads, x.shape[1])


def _flash(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.shape[1] >= FLASH_FROM


def fits_varlen(dtype: torch.dtype, width: int) -> bool:
    """RETURNS (bool): Whether the kernel takes heads of this type and width."""
    return dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256


@lru_cache(maxsize=1)
def _has_varlen() -> bool:
    return varlen_takes_scale() and torch.cuda.get_device_capability()[0] >= 8


def varlen_takes_scale() -> bool:
    """RETURNS (bool): Whether torch has the kernel with a `scale`; its first versions do not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "scale" in inspect.signature(varlen_attn).parameters
