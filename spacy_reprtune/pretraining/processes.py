"""The processes that `torchrun` or `accelerate launch` started, and sums over all of them."""

import datetime
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Sequence

import torch

from ..bridge.device import configured_device

# How long processes wait for each other. They all wait for the first one to tokenize the text, and
# for gigabytes of text NCCL's default of ten minutes is too short.
PATIENCE = datetime.timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """The processes of a run.

    rank (int): Rank of this process.
    size (int): Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether this is the process that writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes.

        RAISES (ValueError): One of them has ended.
        """
        if self.size > 1:
            with _others():
                torch.distributed.barrier()

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum tensors over all processes, in place.

        tensors (Sequence[Tensor]): Tensors of one type, with the same shapes in all processes.
        """
        if self.size > 1:
            with _others():
                # All at once, so that no tensor waits for the one before it.
                sums = [torch.distributed.all_reduce(t, async_op=True) for t in tensors]
                for one in sums:
                    one.wait()

    def total(self, numbers: Sequence[float], device: torch.device) -> List[float]:
        """RETURNS (List[float]): Sums of numbers over all processes."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64, device=device)
        self.sum([values])
        return values.tolist()


def join(device: str) -> World:
    """Join the processes that the launcher started, if it did.

    device (str): The `device` setting. A CUDA device uses NCCL, and each process its own; the CPU
        uses gloo.
    RETURNS (World): The processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return World()
    cuda = configured_device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return World(torch.distributed.get_rank(), torch.distributed.get_world_size())


def leave(world: World) -> None:
    """Leave the group of processes."""
    if world.size > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _others() -> Iterator[None]:
    """Explain a failed exchange: usually another process has ended."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"the other processes can't be reached ({reason}). If one of them has ended with a "
            "message of its own, that is why."
        ) from error
