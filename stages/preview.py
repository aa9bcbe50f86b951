"""The preview generator: no model, no weights, deterministic, milliseconds a frame.

It is an effect, not a generation: the object gets a glowing chevron texture that moves and turns with its mask, the
person is posterised into steel-blue armour with lit joints, as is the narrow strip between the two that the masks leave
open, and everything else stays the source. It shows in seconds whether tracking, windows, blending and scoring work,
before a GPU is spent; it says nothing about how a diffusion model will do.

The picture of a frame depends on that frame, the masks up to it, and the seed, never on the window: two windows that
generate the same frame make the same picture, so a crossfade between them is invisible.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from stages.anchor import ROW_VALUES, Anchor, anchor_of
from stages.base import Array, Inputs, Json, Output, Read, State, Window
from stages.generator import GeneratorStage, Request, StepProgress
from stages.paint import Palette, choose_palette, paint_object, paint_person, shade_ring, strip_between
from stages.region import DILATE, check_region

_PALETTE_PIXELS = 16  # smaller first sightings are too little to choose a colour by


@dataclass(frozen=True)
class PreviewConfig:
    """What to restyle, and the seed of pattern and colours.

    Attributes:
        reskin: "both", "object" or "person".
        dilate: widths in pixels of the rings around object and person (what is generated has the source's size); the
            preview shades the object's faintly, and fills a strip between the two that is narrower than both rings.
        seed: another seed is another pattern and another colour of equal contrast.
    """

    reskin: str = "both"
    dilate: tuple[int, int] = DILATE
    seed: int = 0

    def __post_init__(self) -> None:
        check_region(self.reskin, self.dilate)


@dataclass
class PreviewState(State):
    """The object's frames of reference, so that the next window paints the overlap as this one did.

    Attributes:
        anchors: `[n, 5]` float64, one row a frame of the last window's read span (see `Anchor`); NaN: not seen yet.
        start: absolute index of the first of them.
        palette: `[k, 3]` float32 colours, chosen where the object was first seen; k = 0 before.
        seed: that they were chosen with.
    """

    version: ClassVar[int] = 1
    anchors: Array = field(default_factory=lambda: np.zeros((0, ROW_VALUES)))
    start: int = 0
    palette: Array = field(default_factory=lambda: np.zeros((0, 3), dtype=np.float32))
    seed: int | None = None

    def row(self, frame: int) -> Array | None:
        """The anchor row of an absolute frame, None when it is not held."""
        index = frame - self.start
        return self.anchors[index] if 0 <= index < len(self.anchors) else None


class PreviewStage(GeneratorStage):
    """Restyles object and person inside their masks; the rest of the picture is the source."""

    name = "generate"
    reads = (
        Read("frames", "read"),
        Read("keypoints/person", "read"),
        Read("masks/object", "read"),
        Read("masks/person", "read"),
    )
    scales = "pixels"

    def __init__(self, config: PreviewConfig) -> None:
        super().__init__()
        self.config = config
        self._state = PreviewState()

    @classmethod
    def from_options(cls, options: Mapping[str, Any], progress: Callable[[StepProgress], None]) -> Self:
        """The stage, closed, for a run with these options; it has no steps to tell of."""
        return cls(PreviewConfig(options["reskin"], options["dilate"], options["seed"]))

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        """Return `made` `[read.frames, H, W, 3]` uint8 RGB: the window restyled, the source's pixels elsewhere.

        Another seed alone changes anything: attempts with the same one are the same picture.
        """
        frames, keypoints = inputs.arrays["frames"], inputs.arrays["keypoints/person"]
        objects, persons = inputs.arrays["masks/object"], inputs.arrays["masks/person"]
        made = np.empty_like(frames)
        anchors = np.full((len(frames), ROW_VALUES), np.nan)
        if window.begins_shot:  # behind a cut it lies anywhere; its colours stay
            self._state = replace(self._state, anchors=PreviewState().anchors)
        before = self._state.row(window.read.start - 1)
        last = None if before is None else Anchor.from_row(before)
        seed = self.config.seed if request.seed is None else request.seed
        carried = Palette.from_array(self._state.palette) if self._state.seed == self.config.seed else None
        redone = None  # what `skate redo` made again has colours of its own, and hands on those of the run
        for index in range(len(frames)):
            known = self._state.row(window.read.start + index)
            last = anchor_of(objects[index], last) if known is None else Anchor.from_row(known)
            if last is not None:
                anchors[index] = last.to_row()
            seen = np.count_nonzero(objects[index]) >= _PALETTE_PIXELS
            if carried is None and seen:
                carried = choose_palette(frames[index], objects[index], self.config.seed)
            if redone is None and seen and seed != self.config.seed:
                redone = choose_palette(frames[index], objects[index], seed)
            palette = carried if seed == self.config.seed else redone
            made[index] = self._restyle(frames[index], keypoints[index], objects[index], persons[index], last, palette)
        self._state = PreviewState(
            anchors=anchors,
            start=window.read.start,
            palette=PreviewState().palette if carried is None else carried.to_array(),
            seed=None if carried is None else self.config.seed,
        )
        return Output(arrays={"made": made})

    def _restyle(
        self,
        frame: Array,
        keypoints: Array,
        object_mask: Array,
        person_mask: Array,
        anchor: Anchor | None,
        palette: Palette | None,
    ) -> Array:
        """One frame, `[H, W, 3]` uint8 RGB."""
        painted = frame.copy()
        person = person_mask if self.config.reskin != "object" else np.zeros_like(person_mask)
        if self.config.reskin == "both":  # who stands on it hides it: the strip at the sole is the person's
            person = person | strip_between(object_mask, person, min(self.config.dilate))
        if person.any():
            paint_person(painted, frame, person, keypoints)
        if self.config.reskin != "person" and anchor is not None and palette is not None:
            shade_ring(painted, object_mask, person, self.config.dilate[0], palette)
            paint_object(painted, object_mask, anchor, palette)
        return painted

    def get_state(self) -> PreviewState:
        """The state after the last window; later windows replace its arrays and never write into them."""
        return replace(self._state)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = PreviewState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Frames, masks, keypoints and what is made, the work on one frame, and (8 MB) choosing the palette."""
        picture = height * width
        frame = picture * 110 if window_frames else 0
        return window_frames * (picture * (3 + 2 + 3) + 133 * 3 * 4) + frame + 8_000_000, 0
