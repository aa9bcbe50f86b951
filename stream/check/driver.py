"""The NVIDIA driver: which one is here, which one the installed torch needs."""

from storage.errors import EnvironmentFault
from stream.check.rows import Row, line_of

# The oldest driver that runs a build for this major version of CUDA, and the extra that holds that build (NVIDIA, CUDA
# compatibility: minor versions). requirements/choose.sh has the same numbers.
OLDEST = {13: 580, 12: 525}
EXTRAS = {13: "gpu", 12: "gpu-cuda12"}


def find_driver() -> str:
    """The driver's version, e.g. "535.183.01"; no CUDA context is made for it.

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
        raise EnvironmentFault(f"none answers ({error})") from error


def torch_cuda() -> str | None:
    """The CUDA version that torch is built for, e.g. "13.0"; None: for none, or there is no torch."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    return str(torch.version.cuda) if torch.version.cuda else None


def check_driver(device: str) -> Row:
    """Driver found against driver needed."""
    name, asked, cuda = "NVIDIA driver", device == "cuda", torch_cuda()
    major = int(cuda.split(".")[0]) if cuda else max(OLDEST)
    oldest = OLDEST.get(major, max(OLDEST.values()))
    wants = f"torch's CUDA {cuda} needs {oldest} or newer" if cuda else "torch is built without CUDA"
    try:
        found = find_driver()
    except EnvironmentFault as error:
        return Row(name, False, f"{line_of(error)}; {wants}", "install one for a GPU, or use --device cpu", asked)
    version = int(found.split(".")[0])
    fitting = [EXTRAS[built] for built in sorted(OLDEST, reverse=True) if OLDEST[built] <= version]
    remedy = f"make setup EXTRA={fitting[0]}" if fitting else f"update the driver to {min(OLDEST.values())} or newer"
    if fitting and cuda and version < oldest:
        remedy += ", or update the driver"
    return Row(name, cuda is not None and version >= oldest, f"{found}; {wants}", remedy, asked)
