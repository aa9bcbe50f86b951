"""The generator's view: steady against the background, and round what is regenerated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY, compose, scaling, shifting
from stages.aim import REACH, Aim, framing
from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.prompts import Box
from stages.views.look import boxes_of
from stages.views.names import VIEWS
from stages.views.path import SLIP, followed, steadied, without_slips


@dataclass(frozen=True)
class ViewConfig:
    """Where the generator looks.

    Attributes:
        box: x1, y1, x2, y2 in source pixels that it looks at for good; None: as was decided (`stages.aim`).
        moves: whether the background's motion is known.
        size: (width, height) of the view's picture, pixels, where it is not turned.
        reskin: what is regenerated: "both", "object" or "person".
    """

    box: Box | None
    moves: bool
    size: tuple[int, int]
    reskin: str = "both"


@dataclass
class ViewState(State):
    """What is known of the last frames.

    Attributes:
        boxes: [n, 4] float64 of what is regenerated, NaN where nothing is.
        motion: [n, 2, 3] float64.
    """

    boxes: Array = field(default_factory=lambda: np.empty((0, 4)))
    motion: Array = field(default_factory=lambda: np.empty((0, 2, 3)))


class ViewStage(Stage):
    """Fixes the views of a window's new frames, from them and from those of the window after; each shot for itself.

    Writes `views/generate` [T, 2, 3] float64: source pixels to those of the view's picture.
    """

    name: ClassVar[str] = "view"
    writes = (Port(VIEWS, "new", (2, 3), "float64"),)
    facts = ("aim",)
    of_variation = True

    def __init__(self, config: ViewConfig) -> None:
        self.config = config
        names = ["masks/object", "masks/person", *(["motion"] if config.moves else [])]
        self.reads = (
            *(Read(name, "new") for name in names),
            *(Read(name, "new", 1, name=f"{name}/later") for name in names),
        )
        self._state = ViewState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Fix the views of the window's new frames."""
        aim = Aim.of(inputs)
        state = ViewState() if window.begins_shot else self._state
        masks = inputs.arrays["masks/object"]
        boxes = np.concatenate([state.boxes, *(self._boxes(inputs, aim, which) for which in ("", "/later"))])
        motion = np.concatenate([state.motion, *(self._motion(inputs, which) for which in ("", "/later"))])
        first, own = len(state.boxes), len(state.boxes) + window.new.frames
        how = framing(self.config.size, (masks.shape[2], masks.shape[1]), aim.turned)
        steady = steadied(motion, aim.steady // 2)
        if aim.follows:
            views = followed(without_slips(boxes), steady, how)
        else:
            base = how.base if self.config.box is None else _of_box(self.config.box, how.size)
            views = compose(np.repeat(base[None], len(steady), 0), steady)
        reach = (3 * REACH + SLIP if aim.follows else 0) + aim.steady // 2
        kept = slice(max(0, own - reach), own)
        self._state = ViewState(boxes[kept], motion[kept])
        return Output({VIEWS: views[first:own]})

    def _boxes(self, inputs: Inputs, aim: Aim, which: str) -> Array:
        """`[n, 4]` float64 around what is regenerated, where it is followed."""
        if aim.follows:
            return boxes_of(inputs.arrays, self.config.reskin, which)
        return np.full((len(inputs.arrays[f"masks/object{which}"]), 4), np.nan)

    def _motion(self, inputs: Inputs, which: str) -> Array:
        if not self.config.moves:
            return np.repeat(IDENTITY[None], len(inputs.arrays[f"masks/object{which}"]), 0)
        return inputs.arrays[f"motion{which}"]

    def get_state(self) -> ViewState:
        """What is known of the last frames; nothing writes to it afterwards."""
        return self._state

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = ViewState.from_parts(values, arrays)


def _of_box(box: Box, size: tuple[int, int]) -> Array:
    """`[2, 3]`: the view of a box, filled by it."""
    x1, y1, x2, y2 = box
    grown = scaling((size[0] / (x2 - x1), size[1] / (y2 - y1)))
    return compose(grown, shifting(-x1, -y1))
