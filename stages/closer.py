"""Where tracking looks: a view round each subject, from where a first pass over the whole frame saw it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY
from stages.base import Array, Inputs, Json, Output, Read, Stage, State, Window
from stages.prompts import Box
from stages.views.names import FIRST, LOOKED, view_name, view_ports
from stages.views.pace import MOST
from stages.views.path import SLIP, Framing, beyond, followed, held, without_slips

REACH = 4  # frames to each side: a view that follows a jump closely shows it larger
STRETCH = 3 * REACH + MOST + SLIP  # frames to each side that a view depends on: place, largest size, its mean, looks
MARGIN = 0.5  # of the box's larger side: the tracker needs to see what it must not take
LEAST = 0.06  # of the frame's height


@dataclass(frozen=True)
class CloserConfig:
    """How closely tracking looks.

    Attributes:
        subjects: names, each with a view of its own.
        side: of the square picture, pixels: the tracker's input.
        frame: (width, height) of the frames.
        prompts: boxes that are given (x1, y1, x2, y2 px), by name and frame: there it is for certain.
    """

    subjects: tuple[str, ...]
    side: int
    frame: tuple[int, int]
    prompts: Mapping[str, Mapping[int, Box]] = field(default_factory=dict)


@dataclass
class CloserState(State):
    """The last frames' boxes.

    Attributes:
        boxes: by subject, [n, 4] float64, n at most `STRETCH`; NaN where it was not seen.
        looked: [n] bool, at which of these frames the first pass looked.
    """

    version: ClassVar[int] = 2

    looked: Array = field(default_factory=lambda: np.empty(0, np.bool_))
    boxes: dict[str, Array] = field(default_factory=dict)


class CloserStage(Stage):
    """Frames each subject for the second pass of tracking.

    Reads where the first pass saw them in a window's new frames and in those of the window after (`first/NAME` [T, 4]
    float64 px, NaN where it did not look or see, `looked` [T] bool): a view is fixed once, with what is known that far
    ahead; between two looks a subject moves evenly. Writes `views/track-NAME` [T, 2, 3] float64: source pixels to
    those of the square picture.
    """

    name: ClassVar[str] = "closer"

    def __init__(self, config: CloserConfig) -> None:
        self.config = config
        names = [LOOKED, *(f"{FIRST}{name}" for name in config.subjects)]
        self.reads = (
            *(Read(name, "new") for name in names),
            *(Read(name, "new", 1, name=f"{name}/later") for name in names),
        )
        self.writes = view_ports(config.subjects)
        self._state = CloserState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Fix the views of the window's new frames; each shot for itself."""
        before = CloserState() if window.begins_shot else self._state
        now, later = inputs.arrays[LOOKED], inputs.arrays[f"{LOOKED}/later"][:STRETCH]
        first, own = window.new.start - len(before.looked), slice(len(before.looked), len(before.looked) + len(now))
        looked = np.concatenate([before.looked, now, later])
        self._state, views = CloserState(looked[: own.stop][-STRETCH:]), {}
        for name in self.config.subjects:
            earlier = before.boxes.get(name, np.empty((0, 4)))
            ahead = inputs.arrays[f"{FIRST}{name}/later"][:STRETCH]
            boxes = np.concatenate([earlier, inputs.arrays[f"{FIRST}{name}"], ahead])
            self._state.boxes[name] = boxes[: own.stop][-STRETCH:]
            views[view_name(name)] = self._views(name, boxes, looked, first)[own]
        return Output(views)

    def _views(self, name: str, boxes: Array, looked: Array, first: int) -> Array:
        """`[n, 2, 3]` of a stretch of frames from `first` on."""
        boxes = beyond(without_slips(boxes), self.config.frame)
        for frame, box in self.config.prompts.get(name, {}).items():
            if first <= frame < first + len(boxes):
                boxes[frame - first] = np.array(box) - 0.5
        framing = Framing((self.config.side, self.config.side), self.config.frame, REACH, MARGIN, LEAST)
        boxes, lost = held(boxes, looked)
        return followed(boxes, np.repeat(IDENTITY[None], len(boxes), 0), framing, lost)

    def get_state(self) -> CloserState:
        """The last boxes; nothing writes to them afterwards."""
        return self._state

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = CloserState.from_parts(values, arrays)
