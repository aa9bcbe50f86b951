"""Compositing: what a generator made goes back into the source, and nothing outside the region changes.

    made    [n, h, w, 3]   at the generator's size, all of the picture
    raw     [n, H, W, 3]   colours matched, at the source's size, feathered into the source around the region

Which pixels those are is decided here as the generator was asked for them: by the masks, and by how far this try at the
window dilates them (`facts` of the generator).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from stages.aim import Aim
from stages.base import PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, Window
from stages.generator import Request
from stages.grain import Grain, grain_of
from stages.matching import Look, MatchState, look, sharpness_facts
from stages.region import DILATE, bounding_box, check_region, chosen_mask, composite, feather, region
from stages.resize import Size, resize_frames
from stages.views.lens import Lens, Views, lens
from stages.views.names import KEPT, VIEWS
from storage.errors import GeneratorError

NO_GRAIN = Grain()
GRAIN_REACH = 8  # pixels outside the region that sharpening looks at
RESIZE_REACH = 4  # pixels outside the region that resizing mixes into it (Lanczos over 8 pixels)


@dataclass(frozen=True)
class CompositeConfig:
    """What may change.

    Attributes:
        reskin: "both", "object" or "person".
        dilate: widths of the rings around object and person, pixels at the generator's size.
        shape: of the region: "tight", "hull" or "box".
        size: (width, height) of what is made; None: the source's.
        counted: (width, height) whose pixels `dilate` is counted in; None: those of what is made.
        match_grain: whether noise and sharpness are made those of the source (`stages.grain`).
        viewed: whether the generator looks through views: what it made is a picture of them (on its side where that is
            turned, `Aim.stored`), and `kept`, the overlap as they show it, is handed to the next window.
        removes: whether subjects vanish: then nothing of their edges may stay, and the ring fades in its outer half.
        keeps: whether there are others, `masks/all`, who stay as they are.
    """

    reskin: str = "both"
    dilate: tuple[int, int] = DILATE
    shape: str = "tight"
    size: Size | None = None
    counted: Size | None = None
    viewed: bool = False
    match_grain: bool = False
    removes: bool = False
    keeps: bool = False

    def __post_init__(self) -> None:
        check_region(self.reskin, self.dilate, self.shape)


class CompositeStage(Stage):
    """Puts what was made back into the source, its colours as they are."""

    name = "composite"
    reads: tuple[Read, ...] = (
        Read("frames", "read"),
        Read("masks/object", "read"),
        Read("masks/person", "read"),
        Read("made", "window"),
    )
    writes: tuple[Port, ...] = (Port("raw", "window", PICTURE, "uint8", "window"),)
    facts: tuple[str, ...] = ("generate",)
    scales = "pixels"

    def __init__(self, config: CompositeConfig) -> None:
        self.config = config
        if config.keeps:
            self.reads = (*self.reads, Read("masks/all", "read"))
        if config.viewed:
            self.reads = (*self.reads, Read(VIEWS, "read"))
            self.writes = (*self.writes, Port(KEPT, "window", self._kept_shape, "uint8", "window"))
            self.facts = (*self.facts, "aim")

    def _kept_shape(self, height: int, width: int) -> tuple[int, ...]:
        columns, rows = self.config.counted or self.config.size or (width, height)
        return rows, columns, 3

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Composite one window.

        Args:
            window: the window.
            inputs: arrays as in `reads`; `made` `[read.frames, h, w, 3]` uint8 RGB of any size; of the generator's
                facts the `Request` that it was made for.

        Returns:
            `raw` `[read.frames, H, W, 3]` uint8 RGB: the source's pixels exactly outside the region. With views also
            `kept` `[m, h, w, 3]` uint8 RGB: the frames that the next window sees again, in the view's pixels; none
            where every view is the whole frame. In `info` `grain`, where that is matched.

        Raises:
            GeneratorError: when another number of frames was made than the window reads.
        """
        aim = Aim.of(inputs)
        frames, made = inputs.arrays["frames"], aim.stored(inputs.arrays["made"])
        if len(made) != window.read.frames:
            raise GeneratorError(
                f"window {window.index}: {len(made)} frames were generated, {window.read.frames} are needed: "
                "check the length and the outputs of the workflow"
            )
        objects, persons = inputs.arrays["masks/object"], inputs.arrays["masks/person"]
        asked = Request.of(inputs.info.get("generate", {})).dilate
        dilate = self.config.dilate if asked is None else asked
        sizes = (frames.shape[2], frames.shape[1]), (made.shape[2], made.shape[1])
        counted = None if self.config.counted is None else aim.sized(self.config.counted)
        through = lens(*sizes, inputs.arrays.get(VIEWS), counted)
        allowed = allowed_region(objects, persons, self.config, dilate, through, inputs.arrays.get("masks/all"))
        inner = chosen_mask(objects, persons, self.config.reskin, self.config.shape) & allowed
        if self.config.removes:
            inner = allowed_region(objects, persons, self.config, (dilate[0] // 2, dilate[1] // 2), through)
        correction, facts = Look(), dict[str, Json]()
        if allowed.any():
            correction, facts = self._correct(inputs, made, allowed, inner, through)
        grain = NO_GRAIN
        if self.config.match_grain:
            fitted = partial(_fitted, made, allowed, correction, through)
            grain = grain_of(frames, fitted, allowed, inner)
            facts = {**facts, "grain": grain.record()}
        raw = put_back(frames, made, allowed, inner, correction, through, grain, window.read.start)
        arrays = {"raw": raw}
        if self.config.viewed:
            first = len(frames) if aim.whole else window.final.stop - window.read.start
            arrays[KEPT] = aim.stored(seen_again(frames, made, allowed, inner, correction, through, first))
        return Output(arrays, facts)

    def _correct(
        self, inputs: Inputs, made: Array, allowed: Array, inner: Array, through: Lens
    ) -> tuple[Look, dict[str, Json]]:
        """What is done to the colours of what was made, and the facts of it."""
        return Look(), {}

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Source, raw, masks, region at the source's size; what was made; float32 work on one frame."""
        columns, rows = self.config.size or (width, height)
        one_frame = height * width * 60 if window_frames else 0
        return window_frames * (height * width * (3 + 3 + 4) + rows * columns * 3) + one_frame, 0


class MatchingCompositeStage(CompositeStage):
    """For a generator that moves colours (a VAE does): they are matched first, to the source and to the windows before.

    Beside what `CompositeStage` reads, `generated` and `overlap` `[m, H, W, 3]` uint8 RGB, one behind the other: what
    is already there from `read.start` on. In `info` also `colour` and `sharpness`.
    """

    reads = (*CompositeStage.reads, Read("generated", "context", -1), Read("overlap", "window", -1))

    def __init__(self, config: CompositeConfig) -> None:
        super().__init__(config)
        if config.viewed:
            self.reads = (*self.reads, Read(KEPT, "window", -1))
        self._state = MatchState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """As `CompositeStage.process`; each shot for itself."""
        self._state = MatchState() if window.begins_shot else self._state
        return super().process(window, inputs)

    def _correct(
        self, inputs: Inputs, made: Array, allowed: Array, inner: Array, through: Lens
    ) -> tuple[Look, dict[str, Json]]:
        source = through.pictures(inputs.arrays["frames"])
        outer, core = through.regions(allowed), through.regions(inner)
        found = look(made, source, outer, core, already_seen(inputs, through), self._state)
        self._state = MatchState.of(found)
        return found, {"colour": found.record(), "sharpness": sharpness_facts(made, source, outer, core)}

    def get_state(self) -> MatchState:
        """What colours are matched by after the last window."""
        return replace(self._state)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = MatchState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Also what is there already, and at the generator's size source, region, and float64 Lab of one frame."""
        ram, vram = super().peak_bytes(height, width, window_frames)
        columns, rows = self.config.size or (width, height)
        lab = rows * columns * 150 if window_frames else 0
        return ram + window_frames * (height * width * 3 + rows * columns * (3 + 2)) + lab, vram


def already_there(inputs: Inputs) -> Array:
    """`[m, H, W, 3]` uint8 RGB: the frames at the window's start that are generated already; none where not given."""
    nothing = inputs.arrays["frames"][:0]
    return np.concatenate([inputs.arrays.get(name, nothing) for name in ("generated", "overlap")])


def already_seen(inputs: Inputs, through: Lens) -> Array:
    """`[m, h, w, 3]` uint8 RGB: `already_there` in the picture's pixels; what was made of the overlap, where kept."""
    kept = inputs.arrays.get(KEPT)
    if not isinstance(through, Views) or kept is None or not len(kept):
        return through.pictures(already_there(inputs))
    seen = resize_frames(Aim.of(inputs).stored(kept), through.size)
    return np.concatenate([through.pictures(inputs.arrays["generated"]), seen])


def allowed_region(
    objects: Array,
    persons: Array,
    config: CompositeConfig,
    dilate: tuple[int, int],
    through: Lens,
    every: Array | None = None,
) -> Array:
    """`[n, H, W]` bool: what may change (`stages.region.region`), of what the generator saw.

    Args:
        dilate: widths of the rings, pixels of the generator's picture.
        every: `[n, H, W]` bool: as for `region`.
    """
    found = np.empty_like(objects)
    for index in range(len(objects)):
        one = slice(index, index + 1)
        widths, others = through.widths(dilate, index), None if every is None else every[one]
        found[one] = region(objects[one], persons[one], config.reskin, widths, config.shape, others)
        seen = through.seen(index)
        if seen is not None:
            found[index] &= seen
    return found


def put_back(
    source: Array,
    made: Array,
    region: Array,
    inner: Array,
    correction: Look,
    through: Lens,
    grain: Grain = NO_GRAIN,
    first: int = 0,
) -> Array:
    """The window at source size: corrected, resized, composited; the source's pixels exactly outside the region.

    Args:
        source: `[n, H, W, 3]` uint8 RGB.
        made: `[n, h, w, 3]` uint8 RGB.
        region, inner: `[n, H, W]` bool.
        correction: for what was made.
        through: what the generator saw the source through.
        grain: for what was put back. first: the number of the window's first frame, which its noise goes by.

    Returns:
        `[n, H, W, 3]` uint8 RGB.
    """
    raw = np.empty_like(source)
    for index in range(len(made)):
        one = slice(index, index + 1)
        if not region[index].any():
            raw[index] = source[index]
            continue
        fitted = _fitted(made, region, correction, through, index)
        fitted = grain.applied(fitted, first + index, region[index])
        raw[one] = composite(source[one], fitted[None], feather(region[one], inner[one]))
    return raw


def _fitted(made: Array, region: Array, correction: Look, through: Lens, index: int) -> Array:
    """`[H, W, 3]` uint8: the window's frame `index` as it was made, its colours corrected, in the source's pixels."""
    matched = _matched(made[index], region[index : index + 1], correction, through, index)
    return through.back(matched, index, bounding_box(region[index], GRAIN_REACH))


def seen_again(
    source: Array, made: Array, region: Array, inner: Array, correction: Look, through: Lens, first: int
) -> Array:
    """`[n - first, h, w, 3]` uint8 RGB: the window from frame `first` on as the view shows it, composited there: what
    was made is not resampled, but where it was enlarged. Arguments as of `put_back`."""
    kept = through.pictures(source[first:], first).copy()
    for place, index in enumerate(range(first, len(source))):
        one = slice(index, index + 1)
        allowed, certain = through.regions(region[one], index), through.regions(inner[one], index)
        matched = _matched(made[index], region[one], correction, through, index)
        kept[place : place + 1] = composite(kept[place : place + 1], matched[None], feather(allowed, certain))
    return resize_frames(kept, through.counted)


def _matched(made: Array, region: Array, correction: Look, through: Lens, index: int) -> Array:
    """`[h, w, 3]`: a frame that was made, its colours corrected around the region `[1, H, W]`."""
    reach = np.ones((2 * RESIZE_REACH + 1, 2 * RESIZE_REACH + 1), np.uint8)
    used = through.regions(region, index)[0]
    return correction.apply(made, cv2.dilate(used.astype(np.uint8), reach) > 0)
