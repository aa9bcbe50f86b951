"""The NVIDIA driver and GPU: which are here, which the installed torch needs, which packages fit."""

import re
import warnings
from dataclasses import dataclass

from storage.errors import EnvironmentFault

# The oldest driver that runs a build for this major version of CUDA, and the extra that holds that build (NVIDIA, CUDA
# compatibility: minor versions). requirements/choose.sh has the same numbers.
OLDEST = {13: 580, 12: 525}
EXTRAS = {13: "gpu", 12: "gpu-cuda12"}
OLDEST_GPU = {13: (7, 5), 12: (7, 0)}
"""The lowest compute capability that the pinned torch of each is built for."""


@dataclass(frozen=True)
class Driver:
    """Driver found against driver needed.

    Attributes:
        found: its version, e.g. "535.183.01"; None: none answers.
        cuda: the CUDA version that torch is built for, e.g. "13.0"; None: for none, or there is no torch.
        reason: why none answers.
    """

    found: str | None
    cuda: str | None
    reason: str = ""

    @property
    def needed(self) -> int | None:
        """The oldest driver that torch works with; None where torch needs none."""
        return OLDEST.get(int(self.cuda.split(".")[0]), max(OLDEST.values())) if self.cuda else None

    @property
    def fits(self) -> bool:
        """Whether torch can work with it."""
        return self.found is not None and self.needed is not None and int(self.found.split(".")[0]) >= self.needed

    @property
    def detail(self) -> str:
        """Found and needed, in words."""
        needs = f"torch's CUDA {self.cuda} needs {self.needed} or newer" if self.cuda else "torch is built without CUDA"
        return f"{self.found or f'none answers ({self.reason})'}; {needs}"

    @property
    def remedy(self) -> str:
        """What to do where it does not fit."""
        if self.found is None:
            return "install one for a GPU, or use --device cpu"
        fitting = [
            EXTRAS[cuda] for cuda in sorted(OLDEST, reverse=True) if OLDEST[cuda] <= int(self.found.split(".")[0])
        ]
        if not fitting:
            return f"update the driver to {min(OLDEST.values())} or newer, or use --device cpu"
        return f"make setup EXTRA={fitting[0]}" + (", or update the driver" if self.cuda else "")


def find_driver() -> Driver:
    """What is here; no CUDA context is made for it."""
    cuda = torch_cuda()
    try:
        return Driver(driver_version(), cuda)
    except EnvironmentFault as error:
        return Driver(None, cuda, str(error))


def driver_version() -> str:
    """As NVML tells it.

    Raises:
        EnvironmentFault: when no driver answers.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise EnvironmentFault(str(error)) from error


def torch_cuda() -> str | None:
    """The CUDA version that torch is built for; None: for none, or there is no torch."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    return str(torch.version.cuda) if torch.version.cuda else None


def old_gpu(index: int = 0) -> tuple[str, str] | None:
    """What is wrong with a GPU that is older than all that the installed torch is built for, and what to do about it;
    None: it is not. torch counts it as available, and the first thing that it is to do fails."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says it in ten lines
        found = torch.cuda.get_device_capability(index)
    built = [divmod(int(re.sub(r"\D", "", arch)), 10) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    if not built or found >= min(built):
        return None
    capability, needed = (".".join(map(str, each)) for each in (found, min(built)))
    name = torch.cuda.get_device_name(index)
    fitting = [EXTRAS[cuda] for cuda in OLDEST_GPU if OLDEST_GPU[cuda] <= found]
    return (
        f"{name} has compute capability {capability}; torch {torch.__version__} needs {needed} or newer",
        f"make setup EXTRA={fitting[0]}, or use --device cpu" if fitting else "use --device cpu",
    )
