"""Turning frames upright by the display matrix: all eight orientations of a phone's camera."""

import struct
from dataclasses import dataclass
from pathlib import Path

import av

from stages.base import Array
from stages.video.sides import side_data
from storage.errors import InputError


@dataclass(frozen=True)
class Orientation:
    """Transpose first, then mirror.

    Attributes:
        transpose: rows become columns.
        flip_x: left and right are swapped afterwards.
        flip_y: top and bottom are swapped afterwards.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """The counter-clockwise turn that brings the frame upright (mirroring left aside): 0, 90, 180 or 270."""
        if self.transpose:
            return 90 if self.flip_y else 270
        return 180 if self.flip_y else 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """`(width, height)` in pixels once upright."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, image: Array) -> Array:
        """`[H, W, C]` -> the upright view of it, nothing copied."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.flip_x:
            image = image[:, ::-1]
        return image[::-1] if self.flip_y else image


def from_matrix(values: tuple[int, ...]) -> Orientation | None:
    """The orientation of a display matrix, or None when it is no multiple of 90 degrees.

    `values` are the nine numbers `a b u c d v x y w` of ISO/IEC 14496-12 (16.16 fixed point):
    x' = a x + c y, y' = b x + d y.
    """
    a, b, _, c, d = values[:5]
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 100 * max(abs(b), abs(c)):
        return Orientation(False, a < 0, d < 0)
    if crossed > 100 * max(abs(a), abs(d)):
        return Orientation(True, c < 0, b < 0)
    return None


def orientation_of(path: Path, picture: av.VideoFrame) -> Orientation:
    """How this frame must be turned.

    Raises:
        InputError: when the display matrix is no multiple of 90 degrees.
    """
    for side in side_data(picture):
        if side.type.name == "DISPLAYMATRIX" and side.buffer_size >= 36:
            found = from_matrix(struct.unpack("=9i", bytes(side)[:36]))
            if found is None:
                raise InputError(
                    f"{path}: its display matrix turns frames by {picture.rotation} degrees, only multiples of 90 "
                    "can be followed: turn the video first (ffmpeg -i IN -vf rotate=... OUT)"
                )
            return found
    return Orientation()
