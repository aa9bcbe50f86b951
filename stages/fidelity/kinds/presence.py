"""Whether the object is there, once."""

import math

import cv2
import numpy as np

from stages.base import Array
from stages.fidelity.metric import Metric, View

LEAST_PIXELS = 60  # of an object: a sliver at the picture's edge is neither lost nor like anything
LONG_SIDE = 40  # of the object's cut-out, pixels: enough to know it again, and quick
LEVELS = 64.0  # of 255: what differs by more is another thing
REACH = 2.0  # how far around it a second one is looked for, in sides of its box


def _lost(source: View, result: View) -> float:
    if np.count_nonzero(source.object_mask) < LEAST_PIXELS:
        return math.nan
    return float(np.count_nonzero(result.object_mask) < LEAST_PIXELS)


def second_likeness(picture: Array, mask: Array) -> float:
    """How much like the object the picture is at its likest place around it, 0..1.

    Its cut-out is laid on every place that overlaps itself by less than half: 1 less the root mean square difference
    of RGB under the mask (OpenCV's `TM_SQDIFF` with a mask), in `LEVELS`. NaN where there is too little of it.
    """
    if np.count_nonzero(mask) < LEAST_PIXELS:
        return math.nan
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    left, top = max(0, round(x - REACH * width)), max(0, round(y - REACH * height))
    around = np.s_[top : round(y + (1 + REACH) * height), left : round(x + (1 + REACH) * width)]
    scale = min(1.0, LONG_SIDE / max(width, height))
    colours: Array = picture[around].astype(np.float32)
    own: Array = mask[around].astype(np.float32)
    if scale < 1.0:
        size = (max(1, round(own.shape[1] * scale)), max(1, round(own.shape[0] * scale)))
        colours, own = (np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA)) for part in (colours, own))
    shape = (own > 0.5).astype(np.float32)
    x, y, width, height = cv2.boundingRect(shape.astype(np.uint8))
    if min(width, height) < 3:
        return math.nan
    cut = np.s_[y : y + height, x : x + width]
    apart = cv2.matchTemplate(colours, colours[cut], cv2.TM_SQDIFF, mask=np.repeat(shape[cut][..., None], 3, axis=2))
    rows, columns = np.indices(apart.shape)
    itself = (abs(rows - y) < height / 2) & (abs(columns - x) < width / 2)
    elsewhere = np.where(itself, np.inf, apart).min()
    rms = math.sqrt(max(0.0, float(elsewhere)) / (3 * float(shape.sum())))
    return max(0.0, 1.0 - rms / LEVELS)


def _double(source: View, result: View) -> float:
    if source.picture is None or result.picture is None:
        return math.nan
    more = second_likeness(result.picture, result.object_mask) - second_likeness(source.picture, source.object_mask)
    return max(0.0, more) if more == more else math.nan


METRICS = (
    Metric("lost", "object", "", "1 where the source shows it and the result does not", 0.5, False, _lost),
    Metric(
        "double", "object", "", "how much more than in the source another place looks like it",
        0.35, False, _double, pictures=True,
    ),
)  # fmt: skip
