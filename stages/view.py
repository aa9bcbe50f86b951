"""The generator's view: steady against the background, and round what is regenerated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.affine import IDENTITY, compose, scaling
from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.prompts import Box
from stages.views.look import box_of
from stages.views.names import VIEWS
from stages.views.path import FILLS, SLIP, Framing, followed, steadied, whole, without_slips

REACH = 15  # frames to each side over which a view's place is averaged, and twice its size
MARGIN = 0.15  # of the box's larger side, on each side
LEAST = 0.2  # of the frame's height: a smaller crop is only blur enlarged


@dataclass(frozen=True)
class ViewConfig:
    """Where the generator looks.

    Attributes:
        look: "full": at the whole frame; "follow": at what is regenerated; "auto": the one or the other, by how much
            of the frame that takes in a shot's first window; or a box, x1, y1, x2, y2 in source pixels, for good.
        steady: frames over which the camera's path is averaged; 0: as it is.
        size: (width, height) of the view's picture, pixels.
        reskin: what is regenerated: "both", "object" or "person".
    """

    look: str | Box
    steady: int
    size: tuple[int, int]
    reskin: str = "both"

    @property
    def reach(self) -> int:
        """Frames to each side that a view depends on."""
        return (3 * REACH + SLIP if self.look in ("follow", "auto") else 0) + self.steady // 2


@dataclass
class ViewState(State):
    """What is known of the last frames.

    Attributes:
        boxes: [n, 4] float64 of what is regenerated, NaN where nothing is.
        motion: [n, 2, 3] float64.
        follows: with "auto", what was decided; None before a shot's first window.
    """

    boxes: Array = field(default_factory=lambda: np.empty((0, 4)))
    motion: Array = field(default_factory=lambda: np.empty((0, 2, 3)))
    follows: bool | None = None


class ViewStage(Stage):
    """Fixes the views of a window's new frames, from them and from those of the window after; each shot for itself.

    Writes `views/generate` [T, 2, 3] float64: source pixels to those of the view's picture. Info: `follows`.
    """

    name: ClassVar[str] = "view"
    writes = (Port(VIEWS, "new", (2, 3), "float64"),)

    def __init__(self, config: ViewConfig) -> None:
        self.config = config
        names = ["masks/object", "masks/person", *(["motion"] if config.steady else [])]
        self.reads = (
            *(Read(name, "new") for name in names),
            *(Read(name, "new", 1, name=f"{name}/later") for name in names),
        )
        self._state = ViewState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Fix the views of the window's new frames."""
        state, reach = ViewState() if window.begins_shot else self._state, self.config.reach
        boxes = np.concatenate([state.boxes, self._boxes(inputs, ""), self._boxes(inputs, "/later")])
        motion = np.concatenate([state.motion, self._motion(inputs, ""), self._motion(inputs, "/later")])
        first, own = len(state.boxes), len(state.boxes) + window.new.frames
        masks = inputs.arrays["masks/object"]
        framing = Framing(self.config.size, (masks.shape[2], masks.shape[1]), REACH, MARGIN, LEAST)
        steady = steadied(motion, self.config.steady // 2)
        follows = state.follows if self.config.look == "auto" else self.config.look == "follow"
        if follows is None or follows:
            views = followed(without_slips(boxes), steady, framing)
        if follows is None:  # "auto", in the shot's first window
            crop = framing.size[1] / np.hypot(views[:own, 0, 0], views[:own, 1, 0])
            follows = float(np.median(crop)) < FILLS * framing.frame[1]
        if not follows:
            views = _fixed(self.config.look, steady, framing)
        kept = slice(max(0, own - reach), own)
        self._state = ViewState(boxes[kept], motion[kept], follows)
        return Output({VIEWS: views[first:own]}, {"follows": follows})

    def _boxes(self, inputs: Inputs, which: str) -> Array:
        """`[n, 4]` float64 around what is regenerated."""
        names = {"both": ("object", "person")}.get(self.config.reskin, (self.config.reskin,))
        found = np.stack([
            np.array([box_of(mask) for mask in inputs.arrays[f"masks/{name}{which}"]]).reshape(-1, 4) for name in names
        ])  # fmt: skip
        if not found.shape[1]:
            return np.empty((0, 4))
        return np.concatenate([_least(found[..., :2]), -_least(-found[..., 2:])], 1)

    def _motion(self, inputs: Inputs, which: str) -> Array:
        if not self.config.steady:
            return np.repeat(IDENTITY[None], len(inputs.arrays[f"masks/object{which}"]), 0)
        return inputs.arrays[f"motion{which}"]

    def get_state(self) -> ViewState:
        """What is known of the last frames; nothing writes to it afterwards."""
        return self._state

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = ViewState.from_parts(values, arrays)


def _least(values: Array) -> Array:
    """The least over the first axis of what is no NaN; NaN where nothing is."""
    least = np.where(np.isnan(values), np.inf, values).min(0)
    return np.where(np.isinf(least), np.nan, least)


def _fixed(look: str | Box, steady: Array, framing: Framing) -> Array:
    """A view that follows nothing: of the whole frame, or of a box in it, steadied."""
    base = whole(framing.frame, framing.size)
    if not isinstance(look, str):
        x1, y1, x2, y2 = look
        base = scaling((framing.size[0] / (x2 - x1), framing.size[1] / (y2 - y1)))
        base = compose(base, np.array([[1.0, 0.0, -x1], [0.0, 1.0, -y1]]))
    return compose(np.repeat(base[None], len(steady), 0), steady)
