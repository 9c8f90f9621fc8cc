"""Checkpoints: written whole, verified when read, an earlier one used where the last is damaged."""

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from safetensors.torch import load_file, save_file

from ..files import digest_of, replaced_directory

logger = logging.getLogger(__name__)

# How many of the latest checkpoints are kept, besides the best one by held-out loss.
KEPT = 2
_TENSORS = ("model.safetensors", "optimizer.safetensors")
Tensors = Dict[str, torch.Tensor]


@dataclass
class RunState:
    """How far a run has come, besides its weights and moments.

    step (int): Steps taken, those of a new head included.
    epoch, number (int): The epoch, and steps taken in it.
    pieces (int): Pieces seen so far.
    seconds (float): Time spent so far.
    before (Dict[str, float]): Losses before training, by name of the evaluated text, and the score
        of the "judge".
    fill_before (List[List[str]]): Fillings of the report's sentences before training.
    best_step (int): The step with the best held-out loss, or score of the judge; -1 before the
        first evaluation.
    first_step (int): The step of the original encoder, whose checkpoint stays until a recipe has
        judged it; -1 without a recipe.
    best, last (Dict[str, float]): Losses at that step and at the last evaluation.
    judged (Dict[str, List[List[int]]]): What the judge counted "before", at the "best" and at the
        "last" evaluation; see `Judge.counts`.
    worse (int): Evaluations since the best one.
    done (bool): Whether training has ended.
    """

    step: int = 0
    epoch: int = 0
    number: int = 0
    pieces: int = 0
    seconds: float = 0.0
    before: Dict[str, float] = field(default_factory=dict)
    fill_before: List[List[str]] = field(default_factory=list)
    best_step: int = -1
    first_step: int = -1
    best: Dict[str, float] = field(default_factory=dict)
    last: Dict[str, float] = field(default_factory=dict)
    judged: Dict[str, List[List[int]]] = field(default_factory=dict)
    worse: int = 0
    done: bool = False


class Checkpoints:
    """The checkpoints of a run, in a directory of their own."""

    def __init__(self, path: Path) -> None:
        """path (Path): The directory. It need not exist."""
        self.path = path

    def steps(self) -> List[int]:
        """RETURNS (List[int]): The steps that have a checkpoint, ascending."""
        found = self.path.glob("step-*") if self.path.is_dir() else []
        return sorted(int(p.name[5:]) for p in found if p.name[5:].isdigit())

    def save(self, state: RunState, model: Tensors, optimizer: Tensors) -> None:
        """Write a checkpoint, and delete those that are no longer needed.

        state (RunState): How far the run has come.
        model, optimizer (Dict[str, Tensor]): Weights and moments.
        """
        with replaced_directory(self._folder(state.step)) as fresh:
            for name, tensors in zip(_TENSORS, (model, optimizer), strict=True):
                save_file({k: v.detach().contiguous() for k, v in tensors.items()}, fresh / name)
            digests = {name: digest_of(fresh / name) for name in _TENSORS}
            content = json.dumps({**asdict(state), "sha256": digests}, indent=1)
            (fresh / "state.json").write_text(content, encoding="utf8")
        wanted = {*self.steps()[-KEPT:], state.best_step, state.first_step}
        for step in self.steps():
            if step not in wanted:
                shutil.rmtree(self._folder(step), ignore_errors=True)

    def load(self, step: int) -> Tuple[RunState, Tensors, Tensors]:
        """Read a checkpoint.

        step (int): The step that it was written after.
        RETURNS (Tuple[RunState, Dict, Dict]): State, weights and moments, as they were saved.
        RAISES (ValueError): It is damaged.
        """
        folder = self._folder(step)
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf8"))
            digests = state.pop("sha256")
            for name in _TENSORS:
                if digest_of(folder / name) != digests[name]:
                    raise ValueError(f"the digest of {name} is wrong")
            model, optimizer = (load_file(folder / name) for name in _TENSORS)
            return RunState(**state), model, optimizer
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The checkpoint {folder} is damaged: {error}.") from error

    def load_latest(self) -> Optional[Tuple[RunState, Tensors, Tensors]]:
        """RETURNS (Optional[Tuple[RunState, Dict, Dict]]): The latest checkpoint that is whole, or
            None if there are none.
        RAISES (ValueError): There are checkpoints, and all of them are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except ValueError as error:
                logger.warning("%s The one before it is used.", error)
        if steps:
            raise ValueError(
                f"All checkpoints in {self.path} are damaged. Start over with --fresh, which "
                "deletes them."
            )
        return None

    def _folder(self, step: int) -> Path:
        return self.path / f"step-{step:08d}"
