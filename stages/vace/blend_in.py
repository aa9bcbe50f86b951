"""Taking a generated window back into the source: colours matched, size restored, composited."""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array, Json
from stages.region import composite, feather
from stages.vace.colour import Correction, apply, corrected, match, statistics, then
from stages.vace.sizes import Size, resize_frames, resize_region

MATCH_PIXELS = 64  # fewer pixels of the region in the overlap say nothing about its colour
ANCHOR_STEP = 4  # every fourth frame, row and column are enough to see a shift of the whole picture
RESIZE_REACH = 4  # pixels outside the region that resizing mixes into it (Lanczos over 8 pixels)
ANCHOR_MARGIN = 9  # pixels around the region that the model may have blended into


@dataclass(frozen=True)
class Look:
    """A window's colour correction.

    Attributes:
        total: what is applied to the generated frames.
        overlap: the part that carries the overlap to the tail's colours.
        pixels: pixels of the overlap it was measured on; 0 when it was carried over from an earlier window.
    """

    total: Correction
    overlap: Correction
    pixels: int

    def record(self) -> dict[str, Json]:
        """As it stands in the record."""
        return {
            "gain": [round(value, 4) for value in self.total.gain],
            "shift": [round(value, 3) for value in self.total.shift],
            "overlap_pixels": self.pixels,
        }


def anchor(generated: Array, source: Array, region: Array) -> Correction:
    """How far the colours outside the region moved on the way through the model: there it was asked for the source.

    Args:
        generated, source: `[n, h, w, 3]` uint8 RGB of one size.
        region: `[n, h, w]` bool.
    """
    square = np.ones((2 * ANCHOR_MARGIN - 1, 2 * ANCHOR_MARGIN - 1), np.uint8)
    step = slice(None, None, ANCHOR_STEP)
    outside = np.stack([cv2.dilate(frame.astype(np.uint8), square)[step, step] == 0 for frame in region[step]])
    picked = (step, step, step)
    found, wanted = statistics(generated[picked], outside), statistics(source[picked], outside)
    if found is None or wanted is None or found.pixels < MATCH_PIXELS:
        return Correction()
    return match(found, wanted, deviation=False)


def look(generated: Array, source: Array, region: Array, inner: Array, tail: Array, carried: Correction) -> Look:
    """The correction of a window.

    First the shift seen outside the region is taken back, then the region's mean and deviation on the overlap are
    matched to what is already generated there.

    Args:
        generated, source: `[n, h, w, 3]` uint8 RGB at the generated size.
        region, inner: `[n, h, w]` bool: what may change, and the undilated masks within it.
        tail: `[m, h, w, 3]` uint8 RGB at the generated size, m <= n.
        carried: the overlap's correction of the window before, used when too little of the region lies in the overlap.
    """
    first = anchor(generated, source, region)
    count = len(tail)
    if count == 0:
        return Look(first, Correction(), 0)
    core = inner[:count] & region[:count]
    found, wanted = statistics(generated[:count], core), statistics(tail, core)
    if found is None or wanted is None or found.pixels < MATCH_PIXELS:
        return Look(then(first, carried), carried, 0)
    overlap = match(corrected(found, first), wanted)
    return Look(then(first, overlap), overlap, found.pixels)


def blend_in(source: Array, generated: Array, region: Array, inner: Array, correction: Correction) -> Array:
    """The window at source size: corrected, resized, composited; the source's pixels exactly outside the region.

    Args:
        source: `[n, H, W, 3]` uint8 RGB.
        generated: `[n, h, w, 3]` uint8 RGB.
        region, inner: `[n, H, W]` bool.
        correction: in Lab, for the generated frames.

    Returns:
        `[n, H, W, 3]` uint8 RGB.
    """
    raw = np.empty_like(source)
    size: Size = (source.shape[2], source.shape[1])
    reach = np.ones((2 * RESIZE_REACH + 1, 2 * RESIZE_REACH + 1), np.uint8)
    for index, frame in enumerate(generated):
        one = slice(index, index + 1)
        if not region[index].any():
            raw[index] = source[index]
            continue
        used = resize_region(region[one], (frame.shape[1], frame.shape[0]))[0]
        matched = apply(correction, frame, cv2.dilate(used.astype(np.uint8), reach) > 0)
        fitted = resize_frames(matched[None], size)
        raw[one] = composite(source[one], fitted, feather(region[one], inner[one]))
    return raw
