"""A thing that others hide in part: its last seen shape, carried by its own motion.

    shape on the last frame that showed enough of it --shift and turn--> where what shows now lies, and nobody hides it

The shape is sought where it explains the mask best: what of it lies on others may be hidden and counts for nothing.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.base import Array
from stages.region import Box, bounding_box

HORIZON = 24  # frames for which what is hidden wholly is still believed to be behind what hides it
HIDDEN = 0.35  # share of it that may be hidden on a frame whose shape is kept for later ones
POOR = 0.6  # IoU with what shows, below which it has another shape by now: it turned, or is another thing
REACH = 60.0  # pixels: larger shapes are sought for in a smaller picture
STEPS = (2.0, 1.0, 0.5, 0.25)  # of the search, pixels of that picture; turns move the outermost pixel 1.5 times as far
TURNS = 1.5
LARGE = 10.0  # pixels: of a larger radius steps are larger in proportion
MOST_STEPS = 12  # of one size
PULL = 0.002  # of the score, a largest step from where it is believed to be: what the mask does not tell stays
GAIN, DAMPING = 0.5, 0.95  # of a new step in the running mean; of the steps of what is not seen
GAP = 3  # pixels: masks so near each other touch
_DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])


@dataclass(frozen=True)
class Shape:
    """What is carried of a thing.

    Attributes:
        mask: [h, w] uint8, 255 where it is; empty before it was ever seen.
        middle: [2] float64 x, y of its centre in `mask`.
        place: [3] float64, on the last frame: x, y of the centre, pixels, and how far it is turned, radians.
        step: [3] float64, running mean of how that changes in a frame.
        unseen: frames since anything of it was seen.
    """

    mask: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    middle: Array = field(default_factory=lambda: np.zeros(2))
    place: Array = field(default_factory=lambda: np.zeros(3))
    step: Array = field(default_factory=lambda: np.zeros(3))
    unseen: int = 0

    @property
    def radius(self) -> float:
        """From its centre as far as it may go, pixels."""
        corners = np.array([[x, y] for x in (0, self.mask.shape[1]) for y in (0, self.mask.shape[0])])
        return float(np.linalg.norm(corners - self.middle, axis=1).max())


def follow(before: Shape, visible: Array, others: Array) -> tuple[Shape, Array]:
    """One frame on.

    Args:
        visible: [H, W] bool, what shows of it. others: [H, W] bool, all others that are followed.

    Returns:
        What is carried on, and [H, W] bool: all of it; what is not visible of it lies on others.
    """
    shown = bounding_box(visible, GAP)
    if shown is None:
        return _unseen(before, others)
    if not touches(visible[shown], others[shown]):
        return _learnt(before, visible), visible.copy()
    others = _grown(others)
    if not before.mask.size:
        first = visible | (_hull(visible) & others)
        return _learnt(before, first), first
    guess = before.place + before.step
    box = _around(visible.shape, shown, guess, before.radius)
    place, fits = _sought(before, guess, visible[box], others[box], box)
    found = visible.copy()
    found[box] |= placed(before, place, box) & others[box]
    step = GAIN * (place - before.place) + (1 - GAIN) * before.step
    now = Shape(before.mask, before.middle, place, step)
    if fits < POOR:
        found = visible | (_hull(visible) & others)
    if fits < POOR or np.count_nonzero(visible) >= (1 - HIDDEN) * np.count_nonzero(found):
        now = _kept(found, step)
    return now, found


def touches(visible: Array, others: Array) -> bool:
    """Whether others lie so near that they may hide some of it."""
    near = cv2.dilate(visible.view(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8))
    return bool((near.view(bool) & others).any())


def placed(shape: Shape, place: Array, box: Box, scale: float = 1.0) -> Array:
    """[h, w] bool: the shape at a place, in a box of the frame, `scale` times as large."""
    (rows, columns), (x, y, turn) = box, place
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = scale * np.array([x - columns.start, y - rows.start]) - linear @ shape.middle
    size = (round(scale * (columns.stop - columns.start)), round(scale * (rows.stop - rows.start)))
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    return np.asarray(cv2.warpAffine(shape.mask, matrix, size, flags=cv2.INTER_LINEAR) >= 128)


def _sought(shape: Shape, guess: Array, visible: Array, others: Array, box: Box) -> tuple[Array, float]:
    """The place near the guess where the shape explains what shows in the box, and the IoU of the two there."""
    scale = min(1.0, REACH / shape.radius)
    size = (round(scale * visible.shape[1]), round(scale * visible.shape[0]))
    shown, hiding = (
        cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(bool) for mask in (visible, others)
    )
    free, total = ~hiding, int(np.count_nonzero(shown))
    unit = np.array([1.0, 1.0, TURNS / shape.radius]) * max(1.0, scale * shape.radius / LARGE) / scale

    def score(place: Array) -> tuple[float, float]:
        found = placed(shape, place, box, scale)
        beyond = int(np.count_nonzero(found & ~shown & free))
        iou = int(np.count_nonzero(found & shown)) / max(1, total + beyond)
        return iou - PULL * float(np.abs((place - guess) / (STEPS[0] * unit)).sum()), iou

    best, top = guess, score(guess)
    for step in STEPS:
        for _ in range(MOST_STEPS):
            tries = [best + step * unit * direction for direction in _DIRECTIONS]
            scores = [score(place) for place in tries]
            at = max(range(len(tries)), key=lambda index: scores[index][0])
            if scores[at][0] <= top[0]:
                break
            best, top = tries[at], scores[at]
    return best, top[1]


def _unseen(before: Shape, others: Array) -> tuple[Shape, Array]:
    """Nothing of it shows: it is where it would have gone, behind others, or not there at all."""
    if not before.mask.size or before.unseen >= HORIZON:
        return Shape(), np.zeros(others.shape, bool)
    place = before.place + before.step
    whole = (slice(0, others.shape[0]), slice(0, others.shape[1]))
    now = Shape(before.mask, before.middle, place, DAMPING * before.step, before.unseen + 1)
    return now, placed(before, place, whole) & _grown(others)


def _learnt(before: Shape, found: Array) -> Shape:
    """The shape of a frame that shows it, and how it moved since the frame before."""
    now = _kept(found, np.zeros(3))
    moved = np.array([*(now.place - before.place)[:2], 0.0]) if before.mask.size and not before.unseen else np.zeros(3)
    return Shape(now.mask, now.middle, now.place, GAIN * moved + (1 - GAIN) * before.step)


def _kept(found: Array, step: Array) -> Shape:
    box = bounding_box(found)
    assert box is not None, "it shows"
    rows, columns = np.nonzero(found[box])
    middle = np.array([columns.mean(), rows.mean()])
    mask = np.pad(found[box].astype(np.uint8) * 255, 1)
    return Shape(mask, middle + 1, np.array([middle[0] + box[1].start, middle[1] + box[0].start, 0.0]), step)


def _grown(others: Array) -> Array:
    """By a pixel: between two masks there may be some of neither."""
    return cv2.dilate(others.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)


def _hull(visible: Array) -> Array:
    filled = np.zeros(visible.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(cv2.findNonZero(visible.view(np.uint8))), 1)
    return filled.view(bool)


def _around(shape: tuple[int, ...], shown: Box, guess: Array, radius: float) -> Box:
    """The box of the frame that holds what shows and what is sought."""
    reach = [guess[1] - radius, guess[0] - radius], [guess[1] + radius, guess[0] + radius]
    sides = (
        slice(max(0, min(side.start, int(low))), min(length, max(side.stop, int(high) + 2)))
        for side, length, low, high in zip(shown, shape, *reach, strict=True)
    )
    rows, columns = sides
    return rows, columns
