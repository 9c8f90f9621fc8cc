"""Make shells of models: a model's own code around other modules, whatever its family."""

import copy
from typing import Any, Mapping

import torch


def make_shell(
    model: torch.nn.Module, replaced: Mapping[torch.nn.Module, torch.nn.Module]
) -> torch.nn.Module:
    """Copy a model with other modules in the place of some of its own.

    The family's code (masks, positions, relative or rotary embeddings, a last normalization) runs
    in the copy as it is. Weights are shared, and so are modules that contain no replaced one.

    model (PreTrainedModel): The model. It is not changed.
    replaced (Mapping[Module, Module]): Modules of the model, and the modules in their place.
    RETURNS (Module): The copy.
    """
    memo: Any = {id(model.config): model.config}
    memo.update((id(weight), weight) for weight in (*model.parameters(), *model.buffers()))
    for module in model.modules():
        if not any(inner in replaced for inner in module.modules()):
            memo[id(module)] = module
    memo.update((id(old), new) for old, new in replaced.items())
    return copy.deepcopy(model, memo)
