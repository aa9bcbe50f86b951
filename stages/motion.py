"""How the background moves from frame to frame, outside of the subjects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY
from stages.aim import Aim
from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.views.motion import SIDE, background, small_grey, step


@dataclass
class MotionState(State):
    """The last frame.

    Attributes:
        grey: [h, w] uint8, reduced; empty before the first frame.
        free: [h, w] uint8: 255 where background is.
    """

    grey: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    free: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))


class MotionStage(Stage):
    """Follows the background (`stages.views.motion`).

    `motion` [T, 2, 3] float64 maps frame t - 1 to frame t, source pixels. `motion_inliers` [T] float32 is the share of
    the followed corners that obey it: 0 where no motion was found, and the identity stands; NaN on a frame before
    which there is none. Info: `unfollowed`: how many of the window's frames have 0. Where neither the view is steadied
    (`stages.aim`) nor plates are kept, nothing is followed: the identity stands, and NaN.
    """

    name: ClassVar[str] = "motion"
    reads = (Read("frames", "new"), Read("masks/object", "new"), Read("masks/person", "new"))
    writes = (
        Port("motion", "new", (2, 3), "float64", fill=float("nan")),
        Port("motion_inliers", "new", (), "float32", fill=float("nan")),
    )
    facts: tuple[str, ...] = ("aim",)
    scales = "pixels"
    of_variation = True

    def __init__(self, always: bool = False) -> None:
        """
        Args:
            always: whether the background is followed whatever becomes of the view.
        """
        self.always = always
        if always:
            self.facts = ()
        self._last = MotionState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Follow the background through the new frames."""
        frames = inputs.arrays["frames"]
        subjects = inputs.arrays["masks/object"] | inputs.arrays["masks/person"]
        steadied = self.always or Aim.of(inputs).steady > 0
        if window.begins_shot or not steadied:
            self._last = MotionState()
        motion = np.repeat(IDENTITY[None], len(frames), 0)
        inliers = np.full(len(frames), np.nan, np.float32)
        for index, (frame, taken) in enumerate(zip(frames, subjects, strict=True) if steadied else ()):
            grey = small_grey(frame)
            free = background(taken, (grey.shape[0], grey.shape[1]))
            before, self._last = self._last, MotionState(grey, free)
            if before.grey.size:
                size = (frame.shape[1], frame.shape[0])
                found = step(before.grey, grey, before.free, free, size)
                motion[index], inliers[index] = found.matrix, found.inliers
        return Output({"motion": motion, "motion_inliers": inliers}, {"unfollowed": int((inliers == 0).sum())})

    def get_state(self) -> MotionState:
        """The last frame; nothing writes to it afterwards."""
        return self._last

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._last = MotionState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames and masks, and pyramids of two reduced frames.

        Between windows one reduced frame and what is background in it.
        """
        small = int(min(1.0, SIDE / max(height, width)) ** 2 * height * width)
        return window_frames * height * width * 5 + (24 if window_frames else 2) * small, 0
