"""Training steps: damaged batches in, one update out; and the loss of held-out text."""

import copy
import math
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import numpy
import torch

from ..bridge.optimizer import parameter_groups
from ..encoder.freezing import rate_factors
from ..encoder.transfer import Arriving, runs_behind
from .corpus import Part
from .masking import EVAL_RATE, EVAL_SEED, seed_of
from .model import Restorer
from .packing import Batch, Packer
from .processes import World
from .settings import MaskingPart, Settings, TrainingPart

# Epochs with this number or a higher one belong to the head's own steps, before the first epoch.
HEAD_EPOCH = 1 << 30
# Pieces that are counted at once, to bound the memory.
COUNTED = 50_000_000


@dataclass(frozen=True)
class Step:
    """What a step did, over all processes. A device may still be computing it: only who reads the
    loss or the norm waits.

    total (Arriving): Loss, summed over the pieces to restore.
    count (float): Number of pieces to restore.
    pieces (int): Number of pieces, special ones included.
    rate (float): The learning rate.
    root (Arriving): Norm of the gradient before clipping.
    """

    total: Arriving
    count: float
    pieces: int
    rate: float
    root: Arriving

    @property
    def loss(self) -> float:
        """RETURNS (float): Mean loss over the pieces to restore."""
        return float(self.total.wait()) / self.count

    @property
    def norm(self) -> float:
        """RETURNS (float): Norm of the gradient before clipping."""
        return float(self.root.wait())


class Trainer:
    """Takes the steps of a run, in this process and together with the others."""

    def __init__(
        self, lm: Restorer, settings: Settings, *, head_steps: int, n_steps: int, world: World
    ) -> None:
        """Prepare to train.

        lm (Restorer): The model.
        settings (Settings): The settings of the run.
        head_steps (int): Steps on the frozen encoder, which come first.
        n_steps (int): Steps after those, for the schedule.
        world (World): The processes.
        """
        self.lm, self.world = lm, world
        self.training: TrainingPart = settings.training
        self.head_steps, self.n_steps = head_steps, n_steps
        self.noise = lm.noise(settings.masking)
        # The original model, or None where its vectors need not be kept.
        self.first = copy.deepcopy(lm) if self.training.keep_vectors else None
        lm.freeze_encoder(False)
        factors = rate_factors(lm.model.base_model, settings.encoder.lr_decay)
        parameters = [p for p in lm.weights().values() if p.requires_grad]
        groups = parameter_groups(parameters, factors)
        for group in groups:
            group["weight_decay"] = self.training.weight_decay if group["decays"] else 0.0
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=self.training.learn_rate,
            betas=(self.training.beta1, self.training.beta2),
            eps=self.training.eps,
            fused=True,
        )
        # The latest step, and the norm of its gradient.
        self._late: Optional[Tuple[int, Arriving]] = None

    def rate(self, step: int) -> float:
        """RETURNS (float): The learning rate of a step, counted from the head's first one."""
        if step < self.head_steps:
            return self.training.head_learn_rate
        return learn_rate(self.training, step - self.head_steps, self.n_steps)

    def step(self, packer: Packer, step: int, epoch: int, number: int) -> Step:
        """Take a step.

        packer (Packer): The training text.
        step (int): Number of the step in the run.
        epoch, number (int): The epoch, and number of the step in it.
        RETURNS (Step): What the step did.
        RAISES (ValueError): The gradient is not finite; the weights have not been touched. On a
            CUDA device that is found out in the next step.
        """
        self._check_norm()
        self.lm.freeze_encoder(step < self.head_steps)
        self.lm.train()
        device, seed = self.lm.device, self.training.seed
        n_labels = n_pieces = 0
        data_epoch = HEAD_EPOCH if step < self.head_steps else epoch
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        for k, batch in packer.step(data_epoch, number, self.world.rank, self.world.size):
            damaged = self.noise(batch, seed, epoch)
            n_labels += len(damaged.labels)
            n_pieces += batch.n_real
            # Dropout is a function of the place in the run, too.
            torch.manual_seed(seed_of(seed, epoch, k))
            loss = self.lm.loss(batch, damaged.to(device))
            # A sum, because the total number of pieces to restore is known only at the end.
            loss.backward()
            if self.first is not None and step >= self.head_steps:
                (len(damaged.labels) * self._moved(batch)).backward()
            loss_sum += loss.detach()
        count, pieces = float(n_labels), n_pieces
        if self.world.size > 1:
            total, count, pieces = self.world.total([float(loss_sum), count, pieces], device)
            loss_sum.fill_(total)
        count = max(count, 1.0)
        self._update(step, count)
        return Step(Arriving(loss_sum), count, int(pieces), self.rate(step), self._late[1])

    def _moved(self, batch: Batch) -> torch.Tensor:
        """How far the vectors of the windows of a batch are from the first ones, weighted."""
        ids = batch.ids.to(self.lm.device)
        with torch.no_grad():
            first = self.first.vectors(ids, batch.lengths)
        now = self.lm.vectors(ids, batch.lengths)
        distance = 1.0 - torch.nn.functional.cosine_similarity(now, first)
        return self.training.keep_vectors * distance.mean()

    def _update(self, step: int, n_labels: float) -> None:
        parameters = [p for p in self.lm.weights().values() if p.requires_grad]
        for parameter in parameters:
            # A process without a batch in this step takes part in the sum, too. And a parameter
            # that no batch reaches is treated the same whatever the number of processes.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.world.sum([p.grad for p in parameters])
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters]) / n_labels
        self._late = step, Arriving(norm)
        clip = self.training.grad_clip
        if runs_behind(self.lm.device):
            # The fused update does nothing where this is 1.
            self.optimizer.found_inf = (~torch.isfinite(norm)).float()
            excess = (norm / clip).clamp(min=1.0) if clip else torch.ones_like(norm)
            scale = (n_labels * excess).float()
        else:
            found = self._check_norm()
            excess = max(1.0, found / clip) if clip else 1.0
            scale = torch.tensor(n_labels * excess, dtype=torch.float32, device=self.lm.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group["factor"]
        # torch's GradScaler sets this, and the fused update divides by it. So neither the mean over
        # pieces nor the clip needs a pass over the gradients.
        self.optimizer.grad_scale = scale
        self.optimizer.step()
        self.optimizer.grad_scale = self.optimizer.found_inf = None
        self.optimizer.zero_grad()

    def _check_norm(self) -> float:
        """RETURNS (float): Norm of the latest gradient; 0.0 before the first.

        RAISES (ValueError): It is not finite.
        """
        if self._late is None:
            return 0.0
        step, norm = self._late[0], float(self._late[1].wait())
        if not math.isfinite(norm):
            self.optimizer.zero_grad()
            raise ValueError(
                f"The norm of the gradient is {norm} in step {step}. The weights have not been "
                "touched. Lower [training] learn_rate, or set [encoder] precision to 'fp32'."
            )
        return norm

    def moments(self) -> Dict[str, torch.Tensor]:
        """RETURNS (Dict[str, Tensor]): The optimizer's state, by the names of the parameters."""
        found = {}
        for name, parameter in self.lm.weights().items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                found[f"{key}:{name}"] = torch.as_tensor(value)
        return found

    def set_moments(self, moments: Dict[str, torch.Tensor]) -> None:
        """Restore what `moments` returned."""
        parameters = self.lm.weights()
        for full, value in moments.items():
            key, _, name = full.partition(":")
            parameter = parameters[name]
            self.optimizer.state[parameter][key] = value.to(parameter.device, copy=True)


def start_head(lm: Restorer, part: Part) -> None:
    """Start a new head with the frequencies of pieces, which is most of what it learns first.

    lm (Restorer): The model. Without a bias in its projection nothing is done.
    part (Part): The training text.
    """
    bias = lm.head.bias
    if bias is None:
        return
    counts = numpy.zeros(len(bias), dtype=numpy.int64)
    for first in range(0, len(part.pieces), COUNTED):
        counts += numpy.bincount(part.pieces[first : first + COUNTED], minlength=len(bias))
    shares = (counts + 1.0) / (counts.sum() + len(bias))
    with torch.no_grad():
        bias.copy_(torch.from_numpy(numpy.log(shares)))


def learn_rate(training: TrainingPart, step: int, n_steps: int) -> float:
    """RETURNS (float): Linear up over the warm-up, linear down to the final rate."""
    n_warmup = round(training.warmup * n_steps)
    if step < n_warmup:
        return training.learn_rate * (step + 1) / n_warmup
    done = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return training.learn_rate * (1.0 - done * (1.0 - training.final_rate))


def evaluate(lm: Restorer, packer: Packer, world: World) -> float:
    """Compute the loss of held-out text, damaged in the same places each time. Where pieces are
    masked, 15 % of them are.

    lm (Restorer): The model.
    packer (Packer): The text.
    world (World): The processes, which share the work.
    RETURNS (float): Mean loss over the pieces to restore.
    """
    noise = lm.noise(MaskingPart(rate=EVAL_RATE, whole_words=False))
    lm.train(False)
    losses, n_labels = [], 0
    with torch.no_grad():
        batches = [packer.epoch(0)[k] for k in range(world.rank, len(packer.epoch(0)), world.size)]
        for chosen in batches:
            batch = packer.collate(chosen)
            damaged = noise(batch, EVAL_SEED)
            losses.append(lm.loss(batch, damaged.to(lm.device)))
            n_labels += len(damaged.labels)
    total, count = world.total([sum(map(float, losses)), n_labels], lm.device)
    if not count:
        raise ValueError(
            "No piece of the held-out text has to be restored: there is too little text. Raise "
            "[corpus] heldout."
        )
    return total / count
