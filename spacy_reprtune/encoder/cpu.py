"""Optimizations of encoders for the CPU, applied by one call: `prepare_for_cpu`.

Gains below are for 16 sentences and MiniLM-L6 on one thread of an AMD EPYC without avx512_bf16:
minima of `benchmarks.cpu_tricks --quick` (five rounds, so they are rough).
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# Random numbers of 16 bits, four of them from one draw.
_LEVELS = 1 << 16
_LOWEST = -(1 << 63)
# The layout of packed weights is chosen for inputs of this many rows, about a batch of word pieces.
_ROWS = 4096


def prepare_for_cpu(model: torch.nn.Module) -> None:
    """Make a model fast on a CPU.

    model (Module): Changed in place. In fp32 it can be trained: its word embeddings get sparse
        gradients, and its dropout is replaced by `CheapDropout`. In bf16 it is a copy that only
        predicts: its linear layers are packed.
    """
    if next(model.parameters()).dtype == torch.bfloat16:
        pack_linear_layers(model)
        return
    use_sparse_gradients(model)
    use_cheap_dropout(model)


def use_sparse_gradients(model: torch.nn.Module) -> None:
    """Give the word embeddings sparse gradients, which cover only the rows in use instead of the
    whole vocabulary. `TorchOptimizer` can update with them. Gain: 10 % of a training step.

    model (PreTrainedModel): Changed in place.
    """
    model.get_input_embeddings().sparse = True


class CheapDropout(torch.nn.Dropout):
    """Dropout (Srivastava et al. 2014) from 16 random bits per element.

    torch draws a double for each element of a mask, on one core. A rate is rounded to a multiple
    of 1/65536 here, and elements that stay are scaled by the rounded rate. Gain, together with
    `CheapAttentionDropout`: 6 % of a training step.
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
    return input if round(rate * _LEVELS) == 0 else input * dropout_factors(input, rate)


def dropout_factors(like: torch.Tensor, rate: float) -> torch.Tensor:
    """Draw the factors of dropout: 0 for an element that is dropped, or its scale.

    like (Tensor): Any shape, on a CPU.
    rate (float): The share to drop.
    RETURNS (Tensor): The same shape and type.
    """
    dropped = round(rate * _LEVELS)
    draws = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
    bits = draws.view(torch.int16)[: like.numel()].view(like.shape)
    scale = _LEVELS / max(_LEVELS - dropped, 1)
    return (bits >= dropped - _LEVELS // 2).to(like.dtype).mul_(scale)


class CheapAttentionDropout(TorchFunctionMode):
    """Within this context, attention with dropout takes the same path as torch's own on a CPU
    (scores, softmax, dropout, sum), with `cheap_dropout` in the third step."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and kwargs.get("dropout_p"):
            if kwargs.get("enable_gqa"):
                # With fewer keys than queries, torch's own attention does the work.
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


class PackedLinear(torch.nn.Module):
    """A linear layer with fixed weights, optionally followed by GELU."""

    def __init__(self, linear: torch.nn.Linear, *, gelu: bool = False) -> None:
        """Pack a layer.

        linear (Linear): The layer, in bf16 on a CPU.
        gelu (bool): Whether to apply (exact) GELU to the output.
        """
        super().__init__()
        weight = linear.weight.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.activation = ("gelu", [], "none") if gelu else ("none", [], "")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): The layer's output."""
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, *self.activation)


def pack_linear_layers(model: torch.nn.Module) -> bool:
    """Pack the linear layers of an encoder that will not be trained: the weights are put into the
    layout that oneDNN computes with, and GELU is fused into the layer before it.

    `torch.nn.functional.linear` rearranges a bf16 weight at every call, and a separate activation
    reads and writes the largest tensor of a block once more. The operators are those that
    `torch.compile` emits for a frozen model; without them the layers stay as they are. Gain:
    none that could be measured (0.1 %) on that processor, which emulates bf16.

    model (Module): In bf16, on a CPU, in evaluation mode. Changed in place.
    RETURNS (bool): Whether this torch build has the operators.
    """
    if not _works():
        return False
    for module in list(model.modules()):
        # The first half of a feed-forward layer, as BERT and its descendants name it.
        act = getattr(module, "intermediate_act_fn", None)
        if _is_exact_gelu(act) and isinstance(getattr(module, "dense", None), torch.nn.Linear):
            module.dense = PackedLinear(module.dense, gelu=True)
            module.intermediate_act_fn = torch.nn.Identity()
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, PackedLinear(child))
    return True


def _is_exact_gelu(act) -> bool:
    # transformers wraps it, and has a different class for the tanh approximation.
    return type(act).__name__ == "GELUActivation" or (
        isinstance(act, torch.nn.GELU) and act.approximate == "none"
    )


def _works() -> bool:
    try:
        linear = torch.nn.Linear(32, 32).to(torch.bfloat16)
        with torch.no_grad():
            got = PackedLinear(linear)(torch.ones(2, 32, dtype=torch.bfloat16))
            return torch.allclose(got, linear(torch.ones(2, 32, dtype=torch.bfloat16)), atol=0.05)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
