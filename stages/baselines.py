"""What the tracker itself makes of the clip: of the untouched source, and of one whose region is only a blur.

A frame that fails the gate says little alone. Where the untouched source, encoded and tracked as the result is, fails
on the same frame, it is the tracker that fails there; where a blur passes, passing says little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import cv2
import numpy as np

from stages.base import Array, Inputs, Json, Output, Port, Read, State, Window, above
from stages.sam.footprint import sam_peak_bytes
from stages.sam.judging import JudgingStage, ScoreConfig
from stages.sam.model import SamModel
from stages.subjects import most_prompts
from stages.video.encode import EncoderSettings, write_segment

CEILING, BLUR = "ceiling", "blur"
BASELINES = {name: f"baselines/{name}" for name in (CEILING, BLUR)}
BLUR_SHARE = 0.02  # of the picture's diagonal: the blur's standard deviation


@dataclass
class BaselineState(State):
    """Values and arrays of both reverse trackers."""

    ceiling_values: dict[str, Json] = field(default_factory=dict)
    ceiling_arrays: dict[str, Array] = field(default_factory=dict)
    blur_values: dict[str, Json] = field(default_factory=dict)
    blur_arrays: dict[str, Array] = field(default_factory=dict)


class BaselineStage(JudgingStage):
    """Scores two results that anybody could make.

    Writes `baselines/ceiling`, the source itself, and `baselines/blur`, the source with the masks blurred: `[n]`
    float32, encoded, tracked and judged as the result is; NaN as in `iou`.

    Args:
        config: as the result is scored. encoder: the sink's.
    """

    name: ClassVar[str] = "baselines"
    reads: tuple[Read, ...] = (Read("frames", "final"), Read("times", "final"))
    writes = tuple(Port(name, "final", (), "float32", fill=float("nan")) for name in BASELINES.values())

    def __init__(self, config: ScoreConfig, encoder: EncoderSettings, model: SamModel) -> None:
        super().__init__(config, model)
        self._encoder = encoder
        self._trackers = {name: self.config.reverse(self.model) for name in BASELINES}

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Score the window's final frames."""
        frames, times = inputs.arrays["frames"], inputs.arrays["times"]
        masks, _ = self.config.sources(inputs)
        pictures = {CEILING: frames, BLUR: blurred(frames, np.logical_or.reduce(list(masks.values())))}
        arrays = {}
        for name, tracker in self._trackers.items():
            with TemporaryDirectory(prefix="skate-baseline-") as folder:
                path = Path(folder) / f"{name}.mp4"
                write_segment(path, pictures[name], times, self._encoder)
                scores = self._score(tracker, path, window, inputs)
            arrays[BASELINES[name]] = np.array(scores.iou, dtype=np.float32)
        return Output(arrays)

    def close(self) -> None:
        """Let the memories go. The model belongs to whoever made it."""
        for tracker in self._trackers.values():
            tracker.close()

    def get_state(self) -> BaselineState:
        """Both trackers' state; a copy."""
        parts = [self._trackers[name].get_state().to_parts() for name in (CEILING, BLUR)]
        return BaselineState(*parts[0], *parts[1])

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take a state back."""
        state = BaselineState.from_parts(values, arrays)
        self._trackers[CEILING].set_state(state.ceiling_values, state.ceiling_arrays)
        self._trackers[BLUR].set_state(state.blur_values, state.blur_arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected `(ram_bytes, vram_bytes)`: two trackers, the window twice with its masks, and the encoder."""
        subjects = self.config.subjects
        ram, vram = sam_peak_bytes(self.model.config, 2 * len(subjects), most_prompts(subjects))
        frame = height * width * 40 if window_frames else 0
        return ram + height * width * (10 * window_frames + 3 * min(60, window_frames)) + frame, vram


def blurred(frames: Array, masks: Array) -> Array:
    """`[n, H, W, 3]` uint8 RGB whose masks (`[n, H, W]` bool) are blurred."""
    made = frames.copy()
    sigma = BLUR_SHARE * float(np.hypot(*masks.shape[1:]))
    for index in np.flatnonzero(masks.any(axis=(1, 2))):
        made[index][masks[index]] = cv2.GaussianBlur(frames[index], (0, 0), sigma)[masks[index]]
    return made


def failed_by(failing: Array, ceiling: Array, threshold: float) -> dict[str, int]:
    """How many failing frames (`[n]` bool) are the generator's, and how many the tracker's: there the ceiling (`[n]`)
    is not above the IoU's threshold either."""
    tracker = int(np.count_nonzero(failing & ~np.isnan(ceiling) & ~above(ceiling, threshold)))
    return {"generator": int(np.count_nonzero(failing)) - tracker, "tracker": tracker}
