"""Checkpoints: written whole, checked when read, the one before used where the last is damaged."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
from safetensors.torch import load_file, save_file

from ..files import replaced_directory

logger = logging.getLogger(__name__)

# Of the latest; the best one by held-out loss is kept besides.
KEPT = 2
_TENSORS = ("model.safetensors", "optimizer.safetensors")


class Checkpoints:
    """The checkpoints of a run, in a directory of its own."""

    def __init__(self, path: Path) -> None:
        """path (Path): The directory; it need not be there."""
        self.path = path

    def steps(self) -> List[int]:
        """RETURNS (List[int]): The steps that there are checkpoints of, ascending."""
        found = self.path.glob("step-*") if self.path.is_dir() else []
        return sorted(int(p.name[5:]) for p in found if p.name[5:].isdigit())

    def save(
        self,
        state: Dict[str, Any],
        model: Dict[str, torch.Tensor],
        optimizer: Dict[str, torch.Tensor],
    ) -> None:
        """Write a checkpoint, and drop those that are no longer needed.

        state (Dict[str, Any]): Its "step", the "best_step", and whatever else can be JSON.
        model, optimizer (Dict[str, Tensor]): Weights and moments.
        """
        with replaced_directory(self._folder(state["step"])) as fresh:
            for name, tensors in zip(_TENSORS, (model, optimizer), strict=True):
                save_file({k: v.detach().contiguous() for k, v in tensors.items()}, fresh / name)
            digests = {name: _digest(fresh / name) for name in _TENSORS}
            content = json.dumps({**state, "sha256": digests}, indent=1)
            (fresh / "state.json").write_text(content, encoding="utf8")
        wanted = {*self.steps()[-KEPT:], state["best_step"]}
        for step in self.steps():
            if step not in wanted:
                shutil.rmtree(self._folder(step), ignore_errors=True)

    def load(self, step: int) -> Tuple[Dict[str, Any], Dict[str, torch.Tensor], Dict]:
        """Read a checkpoint.

        step (int): Whose.
        RETURNS (Tuple[Dict, Dict, Dict]): State, weights and moments, as they were saved.
        RAISES (ValueError): It is damaged.
        """
        folder = self._folder(step)
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf8"))
            digests = state.pop("sha256")
            for name in _TENSORS:
                if _digest(folder / name) != digests[name]:
                    raise ValueError(f"{name} is not what was written")
            model, optimizer = (load_file(folder / name) for name in _TENSORS)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The checkpoint {folder} is damaged: {error}.") from error
        return state, model, optimizer

    def load_latest(self) -> Optional[Tuple[Dict[str, Any], Dict[str, torch.Tensor], Dict]]:
        """Read the latest checkpoint that is whole.

        RETURNS (Optional[Tuple[Dict, Dict, Dict]]): State, weights and moments, or None where
            there is no checkpoint.
        RAISES (ValueError): There are some, and all are damaged.
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


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
