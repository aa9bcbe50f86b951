"""Less flicker in the regenerated region: what the result showed on the frame before is mixed in.

    result t-1 --source's optical flow--> where it is on frame t;   result t + strength * (that - result t), coarse part

The flow is that of the source, whose motion the result has: DIS (Kroeger et al., ECCV 2016). It counts where it comes
back to where it began (forward and backward flow agree). Only what is coarser than a few pixels is mixed: a flicker of
light and colour goes, texture and grain stay each frame's own, and nothing gets softer from frame to frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np

from stages import bounds
from stages.base import PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.finishing import AFTER, BEFORE, regenerated
from stages.region import Box, bounding_box

SIDE = 320  # px: flow is found in pictures of at most this side
MARGIN = 24  # px around the region: flow looks there, and what comes from there
AGREE = 1.0  # px of those pictures by which flow may miss where it began
COARSE = 2.0  # px at 640x360, sigma: finer than this nothing is mixed


@dataclass(frozen=True)
class DeflickerConfig:
    """How much of the result before is mixed in: above 0, up to 1."""

    strength: float

    def __post_init__(self) -> None:
        bounds.SHARE.check("--deflicker", self.strength)


@dataclass
class DeflickerState(State):
    """The last frame: [H, W, 3] uint8 RGB of source and result; empty before the first."""

    source: Array = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    result: Array = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))


class DeflickerStage(Stage):
    """Mixes the frame before, moved by the source's flow, into what was regenerated; each shot for itself.

    Reads `before`, writes `after` `[n, H, W, 3]` uint8 RGB; where `before` is the source, `after` is. In `info`
    `agreed`: the share of the regenerated pixels in which forward and backward flow agree.
    """

    name: ClassVar[str] = "deflicker"
    reads = (Read("frames", "final"), Read(BEFORE, "final"))
    writes = (Port(AFTER, "final", PICTURE, "uint8", "until_read"),)
    scales = "pixels"

    def __init__(self, config: DeflickerConfig) -> None:
        self.config = config
        self._last = DeflickerState()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Work on the window's final frames."""
        frames, made = inputs.arrays["frames"], inputs.arrays[BEFORE]
        last = DeflickerState() if window.begins_shot else self._last
        found = np.empty_like(made)
        counts = np.zeros(2, np.int64)
        for index, (source, picture) in enumerate(zip(frames, made, strict=True)):
            found[index] = picture
            region = regenerated(source, picture)
            box = bounding_box(region, MARGIN)
            if last.source.size and box is not None:
                mixed, agree = self._mixed(last, source, picture, box)
                inside = region[box]
                found[index][box] = np.where(inside[..., None], mixed, picture[box])
                counts += (int((agree & inside).sum()), int(inside.sum()))
            last = DeflickerState(source, found[index])
        self._last = DeflickerState(last.source.copy(), last.result.copy())
        return Output({AFTER: found}, {"agreed": round(float(counts[0] / max(1, counts[1])), 6)})

    def _mixed(self, last: DeflickerState, source: Array, picture: Array, box: Box) -> tuple[Array, Array]:
        """The picture's box with what was there before mixed in, and where flow agrees."""
        back, agree = flow_back(last.source[box], source[box])
        moved = remapped(last.result[box], back)
        wanted = (moved.astype(np.float32) - picture[box]) * agree[..., None].astype(np.float32)
        sigma = COARSE * max(picture.shape[:2]) / 640
        share = smoothed(agree.astype(np.float32), sigma)
        # Weighted by where it is known, so that nothing of what is not leaks in.
        change = smoothed(wanted, sigma) / np.maximum(share, 1e-3)[..., None] * agree[..., None]
        mixed = picture[box] + np.float32(self.config.strength) * change
        return np.clip(np.floor(mixed + np.float32(0.5)), 0, 255).astype(np.uint8), agree

    def get_state(self) -> DeflickerState:
        """The last frame; nothing writes to it afterwards."""
        return self._last

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._last = DeflickerState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames, its result before and after, and float32 work on a frame.

        Between windows two frames.
        """
        work = 60 if window_frames else 0
        return height * width * (9 * window_frames + 6 + work), 0


def flow_back(before: Array, after: Array) -> tuple[Array, Array]:
    """For each pixel of `after` (uint8 RGB) where it was in `before`, less where it is, `[h, w, 2]` float32 pixels; and
    `[h, w]` bool: where the flow from there comes back to it. DIS optical flow."""
    height, width = after.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    one, two = (
        cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA) for p in (before, after)
    )
    back, there = _flow(two, one), _flow(one, two)
    missed = np.hypot(*np.moveaxis(back + remapped(there, back), -1, 0))
    agree = cv2.resize((missed <= AGREE).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    large = cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR)
    large *= np.array([width / size[0], height / size[1]], np.float32)
    return large, agree


def _flow(first: Array, second: Array) -> Array:
    # A new one for each: a picture of less than 91 pixels sets its scales, and for all that come after it too. What is
    # found would depend on where a run was interrupted.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return np.asarray(dis.calc(first, second, None))  # type: ignore[call-overload]  # None: no guess


def remapped(picture: Array, offsets: Array) -> Array:
    """A picture `[h, w, ...]` read at each pixel's place plus its offset `[h, w, 2]` float32 (bicubic)."""
    y, x = np.mgrid[: offsets.shape[0], : offsets.shape[1]].astype(np.float32)
    flags = cv2.INTER_CUBIC if picture.dtype == np.uint8 else cv2.INTER_LINEAR
    return np.asarray(
        cv2.remap(picture, x + offsets[..., 0], y + offsets[..., 1], flags, borderMode=cv2.BORDER_REPLICATE)
    )


def smoothed(values: Array, sigma: float) -> Array:
    """Float32 values under a Gaussian."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma))
