"""The picture that tells the model what the new look is."""

import cv2
import numpy as np

from stages.base import Array
from stages.picture import decode_picture, read_picture
from stages.resize import Size
from stages.server.transport import encode_png
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import InputError


def read_reference(path: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Array:
    """`[H, W, 3]` uint8 RGB; what is transparent becomes white.

    Raises:
        InputError: when the file is no picture, or one of more than `max_pixels`.
    """
    what = f"--reference {path}"
    picture = decode_picture(read_picture(path, what), cv2.IMREAD_UNCHANGED, what, max_pixels)
    if picture is None or picture.dtype != np.uint8:
        raise InputError(f"--reference {path}: is no 8-bit picture: give a PNG or JPEG")
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2)
    rgb: Array = np.ascontiguousarray(picture[..., 2::-1])
    if picture.shape[2] == 4:
        alpha = picture[..., 3:].astype(np.float32) / 255.0
        rgb = np.floor(rgb * alpha + 255.0 * (1.0 - alpha) + 0.5).astype(np.uint8)
    return rgb


def reference_png(picture: Array, size: Size) -> bytes:
    """PNG bytes of the picture fitted whole onto a white canvas of `size` (width, height).

    VACE pads references with white (vace/models/wan/wan_vace.py, prepare_source); without it WanVaceToVideo would crop
    the picture to the video's shape.
    """
    width, height = size
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4
    fitted = cv2.resize(picture, inner, interpolation=method)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = fitted
    return encode_png(canvas)
