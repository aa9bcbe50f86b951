"""For use from Python: a stage alone, without a run directory (docs/python-api.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.base import Window
from stages.models.registry import check_content, resolve
from stages.pose import PoseConfig, PoseStage
from stages.prompts import ObjectPrompt
from stages.sam.model import SamConfig, SamModel
from storage.spans import Span


def whole_clip(frames: int) -> Window:
    """One window that holds a clip of `frames` frames at once: for clips that fit in memory."""
    span = Span(0, frames)
    return Window(index=0, read=span, new=span, final=span, last=True, padded_frames=-(-(frames - 1) // 4) * 4 + 1)


@contextmanager
def sam_model(name: str = "small", config_yaml: str | None = None, device: str = "cpu") -> Iterator[SamModel]:
    """A SAM 2.1 by name or path, for tracking and scoring; closed at the end of the `with`.

    Raises:
        EnvironmentFault: when the weights are not there or damaged.
    """
    found = check_content(resolve("sam", name, config_yaml))
    assert found.config_path is not None  # resolve() refuses a SAM without one
    model = SamModel(SamConfig(Path(found.path), found.config_path, device=device))
    try:
        yield model
    finally:
        model.close()


def pose_stage(
    prompt: ObjectPrompt,
    pose: str = "dwpose-l-384",
    detector: str = "yolox-m",
    device: str = "cpu",
    detect_every: int = 1,
) -> PoseStage:
    """A pose stage with models by name or path.

    Raises:
        EnvironmentFault: when the weights are not there.
    """
    config = PoseConfig(
        pose_path=str(resolve("pose", pose).path),
        detector_path=str(resolve("detector", detector).path),
        prompt=prompt,
        device=device,
        detect_every=detect_every,
    )
    return PoseStage(config)
