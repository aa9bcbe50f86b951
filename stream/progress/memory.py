"""Memory of this process: resident, and on the GPU."""

import sys
from pathlib import Path

import psutil


def rss_bytes() -> int:
    """Resident memory of this process, bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, bytes."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows
    if peak is not None:
        return int(peak)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss starts from what the process had that started this one
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peak_vram_bytes() -> int | None:
    """Highest memory that torch has taken on the GPU so far, bytes; None without CUDA (or before torch is loaded)."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
