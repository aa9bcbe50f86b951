"""Where a subject's prompts are, as boxes."""

import numpy as np

from stages.picture import WHITE, mask_box, read_mask
from stages.prompts import Box, Pointing
from stages.subjects import Subject
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import read_input
from storage.errors import InputError


def prompt_box(prompt: Pointing, max_pixels: int = DEFAULT_MAX_PIXELS, told: str = "--object-mask") -> Box:
    """The box itself, or the bounding box of the points on the object, or of the mask; `told`: how that was given.

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
    what = f"{told} {prompt.mask_png}"
    mask = read_mask(read_input(prompt.mask_png, what), what, max_pixels)
    if not mask.any():
        raise InputError(f"{what} is black: paint the object white (>= {WHITE})")
    return mask_box(mask)


def given_boxes(subject: Subject, max_pixels: int = DEFAULT_MAX_PIXELS) -> dict[int, Box]:
    """The boxes that a subject is given by, or that its masks have, by frame.

    Raises:
        InputError: as `prompt_box`.
    """
    every = [pointing for pointing in (subject.prompt, *subject.corrections) if pointing is not None]
    return {each.frame: prompt_box(each, max_pixels) for each in every if not each.points}
