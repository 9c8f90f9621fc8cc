"""The device to compute on, and the number format."""

from pathlib import Path
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "bf16", "fp32")
# Their attention masks with the lowest fp32 number, which overflows in bf16.
FP32_FAMILIES = ("deberta",)


def resolve_device(device: str) -> "torch.device":
    """Turn the name of a device into a torch device that exists.

    device (str): Any name that torch understands ("cpu", "cuda", "cuda:1", "mps").
    RETURNS (torch.device): The device.
    RAISES (ValueError): torch does not know the name, or does not see the device.
    """
    import torch

    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device = {device!r} is not a device. Use 'auto' (follows --gpu-id), 'cpu', 'cuda', "
            "'cuda:1' or 'mps'."
        ) from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count() or "no"
        raise ValueError(
            f"device = {device!r}, but torch sees {count} CUDA devices here. Install a torch build "
            "for your driver, or set device to 'auto' or 'cpu'."
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device = 'mps', but torch sees no Metal device here.")
    return resolved


def resolve_precision(
    precision: str, device: "torch.device", family: str
) -> "Optional[torch.dtype]":
    """Turn the `precision` setting into the type that matrix products are computed in.

    precision (str): "auto" for bf16 where the hardware and the encoder have it, "bf16", or "fp32".
    device (torch.device): Where the encoder runs.
    family (str): `model_type` of the encoder.
    RETURNS (Optional[torch.dtype]): torch.bfloat16, or None for the weights' own fp32.
    RAISES (ValueError): The encoder can't train in bf16.
    """
    import torch

    if precision == "bf16" and family in FP32_FAMILIES:
        raise ValueError(
            f"precision = 'bf16', but encoders of the family '{family}' can't train in it. Use "
            "'fp32', or 'auto', which takes fp32 for them."
        )
    if precision == "fp32" or family in FP32_FAMILIES:
        return None
    if precision == "bf16" or has_bf16(device):
        return torch.bfloat16
    return None


def has_bf16(device: "torch.device") -> bool:
    """RETURNS (bool): Whether bf16 products are faster than fp32 ones on a device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return _cpu_has_bf16()
    return False


def _cpu_has_bf16() -> bool:
    # On other processors torch emulates bf16, which is slower than fp32.
    import torch

    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if probe is not None:
        return bool(probe())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
