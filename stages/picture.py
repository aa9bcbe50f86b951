"""Decoding pictures from elsewhere, bounded by what their header claims: a small file can demand gigabytes."""

import io
import struct
import warnings

import cv2
import numpy as np

from stages.base import Array
from stages.prompts import Box
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import InputError, SkateError

WHITE = 128  # from this grey value on, a pixel of a mask counts
SMALLER = "scale it down, or raise --max-pixels"
_PNG = b"\x89PNG\r\n\x1a\n"
_FORMATS = ("JPEG", "WEBP", "BMP", "TIFF", "GIF")


def decode_picture(
    data: bytes,
    flags: int,
    what: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    remedy: str = SMALLER,
    fault: type[SkateError] = InputError,
) -> Array | None:
    """`cv2.imdecode` of a picture of at most `max_pixels`; None when the bytes are no picture.

    Args:
        data: the whole file: PNG, or one of JPEG, WebP, BMP, TIFF, GIF.
        flags: as of `cv2.imdecode`: they say the shape, dtype and channels (BGR) of what is returned.
        what: the picture's name at the head of the message.
        max_pixels: width times height.
        remedy: the end of the message of a picture that is too large.

    Raises:
        SkateError: of class `fault`, before anything is decoded, when the header claims more pixels than that.
    """
    size = picture_size(data, what, fault)
    if size is None:
        return None
    width, height = size
    if width * height > max_pixels:
        raise fault(f"{what} is {width}x{height}, {width * height} pixels; the limit is {max_pixels}: {remedy}")
    try:
        picture: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise
        return None
    return picture


def read_mask(data: bytes, what: str, max_pixels: int, remedy: str = SMALLER) -> Array:
    """A mask `[H, W] bool` of a picture's bytes: True where it is white.

    Raises:
        InputError: when it is no picture, or one of more than `max_pixels`.
    """
    grey = decode_picture(data, cv2.IMREAD_GRAYSCALE, what, max_pixels, remedy)
    if grey is None:
        raise InputError(f"{what} cannot be read: give an 8-bit PNG, white on what it masks, black elsewhere")
    mask: Array = grey >= WHITE
    return mask


def mask_box(mask: Array) -> Box:
    """x1, y1, x2, y2 (pixels, half-open) around a mask `[H, W] bool` that is not empty."""
    x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    return float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1)


def picture_size(data: bytes, what: str, fault: type[SkateError] = InputError) -> tuple[int, int] | None:
    """(width, height) of the file's header, before any rotation that it asks for; None when it is no picture.

    A PNG has them at bytes 16 to 24, in IHDR, which must come first (PNG specification, 11.2.1).

    Raises:
        SkateError: of class `fault`, for a picture that Pillow takes for a bomb (other formats than PNG, 89 million
            pixels).
    """
    if data.startswith(_PNG):
        if data[12:16] != b"IHDR" or len(data) < 24:
            return None
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                return picture.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise fault(
            f"{what} has more than {Image.MAX_IMAGE_PIXELS} pixels, as many as are read of a format that is not PNG: "
            "scale it down"
        ) from error
    except (OSError, ValueError, ArithmeticError, SyntaxError, LookupError, struct.error):  # Pillow's, by format
        return None
