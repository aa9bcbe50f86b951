"""Pictures as a view shows them, and what was found in them back in the source."""

import math
from collections.abc import Mapping

import cv2
import numpy as np

from stages.affine import apply, compose, invert, scaling, shifting
from stages.base import Array
from stages.region import bounding_box, part_box

NEIGHBOURS = 3  # pixels of the picture to each side that one of its edge depends on
LOBES = 3  # of the Lanczos window that detail is taken out by
NEAR = 0.98  # of the source's scale: from there on there is room for all of it
BETWEEN = np.sinc(np.arange(-3.5, 4)) * np.sinc(np.arange(-3.5, 4) / 4)  # Lanczos, of 4 lobes, half way to the next
BETWEEN /= BETWEEN.sum()
SMALLEST = 1 / 16  # of the source's size: below it a view would need less than a pixel of most pictures
FAR = 1e6  # pixels
BEYOND = cv2.BORDER_REPLICATE  # its edge a frame's last pixels go on


def through(frame: Array, view: Array, size: tuple[int, int]) -> Array:
    """A frame (`[H, W, 3]` or `[H, W]` uint8) as a view `[2, 3]` shows it: `[h, w, ...]` uint8 for `size` (w, h).

    Taken by bicubic interpolation from two of the frame's pixels to one of the picture's at least: where it has fewer
    it is enlarged by Lanczos first, to twice its size, which costs half of what Lanczos anywhere does. Where it has
    more than the picture has room for, it is reduced by area to no less than two, and the rest of the detail taken out
    by Lanczos.
    """
    scale = _scale(view)
    frame, view = _shown(frame, view, size, 2 * LOBES * (1 + 1 / scale))
    if scale < NEAR:
        frame, view = _without_detail(*_by_whole_steps(frame, view))
    if scale > 0.5:
        frame, view = _twice(frame, view)
    return np.asarray(cv2.warpAffine(frame, view, size, flags=cv2.INTER_CUBIC, borderMode=BEYOND))


def glimpse(frame: Array, view: Array, size: tuple[int, int]) -> Array:
    """As `through`, at a fraction of the cost, for a model: reduced by area and taken by bicubic interpolation, as
    SAM 2.1's own input is."""
    return _by_area(*_shown(frame, view, size, NEIGHBOURS / _scale(view)), size)


def mask_through(mask: Array, view: Array, size: tuple[int, int]) -> Array:
    """A mask (`[H, W]` bool) as a view shows it: `[h, w]` bool, True where at least half of a pixel is."""
    found, box = np.zeros((size[1], size[0]), np.bool_), bounding_box(mask, math.ceil(NEIGHBOURS / _scale(view)))
    if box is None:
        return found
    last = np.array([mask.shape[1], mask.shape[0]])
    low, high = np.array([box[1].start, box[0].start]), np.minimum([box[1].stop, box[0].stop], last)
    # What touches the frame's edge goes on beyond it.
    places = apply(view, _corners(np.where(low > 0, low, -FAR), np.where(high < last, high, FAR)))
    first = np.clip(np.floor(places.min(0)), 0, size).astype(int)
    stop = np.clip(np.ceil(places.max(0)) + 1, first, size).astype(int)
    if (first < stop).all():
        part = mask[low[1] : high[1], low[0] : high[0]].astype(np.uint8) * 255
        own = compose(shifting(*-first), compose(view, shifting(*low)))
        # Rings round a mask's edge, as Lanczos makes them, would be parts of it.
        there = _by_area(part, own, (int(stop[0] - first[0]), int(stop[1] - first[1])))
        found[first[1] : stop[1], first[0] : stop[0]] = there >= 128
    return found


def _scale(view: Array) -> float:
    """How many of the picture's pixels one of the frame's takes."""
    return max(SMALLEST, float(np.sqrt(abs(np.linalg.det(view[:, :2])))))


def _corners(low: Array, high: Array) -> Array:
    """`[4, 2]`: of a box from pixel `low` (x, y) to before `high`, its edges."""
    return np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]]) - 0.5


def _shown(frame: Array, view: Array, size: tuple[int, int], around: float) -> tuple[Array, Array]:
    """The part of a frame that its picture shows, with so many of the frame's pixels around it, and its view."""
    places = apply(invert(view), _corners(np.zeros(2), np.array(size)))
    last = np.array([frame.shape[1], frame.shape[0]])
    low = np.clip(np.floor(places.min(0) - around), 0, last - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) + around) + 1, low + 1, last).astype(int)
    return frame[low[1] : high[1], low[0] : high[0]], compose(view, shifting(*low))


def _by_area(frame: Array, view: Array, size: tuple[int, int]) -> Array:
    """As `through`, reduced by area to the picture's scale, then taken by bicubic interpolation."""
    (height, width), scale = frame.shape[:2], _scale(view)
    if scale < 1.0:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        view = compose(view, invert(scaling((small[0] / width, small[1] / height))))
    return np.asarray(cv2.warpAffine(frame, view, size, flags=cv2.INTER_CUBIC, borderMode=BEYOND))


def _by_whole_steps(frame: Array, view: Array) -> tuple[Array, Array]:
    """A frame reduced by area, as many of its pixels to one as leave two for each of the picture's; and its view."""
    times = int(0.5 / _scale(view))
    if times < 2:
        return frame, view
    height, width = frame.shape[:2]
    frame = cv2.copyMakeBorder(frame, 0, -height % times, 0, -width % times, BEYOND)
    small = (frame.shape[1] // times, frame.shape[0] // times)
    frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    return frame, compose(view, invert(scaling((1 / times, 1 / times))))


def _twice(frame: Array, view: Array) -> tuple[Array, Array]:
    """A frame at twice its size, its own pixels as they were, and its view."""
    below = cv2.filter2D(frame, -1, BETWEEN[:, None], anchor=(0, 3), borderType=BEYOND)
    tall = np.stack([frame, below], 1).reshape(2 * len(frame), *frame.shape[1:])
    right = cv2.filter2D(tall, -1, BETWEEN[None], anchor=(3, 0), borderType=BEYOND)
    wide = cv2.merge([tall, right]).reshape(len(tall), 2 * frame.shape[1], *frame.shape[2:])
    return wide, compose(view, np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]))


def _without_detail(frame: Array, view: Array) -> tuple[Array, Array]:
    """A frame without what a view shows at less than two pixels; and the view. The nearer that is to the source's
    scale, the less changes."""
    scale = _scale(view)
    reach = math.ceil(LOBES / scale)
    places = np.clip(np.arange(-reach, reach + 1) * scale, -LOBES, LOBES)
    weights = np.sinc(places) * np.sinc(places / LOBES)
    weights /= weights.sum()
    return cv2.sepFilter2D(frame, -1, weights, weights, borderType=BEYOND), view


def logits_back(logits: Array, view: Array, shape: tuple[int, int]) -> Array:
    """`[h, w]` float32 logits of a view's picture in the source's pixels, `[H, W]` float32; -1024 where the view does
    not look."""
    height, width = shape
    # A pixel more to each side: the frame's outermost pixels may lie beyond the centres of the picture's.
    logits = cv2.copyMakeBorder(logits, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    view = compose(shifting(1.0, 1.0), view)
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
    return part_box(mask) - 0.5


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
