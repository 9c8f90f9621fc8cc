"""Linear layers for inference on a CPU, their weights in the layout that oneDNN computes with.

torch.nn.functional.linear rearranges a bf16 weight at every call, and an activation after it is
one more pass over the largest tensor of a block. Both are known in advance here. The operators are
those that torch.compile emits for a frozen model; without them the layers stay as they are.
"""

import torch

# Rows of the inputs that the layout is chosen for, about a batch of word pieces.
_ROWS = 4096


class PackedLinear(torch.nn.Module):
    """A linear layer with fixed weights, and GELU after it if wanted."""

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
    """Pack the linear layers of an encoder that is not going to be trained.

    model (Module): In bf16, on a CPU, in evaluation mode. Changed in place.
    RETURNS (bool): Whether this torch build could.
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
    # transformers wraps it; the tanh approximation is a class of its own.
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
