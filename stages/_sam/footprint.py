"""What SAM 2.1 will need in memory, from its config and its file's size, before either is loaded."""

from typing import Any

from stages._sam.checkpoint import read_config
from stages._sam.model import SamConfig

LIBRARIES_BYTES = 450_000_000
CUDA_CONTEXT_BYTES = 600_000_000


def sam_peak_bytes(config: SamConfig, objects: int, conditioning_frames: int) -> tuple[int, int]:
    """Projected peak `(ram_bytes, vram_bytes)`: libraries, weights, activations and carried memory."""
    settings = read_config(config.config_yaml)
    weights = weight_bytes(config)
    activations = activation_bytes(settings)
    state = objects * object_state_bytes(settings, conditioning_frames)
    if config.device == "cpu":
        return LIBRARIES_BYTES + 2 * weights + activations + 2 * state, 0
    on_host = state if config.state_device == "cpu" else 0
    return (
        LIBRARIES_BYTES + CUDA_CONTEXT_BYTES + 2 * weights + on_host,
        CUDA_CONTEXT_BYTES + weights + activations + state,
    )


def weight_bytes(config: SamConfig) -> int:
    """Bytes of the float32 weights."""
    return config.checkpoint.stat().st_size if config.checkpoint.is_file() else 0


def activation_bytes(settings: dict[str, Any]) -> int:
    """Peak bytes of one frame's float32 activations."""
    return int(settings["image_size"]) ** 2 * 400


def object_state_bytes(settings: dict[str, Any], conditioning_frames: int) -> int:
    """Bytes one object carries: 6 memories and the conditioning ones (bfloat16), 15 pointers and theirs (float32)."""
    side = int(settings["image_size"]) // int(settings.get("backbone_stride", 16))
    memory = side * side * int(settings["memory_encoder"]["out_dim"]) * 2
    pointer = int(settings["image_encoder"]["neck"]["d_model"]) * 4
    memories = int(settings.get("num_maskmem", 7)) - 1
    pointers = int(settings.get("max_obj_ptrs_in_encoder", 16)) - 1
    return (memories + conditioning_frames) * memory + (pointers + conditioning_frames) * pointer
