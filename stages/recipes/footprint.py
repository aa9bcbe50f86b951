"""What a ComfyUI server takes of its machine's RAM for a graph: its models stay there while others have the GPU.

ComfyUI keeps what nodes put out, models included, unless it was started with `--cache-none` (kijai in
ComfyUI-WanVideoWrapper, issues 371 and 1234). So text encoder, model and VAE are in RAM at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.recipes.files import SERVER_FILES
from stages.server.edit import model_files
from stages.server.graph import Graph

# Of files whose size no source states beside their hash, or that no graph of ours names: as their pages list them.
UNSTATED_BYTES: Mapping[str, int] = {
    "umt5_xxl_fp16.safetensors": 11_400_000_000,
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
    return ServerFootprint({name: file_bytes(name) for name in names}, PROCESS_BYTES + pictures)


def file_bytes(name: str) -> int | None:
    """The size of a model file by the name that graphs use; None where it is not known."""
    stated = SERVER_FILES[name].size_bytes if name in SERVER_FILES else None
    return UNSTATED_BYTES.get(name) if stated is None else stated
