"""A foot that stands in the source stands in the result: its slip against the source's is taken back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stages.base import PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.finishing import AFTER, BEFORE
from stages.poses.lock import Hold, bent, offset_of, seen_box
from stages.poses.models import PoseModels

if TYPE_CHECKING:
    from stages.poses.estimator import PoseEstimator

LEAST = 0.05  # px: a smaller slip is none


@dataclass
class FootState(State):
    """Of the left and the right foot: frames in contact so far, [2, 2] float64 offsets (`stages.poses.lock.Hold`)."""

    ages: list[int] = field(default_factory=lambda: [0, 0])
    anchors: Array = field(default_factory=lambda: np.zeros((2, 2)))
    offsets: Array = field(default_factory=lambda: np.zeros((2, 2)))


class FootStage(Stage):
    """While a foot is in contact in the source, the result's foot keeps the offset to it that it began with.

    Both pictures are looked at by the same model, on the frames with a contact alone; the lower leg is bent in the
    result, where that is not the source. Reads `before`, writes `after` `[n, H, W, 3]` uint8 RGB. In `info` `slips`:
    the largest slip that was taken back, pixels, of the left and of the right foot.
    """

    name: ClassVar[str] = "foot-lock"
    lane = "gpu"
    reads = (
        Read("frames", "final"),
        Read(BEFORE, "final"),
        Read("keypoints/person", "final"),
        Read("contacts/person", "read"),
    )
    writes = (Port(AFTER, "final", PICTURE, "uint8", "until_read"),)

    def __init__(self, models: PoseModels) -> None:
        self.models = models
        self._estimator: PoseEstimator | None = None
        self._holds = [Hold(), Hold()]

    def open(self) -> None:
        """Open the model of the joints.

        Raises:
            EnvironmentFault: the file is missing or unfit, or the device does not come up.
        """
        self._estimator = self.models.open_pose()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Work on the window's final frames."""
        if window.begins_shot:
            self._holds = [Hold(), Hold()]
        frames, made = inputs.arrays["frames"], inputs.arrays[BEFORE]
        contacts = inputs.arrays["contacts/person"][window.final.start - window.read.start :]
        boxes = [seen_box(points) for points in inputs.arrays["keypoints/person"]]
        wanted = [t for t in range(len(frames)) if contacts[t].any() and boxes[t] is not None]
        poses = self._poses(frames, made, boxes, wanted)
        found, slips = made.copy(), [0.0, 0.0]
        for t, (picture, box) in enumerate(zip(made, boxes, strict=True)):
            for foot in (0, 1):
                if not contacts[t, foot]:
                    self._holds[foot] = Hold()
                    continue
                pair = poses.get(t)
                self._holds[foot] = self._holds[foot].further(None if pair is None else offset_of(*pair, foot))
                if pair is None or box is None:
                    continue
                height = float(box[3] - box[1])
                move = self._holds[foot].correction(_left(contacts[t:, foot]), height)
                if np.abs(move).max() >= LEAST:
                    slips[foot] = max(slips[foot], float(np.hypot(*move)))
                    part, where = bent(found[t], pair[1], foot, move, height)
                    changed = (picture[where] != frames[t][where]).any(-1, keepdims=True)
                    found[t][where] = np.where(changed, part, picture[where])
        return Output({AFTER: found}, {"slips": [round(slip, 3) for slip in slips]})

    def _poses(
        self, frames: Array, made: Array, boxes: list[Array | None], wanted: list[int]
    ) -> dict[int, tuple[Array, Array]]:
        """`[133, 3]` float32 of source and result, by frame; where nothing was regenerated both are the same."""
        assert self._estimator is not None, "open() comes first"
        there = [box for t in wanted if (box := boxes[t]) is not None]
        source = self._estimator([frames[t] for t in wanted], there)
        result = self._estimator([made[t] for t in wanted], there)
        return {t: (one, two) for t, one, two in zip(wanted, source, result, strict=True)}

    def leave_gpu(self) -> None:
        """Drop the model's memory until it is asked again."""
        if self._estimator is not None:
            self._estimator.session.leave_gpu()

    def close(self) -> None:
        """Drop the session."""
        self._estimator = None

    def get_state(self) -> FootState:
        """A copy of what is carried."""
        holds = self._holds
        anchors, offsets = (np.array([getattr(hold, name) for hold in holds]) for name in ("anchor", "offset"))
        return FootState([hold.age for hold in holds], anchors, offsets)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        state = FootState.from_parts(values, arrays)
        self._holds = [
            Hold(int(age), (float(a[0]), float(a[1])), (float(o[0]), float(o[1])))
            for age, a, o in zip(state.ages, state.anchors, state.offsets, strict=True)
        ]

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames, its result before and after, and the model."""
        ram, vram = self.models.peak_bytes(height, width, 0)
        return ram + window_frames * height * width * 9 + height * width, vram


def _left(contacts: Array) -> int | None:
    """Frames of contact from the first one on; None where the end is not in sight."""
    ends = np.flatnonzero(~contacts)
    return int(ends[0]) if len(ends) else None
