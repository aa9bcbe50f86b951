"""One SAM 2.1, loaded once, shared by the stages that track with it."""

import contextlib
import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.choices import DISTRACTOR_AWARE, STOCK
from stages.device import PROCESS_WIDE, without_cuda
from stages.sam.checkpoint import COMPILED_PREDICTOR, load_strict, read_checkpoint, read_config
from stages.sam.memory import DistractorMemory
from stages.sam.policy import MemoryPolicy, StockMemory
from stages.sam.shared import Shared
from storage.errors import EnvironmentFault, UsageError

# Pointer memory reaches this far in SAM 2 and 2.1 (`max_obj_ptrs_in_encoder`); a clip shorter than this is tracked
# with its real length, so the stages ask for `min(clip frames, 16)` and no more.
MAX_POINTERS = 16

POLICIES: dict[str, type[MemoryPolicy]] = {STOCK: StockMemory, DISTRACTOR_AWARE: DistractorMemory}
"""By their words in `stages.choices.MEMORIES`."""


@dataclass(frozen=True)
class SamConfig:
    """Which SAM 2.1 to load and where it works.

    Attributes:
        checkpoint: `.safetensors`, or a torch file that holds tensors only.
        config_yaml: the model's complete config.
        device: "cpu" (float32) or "cuda" (bfloat16 autocast where the compute capability is 8.0 or more, else float32).
        state_device: where memories lie between frames, "cpu" or "cuda".
        compile: use sam2's own `SAM2VideoPredictorVOS` (everything under `torch.compile`; CUDA).
        memory: the name of a policy in `POLICIES`.
    """

    checkpoint: Path
    config_yaml: Path
    device: str = "cpu"
    state_device: str = "cpu"
    compile: bool = False
    memory: str = STOCK

    def __post_init__(self) -> None:
        for option, value in (("--device", self.device), ("--state-device", self.state_device)):
            if value not in ("cpu", "cuda"):
                raise UsageError(f"{option} {value}: SAM 2.1 works on cpu or cuda")
        if self.device == "cpu" and self.state_device == "cuda":
            raise UsageError("--state-device cuda needs --device cuda: the model works on the CPU")
        if self.memory not in POLICIES:
            raise UsageError(f"--memory {self.memory}: choose one of {', '.join(POLICIES)}")

    @property
    def policy(self) -> type[MemoryPolicy]:
        """Of each session's memories."""
        return POLICIES[self.memory]


class Warm:
    """Predictors that were closed, for the next of the same config and file; nothing is kept before `keep`."""

    def __init__(self) -> None:
        self._kept: dict[tuple[SamConfig, int, int], Any] | None = None

    def keep(self) -> None:
        """Keep from here on: for a process that opens one run after the other."""
        self._kept = self._kept or {}

    @property
    def keeps(self) -> bool:
        """Whether any are kept."""
        return self._kept is not None

    def take(self, config: SamConfig) -> Any:
        """One of this config; None where there is none."""
        return None if self._kept is None else self._kept.pop(self._key(config), None)

    def put(self, config: SamConfig, predictor: Any) -> None:
        """Keep one, if any are kept."""
        if self._kept is not None:
            with contextlib.suppress(OSError):  # a file that is gone is not asked for again
                self._kept[self._key(config)] = predictor

    @staticmethod
    def _key(config: SamConfig) -> tuple[SamConfig, int, int]:
        file = config.checkpoint.stat()
        return config, file.st_mtime_ns, file.st_size


WARM = Warm()


class SamModel:
    """A cheap handle; `load()` builds the stock `SAM2VideoPredictor` once, `close()` drops it; both may be repeated."""

    def __init__(self, config: SamConfig) -> None:
        self.config = config
        self._predictor: Any = None
        self._autocast = False
        self._shared: Shared | None = None

    def load(self) -> None:
        """Build the predictor from its config, load the weights strictly, move it to the device.

        Raises:
            EnvironmentFault: no such device, or a checkpoint or config that cannot be used; one line each.
        """
        if self._predictor is not None:
            return
        import torch

        config = self.config
        if config.device == "cuda" and not torch.cuda.is_available():
            raise EnvironmentFault(
                "--device cuda: torch finds no usable NVIDIA GPU: see `skate check`, or use --device cpu"
            )
        self._predictor = WARM.take(config) or self._built()
        self.to_device()
        # compiled parts are not called piece by piece
        self._shared = None if config.compile else Shared(self._predictor)
        self._autocast = config.device == "cuda" and torch.cuda.get_device_capability()[0] >= 8

    def _built(self) -> Any:
        """The predictor, from its config and weights."""
        config = self.config
        settings = read_config(config.config_yaml)
        tensors = read_checkpoint(config.checkpoint)
        # On the CPU sam2 1.1.0 still computes its positions on any GPU that torch sees (position_encoding.py:46,
        # transformer.py:270): their last bits would tell whether there was one.
        with PROCESS_WIDE, without_cuda() if config.device == "cpu" else contextlib.nullcontext():
            predictor = build_predictor(settings, config.config_yaml, compiled=config.compile)
        load_strict(predictor, tensors, config.checkpoint, config.config_yaml)
        config.policy.install(predictor)
        return predictor.to(config.device).eval()

    @property
    def predictor(self) -> Any:
        """The stock predictor.

        Raises:
            RuntimeError: before `load()` or after `close()`.
        """
        if self._predictor is None:
            raise RuntimeError("SamModel.load() has not been called")
        return self._predictor

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.predictor.image_size)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 autocast on a capable GPU, nothing elsewhere."""
        if not self._autocast:
            return contextlib.nullcontext()
        import torch

        return torch.autocast("cuda", dtype=torch.bfloat16)

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """While entered, what is the same for all objects of a frame is computed once (`stages.sam.shared`)."""
        return self._shared or contextlib.nullcontext()

    def to_cpu(self) -> None:
        """Move the weights off the GPU, so that others have its memory, with what torch keeps for later use there."""
        if self.config.device == "cuda" and "torch" in sys.modules:
            import torch

            if self._predictor is not None:
                self._move("cpu")
            torch.cuda.empty_cache()

    def to_device(self) -> None:
        """Bring the weights back to where they work."""
        if self.predictor.device.type != self.config.device:
            self._move(self.config.device)

    def _move(self, device: str) -> None:
        """Move weights and the constants that sam2 keeps beside them, which `to` does not know (about 90 MB)."""
        self._predictor.to(device)
        if self._shared is not None:
            self._shared.forget()
        for module in self._predictor.modules():
            cache = vars(module).get("cache")  # PositionEmbeddingSine's, by size
            if isinstance(cache, dict):
                module.cache = {size: positions.to(device) for size, positions in cache.items()}
            if "freqs_cis" in vars(module):  # RoPEAttention's
                module.freqs_cis = module.freqs_cis.to(device)

    def close(self) -> None:
        """Let the weights go, or keep them warm, off the GPU: others may need all of it meanwhile."""
        if self._predictor is None:
            return
        if WARM.keeps and not self.config.compile:  # what it compiles stays at fixed addresses of the GPU
            self.to_cpu()
            WARM.put(self.config, self._predictor)
        self._predictor = self._shared = None
        if self.config.device == "cuda":
            import torch

            torch.cuda.empty_cache()


def build_predictor(settings: dict[str, Any], origin: Path, compiled: bool = False) -> Any:
    """Instantiate the predictor a config describes, with random weights.

    Args:
        settings: what `read_config` returned.
        origin: the config's path, for messages.
        compiled: build sam2's `SAM2VideoPredictorVOS` with a compiled image encoder, as
            `build_sam2_video_predictor(vos_optimized=True)` does.

    Raises:
        EnvironmentFault: when the config does not describe a model that can be built and carried exactly.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    settings = copy.deepcopy(settings)
    if compiled:
        settings["_target_"] = COMPILED_PREDICTOR
        settings["compile_image_encoder"] = True
    try:
        # sam2 announces compilation with print(); stdout belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            predictor = instantiate(settings, _recursive_=True)
    except HydraException as error:
        cause = error.__cause__ or error
        raise EnvironmentFault(
            f"SAM config {origin} cannot be built: {type(cause).__name__}: {cause}".splitlines()[0]
        ) from error
    pointers = int(predictor.max_obj_ptrs_in_encoder)
    if pointers > MAX_POINTERS:
        raise EnvironmentFault(
            f"SAM config {origin} asks for {pointers} object pointers: at most {MAX_POINTERS} are supported"
        )
    if predictor.non_overlap_masks or predictor.non_overlap_masks_for_mem_enc:
        raise EnvironmentFault(
            f"SAM config {origin} sets non_overlap_masks: objects are tracked independently here; set it to false"
        )
    return predictor
