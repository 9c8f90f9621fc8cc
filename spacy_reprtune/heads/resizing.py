"""Give a linear layer different outputs."""

import torch
from numpy.typing import NDArray


def resized(layer: torch.nn.Linear, mapping: NDArray, bias: NDArray) -> torch.nn.Linear:
    """Make a layer whose outputs are sums of another layer's outputs.

    layer (Linear): The layer; it stays as it is.
    mapping (ndarray): The new outputs (rows) as sums of the present ones (columns), fp32, shape
        (n_new, n_present). A row of zeros is an output with zero weights.
    bias (ndarray): Added to the bias of each new output, fp32, shape (n_new,).
    RETURNS (Linear): The new layer.
    """
    weight = layer.weight
    new = torch.nn.Linear(layer.in_features, len(mapping), device=weight.device)
    with torch.no_grad():
        rows = torch.from_numpy(mapping).to(weight.device)
        new.weight.copy_(rows @ weight)
        new.bias.copy_(rows @ layer.bias + torch.from_numpy(bias).to(weight.device))
    return new
