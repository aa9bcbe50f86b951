"""Where the object is and how it lies, frame by frame: the frame of reference of the preview's texture.

    v (across)
    ^   half_width            The long axis comes from the mask's second moments, which leave 180 degrees open:
    |  ______________         the side nearer to the last frame's direction is taken, so a texture turns with the
    | (______._______) -> u   object through any number of turns and never jumps by half a turn.
        half_length

A round object has no long axis: the less elongated the mask, the less its axis is believed and the more the last one.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.region import bounding_box

Array = np.ndarray[Any, np.dtype[Any]]

ROW_VALUES = 5
_MIN_PIXELS = 4
# Axis ratio of the mask at which its axis counts for nothing, and from which on it counts alone.
_ROUND, _LONG = 1.15, 1.6
# Share of a new half-length that is taken over per frame: occlusion shortens a mask faster than objects change size.
_LENGTH_GAIN = 0.25
# Extents leave out this share of the pixels at either end: stray pixels far from the object do not count.
_TRIM = 0.02


@dataclass(frozen=True)
class Anchor:
    """The object's own frame of reference in one picture.

    Attributes:
        x, y: centre in pixels.
        angle: direction of the u axis in radians, x to the right, y down; continuous over time, not wrapped.
        half_length, half_width: half extents along u and v in pixels, >= 1.
    """

    x: float
    y: float
    angle: float
    half_length: float
    half_width: float

    def to_row(self) -> Array:
        """`[5]` float64."""
        return np.array([self.x, self.y, self.angle, self.half_length, self.half_width])

    @classmethod
    def from_row(cls, row: Array) -> "Anchor | None":
        """The anchor of a row, None for a row of NaN: the object was not seen up to then."""
        return None if np.isnan(row).any() else cls(*(float(value) for value in row))


def anchor_of(mask: Array, last: Anchor | None) -> Anchor | None:
    """The object's frame of reference in this mask, continuing `last`.

    Args:
        mask: `[H, W]` bool.
        last: of the frame before; None when the object was not seen yet.

    Returns:
        The anchor; `last` itself when the mask holds fewer than 4 pixels.
    """
    box = bounding_box(mask)
    if box is None or np.count_nonzero(mask[box]) < _MIN_PIXELS:
        return last
    rows, columns = np.nonzero(mask[box])
    x, y = columns + float(box[1].start), rows + float(box[0].start)
    axis, elongation = _principal_axis(x, y)
    angle = _continue_angle(axis, elongation, last)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    (u, half_length), (v, half_width) = _extent(along), _extent(across)
    if last is not None:
        half_length = last.half_length + _LENGTH_GAIN * (half_length - last.half_length)
    return Anchor(
        x=u * math.cos(angle) - v * math.sin(angle),
        y=u * math.sin(angle) + v * math.cos(angle),
        angle=angle,
        half_length=half_length,
        half_width=half_width,
    )


def _principal_axis(x: Array, y: Array) -> tuple[float, float]:
    """`(angle in (-pi/2, pi/2], ratio of the axes >= 1)` from the central second moments (Hu 1962) of pixel squares."""
    dx, dy = x - x.mean(), y - y.mean()
    # 1/12: the second moment of the pixel's own square, which also keeps one-pixel-wide masks regular.
    xx, yy = float(dx @ dx) / len(x) + 1 / 12, float(dy @ dy) / len(x) + 1 / 12
    xy = float(dx @ dy) / len(x)
    spread = math.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2
    return 0.5 * math.atan2(2 * xy, xx - yy), math.sqrt((mean + spread) / max(mean - spread, 1e-9))


def _continue_angle(axis: float, elongation: float, last: Anchor | None) -> float:
    """The axis' direction nearest to the last angle, believed as far as the mask is elongated."""
    if last is None:
        return axis
    turn = math.remainder(axis - last.angle, math.pi)
    belief = min(1.0, max(0.0, (elongation - _ROUND) / (_LONG - _ROUND)))
    return last.angle + belief * turn


def _extent(positions: Array) -> tuple[float, float]:
    """`(centre, half extent >= 1)` in pixels of positions along one axis, stray ends trimmed."""
    cut = int(_TRIM * len(positions))
    ordered = np.partition(positions, (cut, len(positions) - 1 - cut))
    low, high = float(ordered[cut]), float(ordered[len(positions) - 1 - cut])
    return (low + high) / 2, max(1.0, (high - low + 1) / 2)
