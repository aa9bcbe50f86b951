"""The SAM 2.1 that the page's masks come from."""

from stages.device import use_device
from stages.models.registry import check_content, resolve
from stages.sam.model import SamConfig, SamModel
from stages.sam.still import StillSam
from stream.options.settings import resolve_device


def still_sam(name: str, config: str | None, device: str) -> StillSam:
    """As the options `--sam`, `--sam-config` and `--device` say; loaded when it is first needed.

    Raises:
        EnvironmentFault: no such model or device.
    """
    model, where = check_content(resolve("sam", name, config)), resolve_device(device)
    use_device(where)
    assert model.config_path is not None  # resolve() refuses a SAM without one
    return StillSam(SamModel(SamConfig(model.path, model.config_path, where)))
