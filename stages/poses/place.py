"""Where the object's prompt is, as one box."""

import numpy as np

from stages.picture import WHITE, mask_box, read_mask
from stages.prompts import Box, ObjectPrompt
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import read_input
from storage.errors import InputError


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
    what = f"--object-mask {prompt.mask_png}"
    mask = read_mask(read_input(prompt.mask_png, what), what, max_pixels)
    if not mask.any():
        raise InputError(f"{what} is black: paint the object white (>= {WHITE})")
    return mask_box(mask)
