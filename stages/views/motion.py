"""How the background moves from a frame to the next: corners, followed there and back, and a similarity through them.

Corners: Shi and Tomasi (CVPR 1994). Following: pyramidal Lucas-Kanade (Bouguet 2001), once forward and once back
(Kalal et al., ICPR 2010). The map: RANSAC (its generator has a fixed seed in OpenCV), then least squares on its inliers
in closed form (Umeyama, PAMI 1991).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.affine import IDENTITY, resized
from stages.base import Array

SIDE = 960  # px: larger pictures are reduced; corners are found to a small part of a pixel
CORNERS, QUALITY, SPACING = 200, 0.005, 60  # at most; of the strongest; they lie apart by a 60th of the longer side
LK_WINDOW, LK_LEVELS = 15, 4
RETURN = 0.3  # px: a corner that does not come back to where it began was not followed
RANSAC = 0.6  # px
LEAST_POINTS, LEAST_SHARE = 12, 0.4
MOST_SCALE, MOST_TURN = 1.25, np.radians(15)  # from frame to frame; beyond it the map is not believed
GROW = 0.02  # of the longer side: what lies this near a subject is not background


@dataclass(frozen=True)
class Step:
    """From a frame to the next.

    Attributes:
        matrix: [2, 3] float64, source pixels of the first to those of the second; the identity where none was found.
        inliers: share of the followed corners that obey it; 0: none was found.
    """

    matrix: Array
    inliers: float


NOWHERE = Step(IDENTITY, 0.0)


def small_grey(frame: Array) -> Array:
    """`[H, W, 3]` uint8 RGB to grey `[h, w]` uint8, at most `SIDE` on the longer side."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else grey)


def background(subjects: Array, shape: tuple[int, int]) -> Array:
    """`[h, w]` uint8: 255 where a corner may lie: away from subjects (`[H, W]` bool) and from the picture's edge."""
    height, width = shape
    taken = cv2.resize(subjects.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    reach = max(3, round(GROW * max(height, width)))
    taken = cv2.dilate(taken, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    free = np.where(taken, 0, 255).astype(np.uint8)
    free[:2], free[-2:], free[:, :2], free[:, -2:] = 0, 0, 0, 0
    return free


def step(before: Array, after: Array, free_before: Array, free_after: Array, size: tuple[int, int]) -> Step:
    """The background's motion between two pictures of `small_grey`, in pixels of frames of `size` (width, height).

    Args:
        free_before, free_after: where background may be, as `background` gives it.
    """
    height, width = before.shape
    spacing = max(4, max(height, width) // SPACING)
    corners = cv2.goodFeaturesToTrack(before, CORNERS, QUALITY, spacing, mask=free_before, blockSize=5)
    if corners is None or len(corners) < LEAST_POINTS:
        return NOWHERE
    first, second = _followed(before, after, np.asarray(corners), free_after)
    if len(first) < LEAST_POINTS:
        return NOWHERE
    found: tuple[Array | None, Array] = cv2.estimateAffinePartial2D(
        first, second, method=cv2.RANSAC, ransacReprojThreshold=RANSAC, maxIters=2000, confidence=0.999, refineIters=0
    )
    if found[0] is None:
        return NOWHERE
    inside = found[1].ravel() > 0
    share = float(inside.mean())
    if inside.sum() < LEAST_POINTS or share < LEAST_SHARE:
        return NOWHERE
    matrix = fitted(first[inside], second[inside])
    scale, turn = np.hypot(matrix[0, 0], matrix[1, 0]), np.arctan2(matrix[1, 0], matrix[0, 0])
    if not (1 / MOST_SCALE < scale < MOST_SCALE and abs(turn) < MOST_TURN):
        return NOWHERE
    return Step(resized(matrix, (size[0] / width, size[1] / height)), share)


def _followed(before: Array, after: Array, corners: Array, free_after: Array) -> tuple[Array, Array]:
    """`[N, 2]` float64 each: corners that were followed there and back, and where they went on background."""
    window = {"winSize": (LK_WINDOW, LK_WINDOW), "maxLevel": LK_LEVELS}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **window)  # type: ignore[call-overload]
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **window)  # type: ignore[call-overload]
    first, second = corners.reshape(-1, 2).astype(np.float64), there.reshape(-1, 2).astype(np.float64)
    good = (found.ravel() > 0) & (returned.ravel() > 0)
    good &= np.hypot(*(back.reshape(-1, 2) - first).T) < RETURN
    place = np.round(second).astype(int)
    height, width = after.shape
    good &= ((place >= 0) & (place < (width, height))).all(1)
    good[good] &= free_after[place[good, 1], place[good, 0]] > 0
    return first[good], second[good]


def fitted(first: Array, second: Array) -> Array:
    """`[2, 3]`: the similarity that takes points `first` to `second` (`[N, 2]` float64) with the least squares."""
    centre, goal = first.mean(0), second.mean(0)
    x, y = (first - centre).T
    u, v = (second - goal).T
    square = (x * x + y * y).sum()
    if square == 0:
        return np.column_stack([np.eye(2), goal - centre])
    cos, sin = (x * u + y * v).sum() / square, (x * v - y * u).sum() / square
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, goal - linear @ centre])
