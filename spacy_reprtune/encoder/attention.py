"""Attention within each window of a packed batch, without padding or mask."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Dict, List, Optional, Sequence, Tuple

import numpy
import torch
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from .cpu import dropout_factors
from .precision import has_bf16
from .transfer import transfer

# For shorter windows, plain matrix products are faster on a CPU than its flash kernel, which is
# made for long rows. For longer windows, their memory would grow with the square of the length.
FLASH_FROM = 384


class NotPackable(Exception):
    """An encoder's attention needs more than the pieces of the window, such as a bias."""


@dataclass(frozen=True)
class Layout:
    """The positions of the windows in a packed batch.

    groups (List[Tuple[int, int, int]]): First piece, number of windows and length of each run of
        windows of one length.
    positions (Tensor): Position of each piece in its window, int64 of shape (n,).
    bounds (Tensor): First piece of each window, then the number of pieces; int32 of shape
        (n_windows + 1,).
    longest (int): Length of the longest window.
    orders (Dict[int, Tensor]): Earlier results of `order`, by the number of heads.
    """

    groups: List[Tuple[int, int, int]]
    positions: torch.Tensor
    bounds: torch.Tensor
    longest: int
    orders: Dict[int, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Layout":
        """RETURNS (Layout): The layout of windows with these lengths, in this order."""
        groups, first = [], 0
        for length, run in groupby(lengths):
            rows = len(list(run))
            groups.append((first, rows, length))
            first += rows * length
        sizes = numpy.asarray(lengths, dtype=numpy.int64)
        bounds = numpy.concatenate([[0], numpy.cumsum(sizes)])
        positions = numpy.arange(first) - numpy.repeat(bounds[:-1], sizes)
        on_device, ends = transfer([positions, bounds], device)
        return cls(groups, on_device, ends.int(), max(lengths))

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

    Works for every family that calls `scaled_dot_product_attention` without a bias of its own. A
    block with local attention says how far it sees: see `reach_mask`.
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
        is_reach = attn_mask is not None and attn_mask.ndim == 1
        if is_causal or query.shape[0] != 1 or (attn_mask is not None and not is_reach):
            raise NotPackable
        if enable_gqa:
            n = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(n, dim=1) for x in (key, value))
        if torch.is_autocast_enabled(query.device.type):
            # torch's attention, which this replaces, casts its inputs as well.
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = (x.to(dtype) for x in (query, key, value))
        reach = int(attn_mask) if is_reach else None
        return packed_attention(
            self.layout, query, key, value, scale=scale, rate=dropout_p, reach=reach
        )


def reach_mask(reach: int) -> torch.Tensor:
    """RETURNS (Tensor): The mask that a family's code passes to the attention of a block in which a
    piece attends to those at most `reach` pieces away; shape (1,), on the CPU, where it is read."""
    return torch.tensor([reach])


def packed_attention(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: Optional[float] = None,
    rate: float = 0.0,
    reach: Optional[int] = None,
) -> torch.Tensor:
    """Attend within each window.

    layout (Layout): The windows.
    query, key, value (Tensor): Shape (1, n_heads, n, width).
    scale (Optional[float]): Factor of the scores; None for 1 / sqrt(width).
    rate (float): Dropout rate of the weights.
    reach (Optional[int]): The most pieces between a piece and those that it attends to, or None
        for the whole window.
    RETURNS (Tensor): The result, of the same shape.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # (n, n_heads, width): the heads of a piece are adjacent, as the previous layer left them.
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    # Softmax stays in the type of the products.
    with torch.autocast(query.device.type, enabled=False):
        if fits_flash(query.device, query.dtype, query.shape[-1]):
            out = flash_attention(layout, query, key, value, scale, rate, reach)
        else:
            out = _GroupedAttention.apply(query, key, value, layout, scale, rate, reach)
    return out.transpose(0, 1)[None]


def flash_attention(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    rate: float,
    reach: Optional[int],
) -> torch.Tensor:
    """Attend with torch's flash kernel for rows of several sequences (Dao 2023).

    It is the operator behind torch's nested tensors, and differentiable. The public function,
    `torch.nn.attention.varlen.varlen_attn`, has no dropout, and is not in all versions of torch.

    RETURNS (Tensor): See `packed_attention`; all tensors have the shape (n, n_heads, width).
    """
    bounds, longest = layout.bounds, layout.longest
    local = {} if reach is None else {"window_size_left": reach, "window_size_right": reach}
    return torch.ops.aten._flash_attention_forward(
        # The kernel reads heads whose numbers are adjacent.
        *(x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value)),
        *(bounds, bounds, longest, longest),
        *(rate, False, False),
        scale=scale,
        **local,
    )[0]


class _GroupedAttention(torch.autograd.Function):
    """Computes the windows of each length as one batch of products.

    Forward and backward are written out, because the rows of all groups are reordered at once: a
    small encoder would otherwise spend its time on slices and their gradients. Padded rows take
    1.4 times as long (2,048 pieces in windows of 25 on average).
    """

    @staticmethod
    def forward(ctx, query, key, value, layout, scale, rate, reach):
        n_heads, width = query.shape[1:]
        order = layout.order(n_heads)
        query, key, value = (x.reshape(-1, width)[order] for x in (query, key, value))
        out, kept = torch.empty_like(value), []
        for first, rows, length in layout.groups:
            part = slice(first * n_heads, (first + rows * length) * n_heads)
            q, k, v, o = (x[part].view(-1, length, width) for x in (query, key, value, out))
            if _uses_cpu_kernel(q, rate, reach):
                q, k, v, o = (x.unflatten(0, (rows, n_heads)) for x in (q, k, v, o))
                found, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    q, k, v, scale=scale
                )
                o.copy_(found)
                kept.append((log_sum, None))
            else:
                scores = torch.bmm(q, k.transpose(1, 2)) * scale
                if reach is not None and length > reach + 1:
                    places = torch.arange(length, device=q.device)
                    far = (places[:, None] - places).abs() > reach
                    scores = scores.masked_fill(far, -torch.inf)
                weights = torch.softmax(scores, -1)
                factors = _factors(weights, rate) if rate else None
                torch.bmm(weights if factors is None else weights * factors, v, out=o)
                kept.append((weights, factors))
        ctx.save_for_backward(query, key, value, out, *(x for pair in kept for x in pair))
        ctx.layout, ctx.n_heads = layout, n_heads
        ctx.scale, ctx.rate, ctx.reach = scale, rate, reach
        return _scattered(out, order, n_heads)

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, *kept = ctx.saved_tensors
        n_heads, width = ctx.n_heads, query.shape[1]
        order = ctx.layout.order(n_heads)
        grad = grad.reshape(-1, width)[order]
        found = [torch.empty_like(x) for x in (query, key, value)]
        groups = zip(ctx.layout.groups, kept[::2], kept[1::2], strict=True)
        for (first, rows, length), known, factors in groups:
            part = slice(first * n_heads, (first + rows * length) * n_heads)
            views = (
                x[part].view(-1, length, width) for x in (query, key, value, out, grad, *found)
            )
            q, k, v, o, g, d_q, d_k, d_v = views
            if _uses_cpu_kernel(q, ctx.rate, ctx.reach):
                q, k, v, o, g = (x.unflatten(0, (rows, n_heads)) for x in (q, k, v, o, g))
                backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
                new = backward(g, q, k, v, o, known, 0.0, False, scale=ctx.scale)
                for x, gradient in zip((d_q, d_k, d_v), new, strict=True):
                    x.copy_(gradient.flatten(0, 1))
            else:
                d_weights, used = torch.bmm(g, v.transpose(1, 2)), known
                if factors is not None:
                    d_weights, used = d_weights * factors, known * factors
                d_scores = torch._softmax_backward_data(d_weights, known, -1, known.dtype)
                d_scores *= ctx.scale
                torch.bmm(d_scores, k, out=d_q)
                torch.bmm(d_scores.transpose(1, 2), q, out=d_k)
                torch.bmm(used.transpose(1, 2), g, out=d_v)
        return (*(_scattered(x, order, n_heads) for x in found), *(None,) * 4)


def _scattered(x: torch.Tensor, order: torch.Tensor, n_heads: int) -> torch.Tensor:
    return torch.empty_like(x).index_copy_(0, order, x).view(-1, n_heads, x.shape[1])


def _uses_cpu_kernel(x: torch.Tensor, rate: float, reach: Optional[int]) -> bool:
    """RETURNS (bool): Whether the CPU's flash kernel computes windows of this length."""
    return x.device.type == "cpu" and x.shape[1] >= FLASH_FROM and not rate and reach is None


def _factors(weights: torch.Tensor, rate: float) -> torch.Tensor:
    if weights.device.type == "cpu":
        return dropout_factors(weights, rate)
    return dropout(torch.ones_like(weights), rate)


def fits_flash(device: torch.device, dtype: Optional[torch.dtype], width: int) -> bool:
    """RETURNS (bool): Whether the flash kernel takes heads of this type and width on a device."""
    fits = dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256
    # The kernel needs the hardware that makes bf16 fast.
    return device.type == "cuda" and fits and has_bf16(device)
