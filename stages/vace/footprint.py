"""What a ComfyUI server takes of its machine's RAM for a graph: its models stay there while others have the GPU.

ComfyUI keeps what nodes put out, models included, unless it was started with `--cache-none` (kijai in
ComfyUI-WanVideoWrapper, issues 371 and 1234). So text encoder, model and VAE are in RAM at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.server.edit import model_files
from stages.server.graph import Graph

# Sizes of the files, as their pages on Hugging Face list them, or public repositories that name them
# (Comfy-Org/Wan_2.1_ComfyUI_repackaged, samuelchristlie/Wan2.1-VACE-1.3B-GGUF, and those of stages/recipes/files.py).
FILE_BYTES: Mapping[str, int] = {
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": 6_740_000_000,
    "umt5_xxl_fp16.safetensors": 11_400_000_000,
    "wan2.1_vace_1.3B_fp16.safetensors": 4_310_000_000,
    "wan2.1_vace_14B_fp16.safetensors": 34_700_000_000,
    "Wan2.1-VACE-1.3B-Q8_0.gguf": 2_300_000_000,
    "wan_2.1_vae.safetensors": 254_000_000,
    "clip_vision_h.safetensors": 1_264_000_000,
    "wan2.2_fun_vace_high_noise_14B_fp8_scaled.safetensors": 17_350_000_000,
    "wan2.2_fun_vace_low_noise_14B_fp8_scaled.safetensors": 17_350_000_000,
    "Wan2_2-Animate-14B_fp8_scaled_e4m3fn_KJ_v2.safetensors": 17_320_000_000,
    "wan2.1_14B_SCAIL_2_fp8_scaled.safetensors": 17_700_000_000,
    "umt5-xxl-enc-bf16.safetensors": 11_400_000_000,
    "Wan2_1_VAE_bf16.safetensors": 254_000_000,
    "t5xxl_fp8_e4m3fn.safetensors": 4_890_000_000,
    "t5xxl_fp16.safetensors": 9_790_000_000,
    "void_pass1.safetensors": 11_140_000_000,  # that of netflix/void-model: the same tensors by other names
    "cogvideox_vae.safetensors": 862_000_000,  # at most: THUDM/CogVideoX-5b has it in float32
}
PROCESS_BYTES = 2_000_000_000  # Python, torch and a CUDA context's host memory; the order of what ours take
FLOAT_PICTURES = 5  # of a window, held in float32 at the generated size: control, its two parts, mask, result


@dataclass(frozen=True)
class ServerFootprint:
    """Bytes of RAM by what takes them.

    Attributes:
        models: by file name, None where the size is not known.
        working: the process and a window's pictures.
    """

    models: Mapping[str, int | None]
    working: int

    @property
    def total(self) -> int:
        """All that is known."""
        return self.working + sum(size or 0 for size in self.models.values())


def server_footprint(graph: Graph, width: int, height: int, frames: int) -> ServerFootprint:
    """What a server takes for windows of `frames` pictures of `width` x `height` pixels."""
    names = sorted({file.replace("\\", "/").rpartition("/")[2] for file in model_files(graph)})
    pictures = FLOAT_PICTURES * frames * width * height * 3 * 4
    return ServerFootprint({name: FILE_BYTES.get(name) for name in names}, PROCESS_BYTES + pictures)
