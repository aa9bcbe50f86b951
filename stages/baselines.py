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

from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.prompts import Box, Correction, ObjectPrompt
from stages.sam.footprint import sam_peak_bytes
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import NAME, PERSON, ReverseTracker, note_tracking
from stages.video.encode import EncoderSettings, write_segment
from stages.video.segment import read_segment
from stages.views.names import view_name

CEILING, BLUR = "ceiling", "blur"
BASELINES = {name: f"baselines/{name}" for name in (CEILING, BLUR)}
BLUR_SHARE = 0.02  # of the picture's diagonal: the blur's standard deviation


@dataclass(frozen=True)
class BaselineConfig:
    """As the result is scored, and how it is encoded.

    Attributes:
        prompt, corrections, person_box, through_views: as in `ScoreConfig`. encoder: as the sink's.
    """

    prompt: ObjectPrompt
    corrections: tuple[Correction, ...]
    encoder: EncoderSettings
    person_box: Box | None = None
    through_views: bool = False


@dataclass
class BaselineState(State):
    """Values and arrays of both reverse trackers."""

    ceiling_values: dict[str, Json] = field(default_factory=dict)
    ceiling_arrays: dict[str, Array] = field(default_factory=dict)
    blur_values: dict[str, Json] = field(default_factory=dict)
    blur_arrays: dict[str, Array] = field(default_factory=dict)


class BaselineStage(Stage):
    """Scores two results that anybody could make.

    Writes `baselines/ceiling`, the source itself, and `baselines/blur`, the source with the masks blurred: `[n]`
    float32, the object's IoU, encoded and tracked as the result is; NaN as in `iou`.
    """

    name: ClassVar[str] = "baselines"
    lane = "gpu"
    reads: tuple[Read, ...] = tuple(Read(name, "final") for name in ("frames", "times", "masks/object", "masks/person"))
    writes = tuple(Port(name, "final", (), "float32", fill=float("nan")) for name in BASELINES.values())
    facts = ("decode", "pose", "track")
    weights = "sam"

    def __init__(self, config: BaselineConfig, model: SamModel) -> None:
        self.config = config
        self.model = model
        schedule = PromptSchedule(config.prompt, config.corrections)
        self._trackers = {name: ReverseTracker(model, schedule, config.through_views) for name in BASELINES}
        if config.through_views:
            self.reads = (*self.reads, *(Read(view_name(name), "final") for name in (NAME, PERSON)))

    def open(self) -> None:
        """Load the model, unless a stage that shares it has."""
        self.model.load()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Score the window's final frames."""
        frames, objects = inputs.arrays["frames"], inputs.arrays["masks/object"]
        persons, times = inputs.arrays["masks/person"], inputs.arrays["times"]
        known = int(inputs.info.get("decode", {}).get("clip_frames_min16", 16))
        views = None
        if self.config.through_views:
            views = {name: inputs.arrays[view_name(name)] for name in (NAME, PERSON)}
        pictures = {CEILING: frames, BLUR: blurred(frames, objects | persons)}
        arrays = {}
        for name, tracker in self._trackers.items():
            note_tracking(tracker, inputs, self.config.prompt, self.config.person_box)
            with TemporaryDirectory(prefix="skate-baseline-") as folder:
                path = Path(folder) / f"{name}.mp4"
                write_segment(path, pictures[name], times, self.config.encoder)
                shown = read_segment(path, objects.shape[1], objects.shape[2])
                scores = tracker.score(
                    shown, objects, persons, min(known, window.final.stop if window.last else 16), views
                )
            arrays[BASELINES[name]] = np.array(scores.iou, dtype=np.float32)
        return Output(arrays)

    def leave_gpu(self) -> None:
        """Move the shared model's weights off the GPU."""
        self.model.to_cpu()

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
        ram, vram = sam_peak_bytes(self.model.config, 4, 1 + len(self.config.corrections))
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
    tracker = int(np.count_nonzero(failing & (ceiling <= threshold)))
    return {"generator": int(np.count_nonzero(failing)) - tracker, "tracker": tracker}
