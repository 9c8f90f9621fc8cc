"""How much memory this process has had."""

import sys
from pathlib import Path
from typing import Optional


def peak_memory_mb() -> Optional[float]:
    """RETURNS (Optional[float]): The most memory that this process has had so far, in units of
    1,000,000 bytes, or None where the system does not say."""
    # Linux keeps ru_maxrss across exec, so that it may be the parent's peak; VmHWM starts again.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        return round(kib * 1024 / 1e6, 1)
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
