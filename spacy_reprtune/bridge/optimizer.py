"""torch's optimizer behind spaCy's: the settings and schedules are spaCy's, the arithmetic torch's.

thinc updates tensor by tensor and clips each by its own norm. Here, the norm of the whole gradient
is clipped, biases and the weights of normalizations do not decay, and the update is one fused call.
"""

import math
from typing import Dict, Iterable, List, Optional, Set, Tuple

import torch

from ..encoder.transfer import Arriving, runs_behind


class TorchOptimizer:
    """Updates one module with the current settings of a `thinc.api.Optimizer`."""

    def __init__(
        self,
        module: torch.nn.Module,
        factors: Optional[Dict[torch.nn.Parameter, float]] = None,
    ) -> None:
        """Prepare to update a module.

        module (Module): The module to train. Parameters may be frozen and unfrozen between steps.
        factors (Optional[Dict[Parameter, float]]): Factors of learning rates; 1.0 for parameters
            that are not listed.
        """
        self.module = module
        self.factors = factors or {}
        self._parameters = list(module.parameters())
        self._optimizer: Optional[torch.optim.Optimizer] = None
        self._source = None
        self._known: Set[torch.nn.Parameter] = set()
        self._buffers: Dict[torch.nn.Parameter, torch.Tensor] = {}
        self._norm: Optional[Arriving] = None

    def step(self, sgd, *, n_backward: int = 1) -> None:
        """Apply the gradients that have been accumulated, and clear them.

        sgd (thinc.api.Optimizer): Optimizer whose current learning rate, betas, eps, L2 and
            grad_clip apply.
        n_backward (int): Number of backward passes whose gradients were added up (spaCy's
            `accumulate_gradient`). Each computed a mean loss, so their mean is applied.
        RAISES (ValueError): The gradient is not finite; the weights are unchanged. On a CUDA
            device, the next step raises the error.
        """
        self._check_norm()
        parameters = [p for p in self._parameters if p.grad is not None]
        if not parameters:
            return
        rows = self._spread_rows(parameters)
        # Of sparse gradients, only the rows that a batch touched: all others are zero.
        gradients = [rows[p][1] if p in rows else p.grad for p in parameters]
        if n_backward > 1:
            torch._foreach_mul_(gradients, 1.0 / n_backward)
        norm = torch.nn.utils.get_total_norm(gradients)
        excess = (norm + 1e-6) / float(sgd.grad_clip) if sgd.grad_clip else None
        for parameter, (index, values) in rows.items():
            parameter.grad[index] = values
        # The moments belong to the spaCy optimizer: another one starts from zero.
        if self._optimizer is None or self._source is not sgd:
            self._known.clear()
            self._optimizer, self._source = _build(self._groups(), sgd), sgd
        elif not self._known.issuperset(parameters):
            for group in self._groups():
                self._optimizer.add_param_group(group)
        for group in self._optimizer.param_groups:
            group["lr"] = float(sgd.learn_rate) * group["factor"]
            group["weight_decay"] = float(sgd.L2) if group["decays"] else 0.0
            if "betas" in group:
                group["betas"] = (float(sgd.b1), float(sgd.b2))
                group["eps"] = float(sgd.eps)
        # The attributes that torch's GradScaler sets: the fused update divides by `grad_scale` as
        # it goes, and does nothing if `found_inf` is 1.
        fused = self._optimizer.defaults.get("fused")
        self._norm = Arriving(norm)
        if fused and runs_behind(norm.device):
            self._optimizer.found_inf = (~torch.isfinite(norm)).float()
            self._optimizer.grad_scale = None if excess is None else excess.clamp(min=1.0)
        else:
            self._check_norm(rows)
            if excess is not None and float(excess) > 1.0:
                if fused:
                    self._optimizer.grad_scale = excess
                else:
                    torch._foreach_div_([p.grad for p in parameters], excess)
        self._optimizer.step()
        self._optimizer.grad_scale = self._optimizer.found_inf = None
        self._clear(rows)

    def state(self) -> Tuple[List[List[int]], Dict[str, torch.Tensor]]:
        """Get the state that another process needs to continue the training.

        RETURNS (Tuple[List[List[int]], Dict[str, Tensor]]): For each group, the numbers of its
            parameters in the order of `module.parameters()`; and the moments by "NUMBER/NAME".
            Both are empty before the first step.
        """
        if self._optimizer is None:
            return [], {}
        numbers = {parameter: k for k, parameter in enumerate(self._parameters)}
        groups = [[numbers[p] for p in group["params"]] for group in self._optimizer.param_groups]
        moments = {
            f"{numbers[parameter]}/{name}": value
            for parameter, values in self._optimizer.state.items()
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }
        return groups, moments

    def restore(self, sgd, groups: List[List[int]], moments: Dict[str, torch.Tensor]) -> None:
        """Restore the result of `state`.

        sgd (thinc.api.Optimizer): The optimizer that the next steps will be given.
        groups (List[List[int]]): Numbers of the parameters of each group.
        moments (Dict[str, Tensor]): The moments.
        """
        if not groups:
            return
        members = [[self._parameters[k] for k in numbers] for numbers in groups]
        self._known = {parameter for group in members for parameter in group}
        whole = [parameter_groups(group, self.factors)[0] for group in members]
        self._optimizer, self._source = _build(whole, sgd), sgd
        fused = self._optimizer.defaults.get("fused")
        for key, tensor in moments.items():
            number, name = key.split("/")
            parameter = self._parameters[int(number)]
            device = parameter.device if fused or name != "step" else "cpu"
            self._optimizer.state[parameter][name] = tensor.clone().to(device)

    def _check_norm(self, rows: Optional[Dict] = None) -> None:
        """Check the norm of the last gradient, unless that has been done."""
        norm, self._norm = self._norm, None
        if norm is not None and not math.isfinite(found := float(norm.wait())):
            self._clear(rows or {})
            raise ValueError(
                f"The norm of the gradient is {found}. The weights are unchanged. Lower "
                "[training.optimizer] learn_rate, or set precision to 'fp32'. If the first update "
                "fails with a pooling of your own: a square root or a norm of zeros has no finite "
                "gradient. Add a small number to its argument."
            )

    def _groups(self) -> List[Dict]:
        new = [p for p in self._parameters if p.requires_grad and p not in self._known]
        self._known.update(new)
        return parameter_groups(new, self.factors)

    def _spread_rows(self, parameters: List[torch.nn.Parameter]) -> Dict:
        """Replace each sparse gradient with a dense buffer; return its row numbers and rows."""
        # Only a few hundred of some ten thousand rows of an embedding table are not zero.
        # Allocating a dense gradient at each step costs more than the update, so the buffers are
        # kept, and only those rows are written and cleared.
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
        for parameter in self._parameters:
            parameter.grad = None


def parameter_groups(
    parameters: Iterable[torch.nn.Parameter], factors: Dict[torch.nn.Parameter, float]
) -> List[Dict]:
    """Group parameters that are updated in the same way.

    parameters (Iterable[Parameter]): The parameters.
    factors (Dict[Parameter, float]): Factors of learning rates; 1.0 for parameters that are not
        listed.
    RETURNS (List[Dict]): Groups for a torch optimizer, with `decays` and `factor` set in each.
        Vectors (biases, the weights of normalizations) do not decay.
    """
    groups: Dict[Tuple[bool, float], List[torch.nn.Parameter]] = {}
    for parameter in parameters:
        key = parameter.ndim > 1, factors.get(parameter, 1.0)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "decays": decays, "factor": factor}
        for (decays, factor), params in groups.items()
    ]


def _build(groups: List[Dict], sgd) -> torch.optim.Optimizer:
    rate = float(sgd.learn_rate)
    if sgd.use_radam:
        return torch.optim.RAdam(groups, lr=rate, decoupled_weight_decay=sgd.L2_is_weight_decay)
    if sgd.b1 == 0.0 and sgd.b2 == 0.0:
        return torch.optim.SGD(groups, lr=rate)
    kind = torch.optim.AdamW if sgd.L2_is_weight_decay else torch.optim.Adam
    return kind(groups, lr=rate, betas=(float(sgd.b1), float(sgd.b2)), fused=True)
