"""Colour statistics in CIE Lab, and the bounded correction that carries one picture's colours to another's.

Every window decodes and encodes the overlap again, so colours drift from window to window (ali-vilab/VACE 44, 93, 99;
Wan2GP 2132). Mean and deviation are matched as in Reinhard et al., Color Transfer between Images (2001), in Lab instead
of their l-alpha-beta, and bounded, so that a change of content cannot turn into a change of colour.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array

LIMIT_LIGHTNESS = 12.0  # Lab L units (0..100) that one window may be shifted by
LIMIT_CHROMA = 10.0  # Lab a and b units
LIMIT_GAIN = 1.25  # factor of the deviation, either way
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
class Correction:
    """`lab * gain + shift`, per channel; the identity where all gains are 1 and all shifts 0."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether applying it would change nothing."""
        return self.gain == (1.0, 1.0, 1.0) and self.shift == (0.0, 0.0, 0.0)


def to_lab(frame: Array) -> Array:
    """`[H, W, 3]` uint8 RGB to `[H, W, 3]` float32 Lab: L 0..100, a and b about -127..127."""
    lab: Array = cv2.cvtColor(frame.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    return lab


def statistics(frames: Array, where: Array) -> Statistics | None:
    """Statistics over the pixels of `[n, H, W, 3]` uint8 RGB at which `[n, H, W]` bool is true; None without any."""
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for frame, mask in zip(frames, where, strict=True):
        if mask.any():
            values = to_lab(frame)[mask].astype(np.float64)
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
            pixels += len(values)
    if pixels == 0:
        return None
    mean = total / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    return Statistics(_three(mean), _three(deviation), pixels)


def match(found: Statistics, wanted: Statistics, deviation: bool = True) -> Correction:
    """The bounded correction that carries `found` to `wanted` (the mean alone without `deviation`); the identity when
    they are equal.

    The bounds act on how far the mean moves and on the ratio of the deviations, so a correction at its bound still
    moves the colours the right way.
    """
    if found.mean == wanted.mean and found.deviation == wanted.deviation:
        return Correction()
    gains, shifts = [], []
    limits = (LIMIT_LIGHTNESS, LIMIT_CHROMA, LIMIT_CHROMA)
    for channel, limit in enumerate(limits):
        spread, aim = found.deviation[channel], wanted.deviation[channel]
        flat = not deviation or min(spread, aim) < FLOOR_DEVIATION
        gain = 1.0 if flat else min(LIMIT_GAIN, max(1.0 / LIMIT_GAIN, aim / spread))
        move = min(limit, max(-limit, wanted.mean[channel] - found.mean[channel]))
        gains.append(gain)
        shifts.append(found.mean[channel] + move - gain * found.mean[channel])
    return Correction(_three(np.array(gains)), _three(np.array(shifts)))


def then(first: Correction, second: Correction) -> Correction:
    """The correction that does `first`, then `second`."""
    gain = np.array(first.gain) * np.array(second.gain)
    shift = np.array(first.shift) * np.array(second.gain) + np.array(second.shift)
    return Correction(_three(gain), _three(shift))


def corrected(found: Statistics, correction: Correction) -> Statistics:
    """The statistics of the same pixels after a correction (it is affine)."""
    mean = np.array(found.mean) * np.array(correction.gain) + np.array(correction.shift)
    return Statistics(_three(mean), _three(np.array(found.deviation) * np.array(correction.gain)), found.pixels)


def apply(correction: Correction, frame: Array, where: Array) -> Array:
    """`[H, W, 3]` uint8 RGB with the pixels at `[H, W]` bool corrected; a new array."""
    result = frame.copy()
    if correction.is_identity or not where.any():
        return result
    lab = to_lab(frame) * np.array(correction.gain, np.float32) + np.array(correction.shift, np.float32)
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    result[where] = np.clip(np.floor(rgb[where] * 255.0 + 0.5), 0, 255).astype(np.uint8)
    return result


def _three(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
