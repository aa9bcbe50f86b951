"""Pictures as a view shows them, and what was found in them back in the source."""

from collections.abc import Mapping

import cv2
import numpy as np

from stages.affine import apply, compose, invert, scaling
from stages.base import Array

NEIGHBOURS = 3  # pixels of the picture to each side that one of its edge depends on
SMALLEST = 1 / 16  # of the source's size: below it a view would need less than a pixel of most pictures


def through(frame: Array, view: Array, size: tuple[int, int], method: int = cv2.INTER_LANCZOS4) -> Array:
    """A frame (`[H, W, 3]` or `[H, W]` uint8) as a view `[2, 3]` shows it: `[h, w, ...]` uint8 for `size` (w, h).

    Reduced by area first, then taken by a method of OpenCV's; beyond the frame's edge its last pixels go on.
    """
    height, width = frame.shape[:2]
    scale = max(SMALLEST, float(np.sqrt(abs(np.linalg.det(view[:, :2])))))
    if scale < 1.0:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        view = compose(view, invert(scaling((small[0] / width, small[1] / height))))
    return np.asarray(cv2.warpAffine(frame, view, size, flags=method, borderMode=cv2.BORDER_REPLICATE))


def glimpse(frame: Array, view: Array, size: tuple[int, int]) -> Array:
    """As `through`, at a third of the cost, for a model: nothing but the part that is shown is reduced, and the pixels
    are taken by bicubic interpolation, as those of SAM 2.1's own input are."""
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) - 0.5
    around = NEIGHBOURS / max(SMALLEST, float(np.sqrt(abs(np.linalg.det(view[:, :2])))))
    places = apply(invert(view), corners)
    last = np.array([frame.shape[1], frame.shape[0]])
    low = np.clip(np.floor(places.min(0) - around), 0, last - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) + around) + 1, low + 1, last).astype(int)
    part = frame[low[1] : high[1], low[0] : high[0]]
    return through(part, compose(view, np.array([[1.0, 0.0, low[0]], [0.0, 1.0, low[1]]])), size, cv2.INTER_CUBIC)


def mask_through(mask: Array, view: Array, size: tuple[int, int]) -> Array:
    """A mask (`[H, W]` bool) as a view shows it: `[h, w]` bool, True where at least half of a pixel is."""
    # Rings round a mask's edge, as Lanczos makes them, would be parts of it.
    return np.asarray(through(mask.astype(np.uint8) * 255, view, size, cv2.INTER_CUBIC) >= 128)


def logits_back(logits: Array, view: Array, shape: tuple[int, int]) -> Array:
    """`[h, w]` float32 logits of a view's picture in the source's pixels, `[H, W]` float32; -1024 where the view does
    not look."""
    height, width = shape
    # A pixel more to each side: the frame's outermost pixels may lie beyond the centres of the picture's.
    logits = cv2.copyMakeBorder(logits, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    view = compose(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), view)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": -1024.0}
    return np.asarray(cv2.warpAffine(logits, view, (width, height), flags=flags, **border))  # type: ignore[call-overload]


def box_through(box: tuple[float, float, float, float], view: Array) -> tuple[float, float, float, float]:
    """The box around a box's corners as a view shows them. Edges, not pixel centres: x1 is a pixel's left edge."""
    x1, y1, x2, y2 = (value - 0.5 for value in box)
    corners = apply(view, np.array([[x1, y1], [x2, y1], [x1, y2], [x2, y2]])) + 0.5
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return float(left), float(top), float(right), float(bottom)


def box_of(mask: Array) -> Array:
    """`[4]` float64: x1, y1, x2, y2, the outer pixels' edges of a mask's largest connected part, in coordinates where
    pixel centres are whole; NaN where it is empty."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return np.full(4, np.nan)
    x, y, width, height, _ = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
    return np.array([x, y, x + width, y + height], np.float64) - 0.5


def boxes_of(masks: Mapping[str, Array], reskin: str, which: str = "") -> Array:
    """`[n, 4]` float64 around what is regenerated, as `box_of`.

    Args:
        masks: `masks/object` and `masks/person` `[n, H, W]` bool, their names followed by `which`.
        reskin: "both", "object" or "person".
    """
    names = {"both": ("object", "person")}.get(reskin, (reskin,))
    found = np.stack([np.array([box_of(mask) for mask in masks[f"masks/{n}{which}"]]).reshape(-1, 4) for n in names])
    if not found.shape[1]:
        return np.empty((0, 4))
    return np.concatenate([_least(found[..., :2]), -_least(-found[..., 2:])], 1)


def _least(values: Array) -> Array:
    """The least over the first axis of what is no NaN; NaN where nothing is."""
    least = np.where(np.isnan(values), np.inf, values).min(0)
    return np.where(np.isinf(least), np.nan, least)
