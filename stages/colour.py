"""Colour statistics in CIE Lab, and the bounded correction that carries one picture's colours to another's.

Mean and deviation are matched as in Reinhard et al., Color Transfer between Images (2001), in Lab instead
of their l-alpha-beta, and bounded, so that a change of content cannot turn into a change of colour.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.base import Array

LIMIT_LIGHTNESS = 12.0  # Lab L units (0..100) that one window may be shifted by
LIMIT_CHROMA = 10.0  # Lab a and b units
LIMIT_GAIN = 1.25  # factor of the deviation, either way
# IEC 61966-2-1 (sRGB), white D65 at Y = 1; CIE 15:2004 for Lab.
WHITE = np.array([0.950456, 1.0, 1.088754])
RGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
RGB_TO_XYZ = RGB_TO_XYZ / WHITE[:, None]
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ)


def _linear(coded: Array) -> Array:
    """Coded values 0..1, linear."""
    found: Array = ((coded + 0.055) / 1.055) ** 2.4
    return _low(found, coded <= 0.04045, coded / 12.92)


def _low(values: Array, low: Array, straight: Array) -> Array:
    """`values`, and where they are `low` what is `straight` there."""
    np.copyto(values, straight, where=low)  # half the time of np.where
    return values


SRGB_TO_LINEAR = _linear(np.arange(256) / 255.0)
EPSILON, KAPPA = 216.0 / 24389.0, 24389.0 / 27.0
FLOOR_DEVIATION = 1.0  # below this a channel is flat and its deviation says nothing


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of L, a, b over some pixels.

    Attributes:
        mean, deviation: 3 numbers each, Lab units (L 0..100).
        pixels: how many pixels they were taken over.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    pixels: int


@dataclass(frozen=True)
class ColourTransform:
    """`lab * gain + shift`, per channel; the identity where all gains are 1 and all shifts 0."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether applying it would change nothing."""
        return self.gain == (1.0, 1.0, 1.0) and self.shift == (0.0, 0.0, 0.0)


def planes(pixels: Array) -> Array:
    """`[3, ...]`, the channels of pixels `[..., 3]` one behind the other in memory: arithmetic on them is several times
    as fast so. A view where they lie so already."""
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def pixels_of(channels: Sequence[Array]) -> Array:
    """`[..., 3]`, a view of three channels stacked, which lie in memory as `planes` wants them."""
    return np.moveaxis(np.stack(channels), 0, -1)


def to_lab(pixels: Array) -> Array:
    """`[..., 3]` sRGB, levels 0..255 (uint8 or float64), to `[..., 3]` float64 CIE Lab (D65): L 0..100, a and b about
    -127..127; in memory one channel behind the other.

    Not OpenCV's: its tables lose 0.2 of an 8-bit level on the way there and back, always downwards.
    """
    levels = planes(pixels)
    linear = SRGB_TO_LINEAR[levels] if levels.dtype == np.uint8 else _linear(levels / 255.0)
    xyz = np.stack(mixed(linear, RGB_TO_XYZ))
    x, y, z = _low(np.cbrt(xyz), xyz <= EPSILON, (KAPPA * xyz + 16.0) / 116.0)
    return pixels_of([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)])


def from_lab(lab: Array) -> Array:
    """The inverse of `to_lab`, `[..., 3]` float64 in 0..255, clipped to the gamut, not rounded."""
    light, a, b = planes(lab)
    middle = (light + 16.0) / 116.0
    cubic = np.stack([middle + a / 500.0, middle, middle - b / 200.0])
    xyz = cubic**3
    _low(xyz, xyz <= EPSILON, (116.0 * cubic - 16.0) / KAPPA)
    linear = np.stack(mixed(xyz, XYZ_TO_RGB))
    np.clip(linear, 0.0, 1.0, out=linear)
    coded = linear ** (1 / 2.4)
    coded *= 1.055
    coded -= 0.055
    _low(coded, linear <= 0.0031308, 12.92 * linear)
    coded *= 255.0
    return np.moveaxis(coded, 0, -1)


def statistics_of(parts: Iterable[Array]) -> Statistics | None:
    """Statistics over all values of arrays `[k, 3]` of Lab; None without any."""
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for values in map(np.ascontiguousarray, parts):  # pixel by pixel: another order is another sum
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
        pixels += len(values)
    if pixels == 0:
        return None
    mean = total / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    return Statistics(_three(mean), _three(deviation), pixels)


def match(found: Statistics, wanted: Statistics) -> ColourTransform:
    """The bounded correction that carries `found` to `wanted`; the identity when they are equal.

    The bounds act on how far the mean moves and on the ratio of the deviations, so a correction at its bound still
    moves the colours the right way.
    """
    if found.mean == wanted.mean and found.deviation == wanted.deviation:
        return ColourTransform()
    gains, shifts = [], []
    limits = (LIMIT_LIGHTNESS, LIMIT_CHROMA, LIMIT_CHROMA)
    for channel, limit in enumerate(limits):
        spread, aim = found.deviation[channel], wanted.deviation[channel]
        flat = min(spread, aim) < FLOOR_DEVIATION
        gain = 1.0 if flat else min(LIMIT_GAIN, max(1.0 / LIMIT_GAIN, aim / spread))
        move = min(limit, max(-limit, wanted.mean[channel] - found.mean[channel]))
        gains.append(gain)
        shifts.append(found.mean[channel] + move - gain * found.mean[channel])
    return ColourTransform(_three(np.array(gains)), _three(np.array(shifts)))


def apply(
    correction: ColourTransform, frame: Array, where: Array, before: Callable[[Array], Array] | None = None
) -> Array:
    """`[H, W, 3]` uint8 RGB with the pixels at `[H, W]` bool corrected; a new array.

    Rounded with ordered dither: plain rounding moves a flat area by up to half a level the same way in every window,
    and that adds up to a drift of its own.

    Args:
        before: a correction before this one, of pixels `[k, 3]` uint8 to levels `[k, 3]` float64 in 0..255.
    """
    result = frame.copy()
    at = np.flatnonzero(where)
    if not at.size or (before is None and correction.is_identity):
        return result
    pixels = result.reshape(-1, 3)
    found = pixels.take(at, axis=0)
    if before is not None:
        found = before(found)
    if not correction.is_identity:
        found = from_lab(to_lab(found) * np.array(correction.gain) + np.array(correction.shift))
    dithered = np.minimum(planes(found) + dither(*where.shape).take(at, axis=1), 255.0).astype(np.uint8)
    for channel, values in enumerate(dithered):
        pixels[at, channel] = values
    return result


@lru_cache(maxsize=1)
def dither(height: int, width: int) -> Array:
    """`[3, height * width]` float64 in 0..1, read-only, whose mean over any small area is close to 0.5.

    Interleaved gradient noise (Jimenez, Next Generation Post Processing in Call of Duty, 2014), each channel in another
    phase.
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    phases = [0.06711056 * (columns + 5.588238 * channel) + 0.00583715 * rows for channel in range(3)]
    noise: Array = np.mod(52.9829189 * np.mod(np.stack(phases), 1.0), 1.0).reshape(3, -1)
    noise.flags.writeable = False  # all frames of a run share it
    return noise


def mixed(channels: Array, matrix: Array) -> list[Array]:
    """`matrix` [3, 3] times each pixel of `[3, ...]`, channel by channel, in an order of its own: a BLAS takes another
    one by where an array lies and how many threads there are, and a last bit decides how a pixel is rounded."""
    x, y, z = channels
    return [x * row[0] + y * row[1] + z * row[2] for row in matrix]


def _three(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
