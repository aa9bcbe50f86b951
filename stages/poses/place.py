"""Where the object's prompt is, as one box."""

from pathlib import Path

import cv2
import numpy as np

from stages.picture import decode_picture
from stages.prompts import Box, ObjectPrompt
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import InputError

WHITE = 128  # from this grey value on, a pixel of the mask belongs to the object


def prompt_box(prompt: ObjectPrompt, max_pixels: int = DEFAULT_MAX_PIXELS) -> Box:
    """The box itself, or the bounding box of the points on the object, or of the mask.

    Raises:
        InputError: no point lies on the object; the mask is missing, unreadable, black, or of more than `max_pixels`.
    """
    if prompt.box is not None:
        return prompt.box
    if prompt.mask_png is None:
        on = [(x, y) for x, y, label in prompt.points if label == 1]
        if not on:
            raise InputError("no --point lies on the object: give at least one with label 1")
        left, top = np.min(on, axis=0)
        right, bottom = np.max(on, axis=0)
        return float(left), float(top), float(right), float(bottom)
    if not Path(prompt.mask_png).is_file():
        raise InputError(f"--object-mask {prompt.mask_png} does not exist: give a PNG of the frame's size")
    try:
        data = Path(prompt.mask_png).read_bytes()
    except OSError as error:
        raise InputError(f"--object-mask {prompt.mask_png} cannot be read: {error.strerror}") from error
    mask = decode_picture(data, cv2.IMREAD_GRAYSCALE, f"--object-mask {prompt.mask_png}", max_pixels)
    if mask is None:
        raise InputError(f"--object-mask {prompt.mask_png} cannot be read: give an 8-bit PNG of the frame's size")
    ys, xs = np.nonzero(mask >= WHITE)
    if len(xs) == 0:
        raise InputError(f"--object-mask {prompt.mask_png} is black: paint the object white (>= {WHITE})")
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
