"""What SAM 2.1 will need in memory, from its config and its file's header, before either is loaded."""

import math
from typing import Any

from stages.sam.checkpoint import one_line, read_config
from stages.sam.model import SamConfig
from storage.errors import EnvironmentFault

# Resident size of a process that has only imported torch, sam2, cv2 and av: 533 MiB measured (torch 2.13, CPU).
LIBRARIES_BYTES = 600_000_000
# Of a CUDA context and torch's GPU libraries; not measured here, the order of what they are known to take.
CUDA_HOST_BYTES = 1_500_000_000
CUDA_CONTEXT_BYTES = 600_000_000

# Peak of one frame's activations in planes of (image side / 4)^2 float32: the encoder's first stage works with
# `embed_dim` channels there (its MLP with four times that), the feature pyramid and its positions with `d_model`.
# Measured over all steps of tracking, hiera-small and tiny at 1024 px: 690 and 680 MiB; this gives 928 MiB.
PLANES_PER_EMBED_DIM = 12
PLANES_PER_D_MODEL = 10
# Copies of a conditioning frame's memory, widened to d_model, that one memory attention holds at a time.
COPIES_PER_CONDITIONING_FRAME = 5


def sam_peak_bytes(config: SamConfig, objects: int, conditioning_frames: int) -> tuple[int, int]:
    """Projected peak `(ram_bytes, vram_bytes)`: libraries, weights, activations and carried memory.

    Args:
        config: the model.
        objects: how many are tracked.
        conditioning_frames: the prompt and its corrections, of the object that has most.

    Raises:
        EnvironmentFault: when the config or the checkpoint cannot be read.
    """
    settings = read_config(config.config_yaml)
    conditioning_frames = config.policy.most_conditioning(conditioning_frames)
    weights = weight_bytes(config)
    activations = activation_bytes(settings, conditioning_frames)
    state = objects * object_state_bytes(settings, conditioning_frames)
    working = weights + activations + 2 * state  # carried, and a copy when it is saved
    loading = 2 * weights  # the model and the checkpoint's tensors
    if config.device == "cpu":
        return LIBRARIES_BYTES + max(loading, working), 0
    image = 12 * int(settings["image_size"]) ** 2
    return LIBRARIES_BYTES + CUDA_HOST_BYTES + loading + 2 * state + 4 * image, CUDA_CONTEXT_BYTES + working


def weight_bytes(config: SamConfig) -> int:
    """Bytes of the weights in float32.

    Raises:
        EnvironmentFault: when the checkpoint is missing or its header is damaged.
    """
    path = config.checkpoint
    if not path.is_file():
        raise EnvironmentFault(
            f"SAM checkpoint {path} does not exist: fetch it with `skate models fetch` or give its path"
        )
    if path.suffix != ".safetensors":
        return path.stat().st_size  # Meta's files hold float32
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise EnvironmentFault(f"SAM checkpoint {path} is damaged or truncated: {one_line(error)}") from error
    return sum(4 * math.prod(shape) for shape in shapes)


def activation_bytes(settings: dict[str, Any], conditioning_frames: int = 1) -> int:
    """Peak bytes of one frame's float32 activations."""
    side = int(settings["image_size"])
    d_model = int(settings["image_encoder"]["neck"]["d_model"])
    planes = PLANES_PER_EMBED_DIM * int(settings["image_encoder"]["trunk"].get("embed_dim", 96))
    planes += PLANES_PER_D_MODEL * d_model
    tokens = (side // int(settings.get("backbone_stride", 16))) ** 2
    corrections = max(0, conditioning_frames - 1) * COPIES_PER_CONDITIONING_FRAME * tokens * d_model
    return 4 * ((side // 4) ** 2 * planes + corrections)


def object_state_bytes(settings: dict[str, Any], conditioning_frames: int) -> int:
    """Bytes one object carries: 6 memories and the conditioning ones (bfloat16), 15 pointers and theirs (float32)."""
    side = int(settings["image_size"]) // int(settings.get("backbone_stride", 16))
    memory = side * side * int(settings["memory_encoder"]["out_dim"]) * 2
    pointer = int(settings["image_encoder"]["neck"]["d_model"]) * 4
    memories = int(settings.get("num_maskmem", 7)) - 1
    pointers = int(settings.get("max_obj_ptrs_in_encoder", 16)) - 1
    return (memories + conditioning_frames) * memory + (pointers + conditioning_frames) * pointer
