"""torch's optimizer behind spaCy's: the settings and schedules are spaCy's, the arithmetic torch's.

thinc updates tensor by tensor and clips each by its own norm. Here the norm is that of the whole
gradient, biases and the weights of normalisations do not decay, and the update is one fused call.
"""

from typing import Dict, List, Optional

import torch


class TorchOptimizer:
    """Updates one module with the current settings of a `thinc.api.Optimizer`."""

    def __init__(self, module: torch.nn.Module) -> None:
        """Prepare to update a module.

        module (Module): What is trained.
        """
        self.module = module
        self._optimizer: Optional[torch.optim.Optimizer] = None
        self._source = None
        self._buffers: Dict[torch.nn.Parameter, torch.Tensor] = {}

    def step(self, sgd, *, n_backward: int = 1) -> None:
        """Apply the gradients that have been accumulated, and clear them.

        sgd (thinc.api.Optimizer): Whose learning rate, betas, eps, L2 and grad_clip hold now.
        n_backward (int): How many backward passes added up their gradients (spaCy's
            `accumulate_gradient`). Each was of a mean loss, so it is their mean that is applied.
        RAISES (ValueError): The gradient is not finite; the weights are as they were.
        """
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        if not parameters:
            return
        rows = self._spread_rows(parameters)
        # What is not zero in them: the norm of a table is that of the rows that a batch touched.
        gradients = [rows[p][1] if p in rows else p.grad for p in parameters]
        if n_backward > 1:
            torch._foreach_mul_(gradients, 1.0 / n_backward)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            self._clear(rows)
            raise ValueError(
                f"The norm of the gradient is {float(norm)}. The weights have not been touched. "
                "Lower [training.optimizer] learn_rate, or set precision to 'fp32'."
            )
        if sgd.grad_clip and float(norm) > float(sgd.grad_clip):
            torch._foreach_mul_(gradients, float(sgd.grad_clip) / (float(norm) + 1e-6))
        for parameter, (index, values) in rows.items():
            parameter.grad[index] = values
        # The moments belong to the spaCy optimizer: another one starts anew.
        if self._optimizer is None or self._source is not sgd:
            self._optimizer, self._source = _build(self.module, sgd), sgd
        for group in self._optimizer.param_groups:
            group["lr"] = float(sgd.learn_rate)
            group["weight_decay"] = float(sgd.L2) if group["decays"] else 0.0
            if "betas" in group:
                group["betas"] = (float(sgd.b1), float(sgd.b2))
                group["eps"] = float(sgd.eps)
        self._optimizer.step()
        self._clear(rows)

    def _spread_rows(self, parameters: List[torch.nn.Parameter]) -> Dict:
        """Put a dense gradient in the place of each sparse one.

        The gradient of an embedding table has a few hundred rows that are not zero, of some ten
        thousand. Made dense anew at each step it costs more than the update: these buffers stay,
        and only those rows are written and cleared. The update is that of a dense gradient.

        RETURNS (Dict[Parameter, Tuple[Tensor, Tensor]]): Row numbers and rows of each.
        """
        rows = {}
        for parameter in parameters:
            if parameter.grad.is_sparse:
                gradient = parameter.grad.coalesce()
                rows[parameter] = gradient.indices()[0], gradient.values()
                if parameter not in self._buffers:
                    self._buffers[parameter] = torch.zeros_like(parameter)
                parameter.grad = self._buffers[parameter]
        return rows

    def _clear(self, rows: Dict) -> None:
        for parameter, (index, _) in rows.items():
            self._buffers[parameter][index] = 0.0
        self.module.zero_grad(set_to_none=True)


def decay_groups(module: torch.nn.Module) -> List[Dict]:
    """Split the trainable parameters into those that decay and those that do not.

    module (Module): What is trained.
    RETURNS (List[Dict]): Parameter groups for a torch optimizer, with `decays` set in each.
        Vectors (biases, the weights of normalisations) do not decay.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "decays": True},
        {"params": [p for p in trainable if p.ndim <= 1], "decays": False},
    ]
    return [group for group in groups if group["params"]]


def _build(module: torch.nn.Module, sgd) -> torch.optim.Optimizer:
    groups = decay_groups(module)
    rate = float(sgd.learn_rate)
    if sgd.use_radam:
        return torch.optim.RAdam(groups, lr=rate, decoupled_weight_decay=sgd.L2_is_weight_decay)
    if sgd.b1 == 0.0 and sgd.b2 == 0.0:
        return torch.optim.SGD(groups, lr=rate)
    kind = torch.optim.AdamW if sgd.L2_is_weight_decay else torch.optim.Adam
    return kind(groups, lr=rate, betas=(float(sgd.b1), float(sgd.b2)), fused=True)
