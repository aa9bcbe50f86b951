"""The picture that tells the model what the new look is."""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array
from stages.picture import decode_picture
from stages.resize import Size
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import read_input
from storage.errors import InputError


@dataclass(frozen=True)
class Reference:
    """A picture of the new look.

    Attributes:
        picture: `[H, W, 3]` uint8 RGB; what is transparent is white.
        matte: `[H, W]` bool, what is not transparent: the subject.
    """

    picture: Array
    matte: Array


def read_reference(path: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Reference:
    """Read a picture file.

    Raises:
        InputError: when the file is no picture, or one of more than `max_pixels`.
    """
    what = f"--reference {path}"
    picture = decode_picture(read_input(path, what), cv2.IMREAD_UNCHANGED, what, max_pixels)
    if picture is None or picture.dtype != np.uint8:
        raise InputError(f"--reference {path}: is no 8-bit picture: give a PNG or JPEG")
    if picture.ndim == 2:
        return _opaque(np.repeat(picture[..., None], 3, axis=2))
    rgb: Array = np.ascontiguousarray(picture[..., 2::-1])
    if picture.shape[2] == 4:
        alpha = picture[..., 3:].astype(np.float32) / 255.0
        rgb = np.floor(rgb * alpha + 255.0 * (1.0 - alpha) + 0.5).astype(np.uint8)
        return Reference(rgb, picture[..., 3] > 127)
    return _opaque(rgb)


def _opaque(picture: Array) -> Reference:
    return Reference(picture, np.ones(picture.shape[:2], np.bool_))


def on_canvas(reference: Reference, size: Size) -> Array:
    """`[h, w, 3]` uint8 RGB: the picture fitted whole onto a white canvas of `size` (width, height).

    VACE pads references with white (vace/models/wan/wan_vace.py, prepare_source); without it WanVaceToVideo would crop
    the picture to the video's shape.
    """
    place, inner = _placed(reference, size)
    method = cv2.INTER_AREA if inner[0] < reference.picture.shape[1] else cv2.INTER_LANCZOS4
    canvas = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    canvas[place] = cv2.resize(reference.picture, inner, interpolation=method)
    return canvas


def matte_on_canvas(reference: Reference, size: Size) -> Array:
    """`[h, w]` bool: where the subject stands on the same canvas."""
    place, inner = _placed(reference, size)
    canvas = np.zeros((size[1], size[0]), np.bool_)
    canvas[place] = cv2.resize(reference.matte.astype(np.uint8), inner, interpolation=cv2.INTER_NEAREST) > 0
    return canvas


def _placed(reference: Reference, size: Size) -> tuple[tuple[slice, slice], Size]:
    """Where the picture lies on a canvas of `size`, and the size that it has there."""
    height, width = reference.matte.shape
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return (slice(top, top + inner[1]), slice(left, left + inner[0])), inner
