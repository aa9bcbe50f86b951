"""Which processor the models work on, and keeping off the GPU where it is not that one."""

import contextlib
import os
import threading
from collections.abc import Iterator

PROCESS_WIDE = threading.Lock()
"""Held while what belongs to the process is changed: two that overlap would each leave the other's behind."""

HIDDEN = "-1"  # an index that no GPU has; an empty value counts as none at all on Windows


def use_device(device: str) -> None:
    """Make the process keep off the GPU when `device` is "cpu"; comes before torch and ONNX Runtime load.

    Loading sam2 opens CUDA wherever torch sees a GPU, whatever the model's device is; so do torch's own questions after
    devices. A GPU that is hidden is left whole to others, and a full one cannot fail a run that does not use it.
    It stays hidden for the rest of the process, and from its children.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = HIDDEN


@contextlib.contextmanager
def without_cuda() -> Iterator[None]:
    """Have torch say that there is no GPU, also where it has opened one already (a caller's own work, say)."""
    import torch

    asked = torch.cuda.is_available
    torch.cuda.is_available = lambda: False
    try:
        yield
    finally:
        torch.cuda.is_available = asked
