"""How the generator looks at the clip: whether it follows, which way its picture lies, how steadily."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY
from stages.base import Array, Inputs, Json, Output, Read, Stage, State, Window
from stages.prompts import Box
from stages.views.look import boxes_of
from stages.views.path import FILLS, Framing, followed, without_slips

REACH = 15  # frames to each side over which a view's place is averaged, and twice its size
MARGIN = 0.15  # of the box's larger side, on each side
LEAST = 0.2  # of the frame's height: a smaller crop is only blur enlarged
GAIN = 1.25  # times as large a picture turned shows the subject, where it is turned
STEADY_FRAMES = 30  # a second, or two at 16 frames/s: a hand's shake is gone, a pan is not


@dataclass(frozen=True)
class AimConfig:
    """What was asked for.

    Attributes:
        look: "full": at the whole frame; "follow": at what is regenerated; "auto": the one or the other; or a box,
            x1, y1, x2, y2 in source pixels, for good.
        steady: frames over which the camera's path is averaged; 0: as it is; None: 30 where it follows.
        size: (width, height) of the view's picture, pixels.
        turns: whether width and height of that may be exchanged.
        reskin: what is regenerated: "both", "object" or "person".
    """

    look: str | Box
    steady: int | None
    size: tuple[int, int]
    turns: bool = False
    reskin: str = "both"


@dataclass(frozen=True)
class Aim:
    """What was decided: facts of the stage.

    Attributes:
        follows: whether the view is round what is regenerated.
        turned: whether its picture's width and height are exchanged.
        steady: frames over which the camera's path is averaged; 0: it is not.
        whole: whether every view is the whole frame, as without any.
    """

    follows: bool = False
    turned: bool = False
    steady: int = 0
    whole: bool = True

    @classmethod
    def of(cls, inputs: Inputs) -> "Aim":
        """What the stage said about the window."""
        return cls(**inputs.info.get(AimStage.name, {}))

    def sized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the view's picture, where `size` is that of one that is not turned."""
        return (size[1], size[0]) if self.turned else size

    def stored(self, pictures: Array) -> Array:
        """`[n, h, w, 3]` as they lie in the store, where all pictures have the shape of those that are not turned: on
        their side where they are turned. Its own inverse."""
        return np.ascontiguousarray(pictures.swapaxes(1, 2)) if self.turned else pictures


@dataclass
class AimState(State):
    """What was decided; None until something that is regenerated was seen: in this shot, and for `turned` in any."""

    follows: bool | None = None
    turned: bool | None = None


class AimStage(Stage):
    """Decides by the first window that shows anything of what is regenerated: which way the picture lies for the whole
    run, whether it follows for a shot.

    Facts: those of `Aim`. It follows where the crop that it would take is less than three quarters of the frame; the
    picture is turned where the subject is so much larger in it and its crop lies within the frame.
    """

    name: ClassVar[str] = "aim"
    reads = (Read("masks/object", "new"), Read("masks/person", "new"))
    of_variation = True

    def __init__(self, config: AimConfig) -> None:
        self.config = config
        self._state = AimState()
        if not isinstance(config.look, str):
            x1, y1, x2, y2 = config.look
            upright = config.size[0] < config.size[1]
            self._state.turned = config.turns and upright != (x2 - x1 < y2 - y1)

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Say what holds for the window's new frames, and decide it where it is not decided yet."""
        config = self.config
        if window.begins_shot:
            self._state = AimState(None, self._state.turned)
        if self._state.follows is None and config.look in ("auto", "follow"):
            self._state = self._decided(boxes_of(inputs.arrays, config.reskin), inputs.arrays["masks/object"].shape)
        follows, turned = bool(self._state.follows), bool(self._state.turned)
        steady = config.steady if config.steady is not None else STEADY_FRAMES if follows else 0
        whole = not (follows or turned or steady) and isinstance(config.look, str)
        return Output({}, vars(Aim(follows, turned, steady, whole)))

    def _decided(self, boxes: Array, shape: tuple[int, ...]) -> AimState:
        if np.isnan(boxes).any(1).all():
            return self._state
        frame = (shape[2], shape[1])
        straight, turned = (_scales(boxes, framing(self.config.size, frame, turn)) for turn in (False, True))
        (width, height), least = self.config.size, float(turned.min())
        # Turned, the crop is as wide as the picture is high.
        fits = height <= frame[0] * least and width <= frame[1] * least
        turns = self._state.turned
        if turns is None:
            turns = self.config.turns and fits and float(np.median(turned)) >= GAIN * float(np.median(straight))
        small = fits if turns else float(np.median(height / straight)) < FILLS * frame[1]
        return AimState(self.config.look == "follow" or small, turns)

    def get_state(self) -> AimState:
        """What was decided; nothing writes to it afterwards."""
        return self._state

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = AimState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """The window's masks."""
        return window_frames * height * width * 3, 0


def framing(size: tuple[int, int], frame: tuple[int, int], turned: bool) -> Framing:
    """How what is regenerated is framed.

    Args:
        size: (width, height) of the view's picture where it is not turned. frame: (width, height) of the source's.
    """
    return Framing((size[1], size[0]) if turned else size, frame, REACH, MARGIN, LEAST, turned)


def _scales(boxes: Array, how: Framing) -> Array:
    """`[T]`: how many of the picture's pixels one of the source's takes."""
    views = followed(without_slips(boxes), np.repeat(IDENTITY[None], len(boxes), 0), how)
    return np.asarray(np.hypot(views[:, 0, 0], views[:, 1, 0]))
