"""Turn the `device` setting into a torch device."""

import logging
import sys
import warnings

import torch

from ..encoder.precision import resolve_device

logger = logging.getLogger("spacy")

# The settings that this process has already warned about.
_said = set()


def configured_device(setting: str, *, loading: bool = False) -> torch.device:
    """Turn the `device` setting of an encoder into a torch device.

    setting (str): "auto" for the device that spaCy uses (`--gpu-id`, `spacy.require_gpu`), or the
        name of a torch device. spaCy refuses a CUDA device without CuPy; a name works without it.
    loading (bool): Whether a trained pipeline is loaded. If the device that it was trained on is
        missing, it runs on the CPU, with one warning per process.
    RETURNS (torch.device): The device.
    RAISES (ValueError): torch does not know the name. Or it does not see the device, and no trained
        pipeline is loaded.
    """
    if setting == "auto":
        return _spacy_device()
    try:
        return resolve_device(setting)
    except ValueError as error:
        if not loading or "is not a device" in str(error):
            raise
        if setting not in _said:
            _said.add(setting)
            warnings.warn(
                f"This pipeline was saved with device = {setting!r}, which torch does not see "
                "here, so it runs on the CPU. Set device = 'auto' to follow --gpu-id instead.",
                stacklevel=2,
            )
        return torch.device("cpu")


def _spacy_device() -> torch.device:
    # Pretraining works without thinc. If nothing has imported it, spaCy was not given a GPU.
    thinc = sys.modules.get("thinc.api")
    if thinc is not None:
        ops = thinc.get_current_ops()
        if isinstance(ops, thinc.CupyOps):
            return torch.device("cuda", torch.cuda.current_device())
        if isinstance(ops, thinc.MPSOps):
            return torch.device("mps")
    if torch.cuda.is_available() and "auto" not in _said:
        _said.add("auto")
        logger.warning(
            "Computing on the CPU: device = 'auto' follows spaCy, which was not given a GPU. torch "
            "sees one: use it with --gpu-id 0 (needs CuPy), or set device = 'cuda' (does not)."
        )
    return torch.device("cpu")
