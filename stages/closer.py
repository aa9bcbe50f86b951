"""Where tracking looks: a view round each subject, from where a first pass over the whole frame saw it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY
from stages.base import Array, Inputs, Json, Output, Read, Stage, State, Window
from stages.prompts import Box
from stages.views.look import box_of
from stages.views.names import FIRST, view_name, view_ports
from stages.views.path import SLIP, Framing, followed, without_slips

REACH = 4  # frames to each side: a view that follows a jump closely shows it larger
STRETCH = 3 * REACH + SLIP  # frames to each side that a view depends on: of place, largest size and its mean
MARGIN = 0.5  # of the box's larger side: the tracker needs to see what it must not take
LEAST = 0.06  # of the frame's height


@dataclass(frozen=True)
class CloserConfig:
    """How closely tracking looks.

    Attributes:
        subjects: names, each with a view of its own.
        side: of the square picture, pixels: the tracker's input.
        prompts: boxes that are given (x1, y1, x2, y2 px), by name and frame: there it is for certain.
    """

    subjects: tuple[str, ...]
    side: int
    prompts: Mapping[str, Mapping[int, Box]] = field(default_factory=dict)


@dataclass
class CloserState(State):
    """The last frames' boxes.

    Attributes:
        boxes: by subject, [n, 4] float64, n at most `STRETCH`; NaN where it was not seen.
    """

    boxes: dict[str, Array] = field(default_factory=dict)


class CloserStage(Stage):
    """Frames each subject for the second pass of tracking.

    Reads what the first pass saw in a window's new frames and in those of the window after: a view is fixed once, with
    what is known that far ahead. Writes `views/track-NAME` [T, 2, 3] float64: source pixels to those of the square
    picture.
    """

    name: ClassVar[str] = "closer"

    def __init__(self, config: CloserConfig) -> None:
        self.config = config
        names = [f"{FIRST}{name}" for name in config.subjects]
        self.reads = (
            *(Read(name, "new") for name in names),
            *(Read(name, "new", 1, name=f"{name}/later") for name in names),
        )
        self.writes = view_ports(config.subjects)
        self._boxes: dict[str, Array] = {}

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Fix the views of the window's new frames; each shot for itself."""
        if window.begins_shot:
            self._boxes = {}
        views = {name: self._views(name, window.new.start, inputs) for name in self.config.subjects}
        return Output({view_name(name): found for name, found in views.items()})

    def _views(self, name: str, start: int, inputs: Inputs) -> Array:
        now, later = inputs.arrays[f"{FIRST}{name}"], inputs.arrays[f"{FIRST}{name}/later"]
        before = self._boxes.get(name, np.empty((0, 4)))
        ahead = later[:STRETCH]
        found = np.concatenate([before, _boxes(now), _boxes(ahead)])
        first, own = start - len(before), len(before) + len(now)
        self._boxes[name] = found[:own][-STRETCH:]
        boxes = without_slips(found)
        for frame, box in self.config.prompts.get(name, {}).items():
            if first <= frame < first + len(boxes):
                boxes[frame - first] = np.array(box) - 0.5
        size = (int(now.shape[2]), int(now.shape[1]))
        framing = Framing((self.config.side, self.config.side), size, REACH, MARGIN, LEAST)
        views = followed(boxes, np.repeat(IDENTITY[None], len(boxes), 0), framing)
        return views[len(before) : own]

    def get_state(self) -> CloserState:
        """The last boxes; a copy."""
        return CloserState({name: boxes.copy() for name, boxes in self._boxes.items()})

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._boxes = dict(CloserState.from_parts(values, arrays).boxes)


def _boxes(masks: Array) -> Array:
    """`[n, 4]` float64."""
    return np.array([box_of(mask) for mask in masks]).reshape(-1, 4)
