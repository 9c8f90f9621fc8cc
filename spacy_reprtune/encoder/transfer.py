"""Copy arrays between the host and a device, which may compute while the host continues."""

from typing import Dict, List, Sequence

import numpy
import torch
from numpy.typing import NDArray


def transfer(arrays: Sequence[NDArray], device: torch.device) -> List[torch.Tensor]:
    """Move integers and booleans to a device.

    A CUDA device gets all of them in one copy from pinned memory, which the host does not wait for.

    arrays (Sequence[NDArray]): Arrays of int64 or bool, of any shape.
    device (torch.device): The device.
    RETURNS (List[Tensor]): Tensors of the same types and shapes.
    """
    if device.type != "cuda":
        return [torch.from_numpy(array).to(device) for array in arrays]
    flat = numpy.concatenate([array.reshape(-1).astype(numpy.int64) for array in arrays])
    moved = torch.from_numpy(flat).pin_memory().to(device, non_blocking=True)
    parts = moved.split([array.size for array in arrays])
    return [
        part.view(array.shape).bool() if array.dtype == bool else part.view(array.shape)
        for part, array in zip(parts, arrays, strict=True)
    ]


def on_host(tensors: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Prepare tensors to be saved. safetensors needs each to be contiguous and to own its memory,
    which tied ones share.

    tensors (Dict[str, Tensor]): Tensors by name.
    RETURNS (Dict[str, Tensor]): The same values in the memory of the host.
    """
    found: Dict[str, torch.Tensor] = {}
    seen = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if memory in seen else plain
        seen.add(memory)
    return found


def runs_behind(device: torch.device) -> bool:
    """RETURNS (bool): Whether a device computes while the host continues."""
    return device.type == "cuda"


class Arriving:
    """A tensor that a device may still have to compute, on its way to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """tensor (Tensor): The tensor, wherever it is."""
        self._tensor = tensor.detach()
        self._event = None
        if tensor.is_cuda:
            on_device = self._tensor
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(on_device, non_blocking=True)
            self._event = torch.cuda.Event()
            # The stream of the copy, which is not the current one if another GPU is current.
            self._event.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> torch.Tensor:
        """RETURNS (Tensor): The tensor on the CPU. Work that was given to the device later is not
        waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor.cpu()
