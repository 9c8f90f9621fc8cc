"""The masked-language-model head, computed only for masked pieces."""

from typing import Any, Optional

import torch
from transformers.modeling_outputs import BaseModelOutput

from ..encoder.shell import make_shell

# Rows whose logits are in memory at once: 1024 of 30,000 pieces are 125 MB in fp32.
ROWS = 1024


class MaskedHead:
    """What lies between an encoder's hidden states and the vocabulary projection.

    In a shell of the model, the encoder hands on given hidden states and the projection is left
    out.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        """Take a model's head.

        model (PreTrainedModel): An encoder with its masked-language-model head. Not changed.
        """
        self._given = _Given()
        self.projection = model.get_output_embeddings()
        replaced = {model.base_model: self._given, self.projection: torch.nn.Identity()}
        self._shell = make_shell(model, replaced)

    @property
    def bias(self) -> Optional[torch.Tensor]:
        """RETURNS (Optional[Tensor]): What is added to the scores, shape (n_vocabulary,)."""
        return self.projection.bias

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Transform hidden states.

        hidden (Tensor): Hidden states of some pieces, shape (n, width).
        RETURNS (Tensor): The input of the projection, shape (n, embedding width).
        """
        self._given.__dict__["hidden"] = hidden[None]
        try:
            # The shell reads the shape of its piece ids.
            ids = torch.zeros(1, len(hidden), dtype=torch.int64, device=hidden.device)
            return self._shell(input_ids=ids, return_dict=True).logits[0]
        finally:
            self._given.__dict__["hidden"] = None

    def train(self, mode: bool = True) -> None:
        """Switch between training and evaluation."""
        self._shell.train(mode)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): A score for each piece of the vocabulary, shape (n, n_vocabulary)."""
        return self.projection(self(hidden)).float()

    def loss(
        self, hidden: torch.Tensor, labels: torch.Tensor, dtype: Optional[torch.dtype] = None
    ) -> torch.Tensor:
        """Sum the cross entropy over pieces.

        hidden (Tensor): Hidden states of masked pieces, shape (n, width).
        labels (Tensor): The original pieces, shape (n,).
        dtype (Optional[dtype]): Type of the matrix products; None for the weights' own.
        RETURNS (Tensor): The sum, a scalar.
        """
        return projected_loss(self(hidden), self.projection.weight, self.bias, labels, dtype)

    def flops_per_piece(self, rate: float) -> float:
        """RETURNS (float): Operations per piece of the text, of which a share `rate` is projected
        to the vocabulary."""
        table = self.projection.weight
        # The gradient passes through the projection even if that is frozen.
        return rate * table.numel() * (6.0 if table.requires_grad else 4.0)


def projected_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],
    labels: torch.Tensor,
    dtype: Optional[torch.dtype] = None,
) -> torch.Tensor:
    """Project to the vocabulary and sum the cross entropy.

    hidden (Tensor): What is projected, shape (n, embedding width).
    weight (Tensor): The projection, shape (n_vocabulary, embedding width).
    bias (Optional[Tensor]): Its bias, shape (n_vocabulary,).
    labels (Tensor): The pieces that are right, shape (n,).
    dtype (Optional[dtype]): Type of the matrix products; None for the weights' own.
    RETURNS (Tensor): The sum, a scalar.
    """
    # Read here, because gradients are never enabled inside of the function.
    with_gradients = torch.is_grad_enabled()
    dtype = dtype or weight.dtype
    return _Projection.apply(hidden, weight, bias, labels, dtype, with_gradients)


class _Given(torch.nn.Module):
    """Takes the place of the encoder and returns given hidden states."""

    hidden: Optional[torch.Tensor] = None

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.__dict__["hidden"])


class _Projection(torch.autograd.Function):
    """Vocabulary projection and cross entropy in one, a slice of rows at a time.

    Gradients are computed while a slice's logits are in memory (the idea is from Wijmans et al.
    2024, Cut Your Losses), so that logits are neither kept nor computed twice.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, labels, dtype, with_gradients):
        wanted = with_gradients and any(ctx.needs_input_grad[:3])
        hidden_type = hidden.dtype
        with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
            hidden, table = hidden.to(dtype), weight.to(dtype)
            exact = torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
            total = torch.zeros((), dtype=exact, device=hidden.device)
            d_hidden = torch.empty_like(hidden) if wanted else None
            d_weight = d_bias = None
            for rows in range(0, len(hidden), ROWS):
                part, gold = hidden[rows : rows + ROWS], labels[rows : rows + ROWS]
                logits = (part @ table.T).to(exact)
                if bias is not None:
                    logits += bias
                chances = torch.log_softmax(logits, -1)
                del logits
                total -= chances.gather(1, gold[:, None]).sum()
                if not wanted:
                    continue
                chances.exp_()
                chances[torch.arange(len(gold), device=gold.device), gold] -= 1.0
                if ctx.needs_input_grad[2]:
                    d_bias = _plus(d_bias, chances.sum(0))
                chances = chances.to(dtype)
                d_hidden[rows : rows + ROWS] = chances @ table
                if ctx.needs_input_grad[1]:
                    d_weight = _plus(d_weight, (chances.T @ part).to(weight.dtype))
        ctx.save_for_backward(*(x for x in (d_hidden, d_weight, d_bias) if x is not None))
        ctx.has = d_weight is not None, d_bias is not None
        ctx.hidden_type = hidden_type
        return total

    @staticmethod
    def backward(ctx, grad):
        saved = list(ctx.saved_tensors)
        d_hidden = saved.pop(0).to(ctx.hidden_type) * grad.to(ctx.hidden_type)
        # In place, because these tables are as large as the vocabulary.
        d_weight = saved.pop(0).mul_(grad) if ctx.has[0] else None
        d_bias = saved.pop(0).mul_(grad) if ctx.has[1] else None
        return d_hidden, d_weight, d_bias, None, None, None


def _plus(total: Optional[torch.Tensor], more: torch.Tensor) -> torch.Tensor:
    return more if total is None else total.add_(more)
