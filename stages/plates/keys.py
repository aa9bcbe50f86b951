"""Key plates: one where the camera looked first, and another wherever it has gone a third of a frame on.

    key plate --place--> the plane of its stretch of the shot --path of frame t--> frame t

A frame is registered to the key plate itself: the background's motion from frame to frame tells roughly where it lies,
corners of the key's own frame then tell exactly. So errors do not add up from frame to frame, only from key to key.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from stages.affine import IDENTITY, apply, compose, invert, resized
from stages.base import Array, State
from stages.plates.samples import inpainted, median, no_samples, take
from stages.views.motion import Step, background, small_grey, step

GONE = 1 / 3  # of the frame's width or height: how far its middle goes before there is another key
ZOOMED = 1.25
STILL = 0.02  # px: what moves less everywhere has not moved, and is not resampled
ALIKE = 6.0  # levels, median: so much a frame differs at most from a key that it is laid on without corners
EDGE = 0.0125  # of the longer side: what lies this near a subject may be mixed with it, or in its shadow


@dataclass
class Plates(State):
    """All that is known of a shot's background: the live key, and the one before it.

    Attributes:
        samples, count: of the live key (`stages.plates.samples`); empty before the first frame.
        grey, free: of its frame (`stages.views.motion`).
        place: [2, 3] float64, the live key's pixels to its stretch's plane.
        number: of the live key. part: of the stretch. offers: how many frames were offered to the key.
        path: [2, 3] float64, the plane to the last frame.
        before: the key before, `Key` as arrays; none where there is none in this stretch.
    """

    samples: Array = field(default_factory=lambda: no_samples(0, 0)[0])
    count: Array = field(default_factory=lambda: no_samples(0, 0)[1])
    grey: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    free: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    place: Array = field(default_factory=lambda: IDENTITY.copy())
    number: int = 0
    part: int = 0
    offers: int = 0
    path: Array = field(default_factory=lambda: IDENTITY.copy())
    before: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A plate as it is used.

    Attributes:
        picture: [H, W, 3] uint8 RGB, what was never seen inpainted.
        known: [H, W] bool: what was seen.
        place: [2, 3] float64: its pixels to its stretch's plane.
        number, part: of the key, and of the stretch.
        past: whether it is the key as the window before had it.
    """

    picture: Array
    known: Array
    place: Array
    number: int
    part: int
    past: bool = False

    @property
    def row(self) -> Array:
        """[3, 3] float64: place; number, part, past."""
        return np.vstack([self.place, [self.number, self.part, self.past]])

    @classmethod
    def of(cls, picture: Array, known: Array, row: Array) -> "Key":
        """The key of such a row."""
        return cls(picture, known, row[:2], int(row[2, 0]), int(row[2, 1]), bool(row[2, 2]))


class Keeper:
    """Follows a shot and keeps its key plates.

    Args:
        state: where it stood; left alone.

    Attributes:
        finished: keys that were left since.
    """

    def __init__(self, state: Plates) -> None:
        self.state = replace(state, samples=state.samples.copy(), count=state.count.copy())
        self.finished: list[Key] = []
        self._past = replace(self._live(), past=True) if state.count.size else None

    def follow(self, motion: Array) -> None:
        """The background has moved by `[2, 3]` onto the next frame."""
        self.state.path = compose(motion, self.state.path)

    def look(self, frame: Array, subjects: Array) -> None:
        """Register a frame (`[H, W, 3]` uint8 RGB) and take what it shows around the subjects (`[H, W]` bool)."""
        state = self.state
        grey = small_grey(frame)
        free = background(subjects, (grey.shape[0], grey.shape[1]))
        if not state.count.size:
            self._begin(frame, subjects, grey, free)
            return
        size = (frame.shape[1], frame.shape[0])
        found = registered(state.grey, state.free, grey, free, compose(state.path, state.place), size)
        if found is None:  # nothing tells where it lies: what follows is registered to it
            self._leave()
            state.part, state.path, state.before = state.part + 1, IDENTITY.copy(), {}
            self._begin(frame, subjects, grey, free)
            return
        state.path = compose(found, invert(state.place))
        if has_gone(found, size):
            key = self._leave()
            state.before = {"picture": key.picture, "known": key.known, "row": key.row}
            self._begin(frame, subjects, grey, free)
            return
        laid, seen = laid_on(frame, visible(subjects), invert(found))
        take(state.samples, state.count, laid, seen, state.offers)
        state.offers += 1

    def keys(self) -> list[Key]:
        """Those that were left since, the one before the live one, and the live one as it is now; in front of all of
        them the one that was live, as it was, if it has changed since."""
        held = {key.number: key for key in self.finished}
        if self.state.before:
            key = Key.of(self.state.before["picture"], self.state.before["known"], self.state.before["row"])
            held.setdefault(key.number, key)
        live = self._live()
        now = [*(held[number] for number in sorted(held)), live]
        past = self._past
        if past is None or (past.number == live.number and np.array_equal(past.picture, live.picture)):
            return now
        return [past, *now]

    def _live(self) -> Key:
        state = self.state
        known = state.count > 0
        picture = inpainted(median(state.samples, state.count), known)
        return Key(picture, known, state.place, state.number, state.part)

    def _leave(self) -> Key:
        self.finished.append(self._live())
        self.state.number += 1
        return self.finished[-1]

    def _begin(self, frame: Array, subjects: Array, grey: Array, free: Array) -> None:
        state = self.state
        state.samples, state.count = no_samples(*frame.shape[:2])
        state.grey, state.free, state.place = grey, free, invert(state.path)
        take(state.samples, state.count, frame, visible(subjects), 0)
        state.offers = 1


def registered(
    key: Array, free_key: Array, grey: Array, free: Array, guess: Array, size: tuple[int, int]
) -> Array | None:
    """`[2, 3]`: from a key's pixels to a frame's; None where nothing tells.

    Args:
        key, free_key, grey, free: reduced pictures and where background is in them (`stages.views.motion`).
        guess: `[2, 3]`, the map as far as it is known. size: (width, height) of the frames.
    """
    small = (grey.shape[1], grey.shape[0])
    scale = (small[0] / size[0], small[1] / size[1])
    moved = resized(guess, scale)
    near = cv2.warpAffine(key, moved, small, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(free_key, moved, small, flags=cv2.INTER_NEAREST)
    found: Step = step(near, grey, inside, free, size)
    if found.inliers > 0:
        exact = compose(found.matrix, guess)
        corners = np.array([[0.0, 0.0], [size[0], 0.0], [0.0, size[1]], [size[0], size[1]]])
        return IDENTITY.copy() if np.abs(apply(exact, corners) - corners).max() < STILL else exact
    both = (inside > 0) & (free > 0)
    if both.mean() > 0.1 and np.median(cv2.absdiff(near, grey)[both]) <= ALIKE:
        return guess
    return None


def has_gone(matrix: Array, size: tuple[int, int]) -> bool:
    """Whether a frame lies so far from a key that it wants one of its own."""
    middle = np.array(size) / 2
    moved = np.abs(apply(matrix, middle) - middle) / size
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return bool(moved.max() > GONE) or not 1 / ZOOMED < scale < ZOOMED


def visible(subjects: Array) -> Array:
    """`[H, W]` uint8: 255 where a frame shows the background, and nothing of a subject's blurred edge."""
    reach = max(2, round(EDGE * max(subjects.shape)))
    grown = cv2.dilate(subjects.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return np.where(grown, np.uint8(0), np.uint8(255))


def laid_on(picture: Array, seen: Array, matrix: Array) -> tuple[Array, Array]:
    """A picture and what is seen in it (uint8, 255), moved by `[2, 3]`: both of the same size."""
    if np.array_equal(matrix, IDENTITY):
        return picture, seen
    size = (seen.shape[1], seen.shape[0])
    laid = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    there = cv2.warpAffine(seen, matrix, size, flags=cv2.INTER_LINEAR)
    return laid, np.where(there == 255, np.uint8(255), np.uint8(0))
