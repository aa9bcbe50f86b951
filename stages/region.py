"""The regenerated region: which pixels a generator may change, how it fades into the source, and the composite.

    source | ring: alpha falls from 1 to 0 | mask: alpha = 1 | ring | source
           ^ region's edge, `--dilate` px out                       ^ alpha exactly 0 from here on

Every function works frame by frame on `[n, H, W]` arrays; `n` may be cut as memory asks for (`values[t : t + 1]`).
"""

import math
from typing import Any

import cv2
import numpy as np

from stages import bounds
from stages.choices import SHAPES
from storage.errors import UsageError

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[slice, slice]

RESKIN_CHOICES = ("both", "object", "person")
REMOVE = "remove"  # of `--reskin`: both, and nothing stands in their place
DILATE = (8, 8)  # pixels at the generator's size, around the object and around the person


def check_region(reskin: str, dilate: tuple[int, int], shape: str = "tight") -> None:
    """Refuse an unknown choice or a negative width.

    Raises:
        UsageError: naming the option and its value.
    """
    if reskin not in RESKIN_CHOICES:
        raise UsageError(f"--reskin {reskin} is none of {', '.join(RESKIN_CHOICES)}")
    if shape not in SHAPES:
        raise UsageError(f"--region {shape} is none of {', '.join(SHAPES)}")
    bounds.DILATE.check("--dilate", dilate)


def source_pixels(dilate: tuple[int, int], source: tuple[int, int], generated: tuple[int, int]) -> tuple[float, float]:
    """`--dilate`, given in pixels at the generator's size, in pixels of the source.

    Args:
        dilate: around the object, around the person.
        source, generated: (width, height). Where their shapes differ, the scale is the mean of both sides'.
    """
    scale = math.sqrt(math.prod(source) / math.prod(generated))
    return dilate[0] * scale, dilate[1] * scale


def chosen_mask(object_mask: Array, person_mask: Array, reskin: str, shape: str = "tight") -> Array:
    """The undilated masks of what is regenerated.

    Args:
        object_mask, person_mask: `[n, H, W]` bool.
        reskin: "both", "object" or "person".
        shape: as for `region`.

    Returns:
        `[n, H, W]` bool; an array of its own.
    """
    return region(object_mask, person_mask, reskin, (0.0, 0.0), shape)


def shaped(mask: Array, shape: str) -> Array:
    """`[H, W]` bool: the mask itself ("tight"), its convex hull ("hull") or its upright bounding box ("box")."""
    box = bounding_box(mask)
    if box is None or shape == "tight":
        return mask
    filled = np.zeros(mask.shape, np.uint8)
    if shape == "box":
        filled[box] = 1
    else:
        points = cv2.findNonZero(mask.astype(np.uint8))
        cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return (filled > 0) | mask


def region(
    object_mask: Array,
    person_mask: Array,
    reskin: str,
    dilate: tuple[float, float],
    shape: str = "tight",
    every: Array | None = None,
) -> Array:
    """Pixels that a generator may change: each chosen mask dilated by a disc of its own radius.

    What was not chosen stays whole: with "object" the ring leaves out the person's mask, with "person" the object's.
    (A pixel in both masks belongs to what was chosen.)

    Args:
        object_mask, person_mask: `[n, H, W]` bool.
        reskin: "both", "object" or "person".
        dilate: radii around the object and around the person, pixels of the masks, >= 0.
        shape: of each grown mask: "tight", "hull" or "box".
        every: `[n, H, W]` bool, all that there is, where that is more than the two: it stays whole too.

    Returns:
        `[n, H, W]` bool.
    """
    found: Array = np.zeros(object_mask.shape, dtype=np.bool_)
    for index, (frame, thing, person) in enumerate(zip(found, object_mask, person_mask, strict=True)):
        if reskin != "person":
            frame |= shaped(dilate_mask(thing, dilate[0]), shape)
        if reskin != "object":
            frame |= shaped(dilate_mask(person, dilate[1]), shape)
        if reskin != "both":
            chosen, kept = (thing, person) if reskin == "object" else (person, thing)
            frame &= chosen | ~kept
        if every is not None:
            frame &= thing | person | ~every[index]
    return found


def dilate_mask(mask: Array, radius: float) -> Array:
    """`[H, W]` bool: every pixel whose centre lies within `radius` pixels (Euclidean) of a pixel of `mask`."""
    box = bounding_box(mask, margin=math.ceil(radius))
    if box is None or radius == 0:
        return mask.copy()
    grown = np.zeros(mask.shape, dtype=np.bool_)
    # The exact transform gives square roots of integers in float32; the slack is far below their spacing.
    grown[box] = distance_to(mask[box]) <= radius + 1e-3
    return grown


def feather(region_mask: Array, inner: Array) -> Array:
    """Weight of the generated picture: 1 in `inner`, 0 outside the region, in the ring by the distances to both.

    Args:
        region_mask: `[n, H, W]` bool.
        inner: `[n, H, W]` bool, the undilated masks; pixels of it outside the region count as outside.

    Returns:
        `[n, H, W]` float32 in 0..1, exactly 0 outside the region and exactly 1 in `inner`.
    """
    alpha: Array = np.zeros(region_mask.shape, dtype=np.float32)
    for frame, allowed, certain in zip(alpha, region_mask, inner & region_mask, strict=True):
        box = bounding_box(allowed, margin=1)
        if box is None or not certain.any():
            continue
        ring = allowed[box] & ~certain[box]
        frame[box] = certain[box]
        if ring.any():
            to_inner = distance_to(certain[box], ring)
            to_outside = distance_to(~allowed[box], ring)
            frame[box][ring] = to_outside / (to_inner + to_outside)
    return alpha


def composite(source: Array, generated: Array, alpha: Array) -> Array:
    """`source + (generated - source) * alpha`, rounded half up; the source's pixels exactly where alpha is 0.

    Args:
        source, generated: `[n, H, W, 3]` uint8.
        alpha: `[n, H, W]` float32 in 0..1.

    Returns:
        `[n, H, W, 3]` uint8.
    """
    result = source.copy()
    for frame, new, weight in zip(result, generated, alpha, strict=True):
        box = bounding_box(weight > 0)
        if box is not None:
            below = frame[box].astype(np.float32)
            mixed = below + (new[box].astype(np.float32) - below) * weight[box][..., None]
            frame[box] = np.floor(mixed + np.float32(0.5)).astype(np.uint8)
    return result


def bounding_box(mask: Array, margin: int = 0) -> Box | None:
    """The smallest `(rows, columns)` that hold every true pixel of `[H, W]`, grown by `margin`; None without one."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return slice(top, int(rows[-1]) + 1 + margin), slice(left, int(columns[-1]) + 1 + margin)


def part_box(mask: Array) -> Array:
    """`[4]` float64 x1, y1, x2, y2 (pixels, half-open) around the largest connected part of `[H, W]` bool, which stray
    pixels elsewhere leave alone; NaN where it is empty."""
    box = bounding_box(mask)
    if box is None:
        return np.full(4, np.nan)
    _, _, parts, _ = cv2.connectedComponentsWithStats(mask[box].astype(np.uint8), connectivity=8)
    x, y, width, height, _ = parts[1 + int(np.argmax(parts[1:, cv2.CC_STAT_AREA]))]
    x, y = x + box[1].start, y + box[0].start
    return np.array([x, y, x + width, y + height], np.float64)


def nearness(mask: Array) -> float:
    """How near what a mask (`[H, W]` bool) shows is, to be compared with others of its frame: on one ground who is
    nearer stands lower in the picture. -1 where it is empty."""
    box = bounding_box(mask)
    return -1.0 if box is None else float(box[0].stop)


def distance_to(mask: Array, where: Array | None = None) -> Array:
    """`[H, W]` float32: distance of each pixel to the nearest true one, in pixels (very large when there is none); with
    `where` `[H, W]` bool `[k]`, those of its pixels alone.

    The root of an exact integer: OpenCV's own last bit depends, in small pictures, on where the array lies in memory.
    """
    distance: Array = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    wanted = distance if where is None else distance[where]
    return np.sqrt(np.rint(np.square(wanted, dtype=np.float64))).astype(np.float32)
