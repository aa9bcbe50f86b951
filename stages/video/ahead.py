"""The clip's next frames, looked at before they are taken: where it ends, and where its shots do."""

from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np
from av.error import FFmpegError

from stages.base import Array
from stages.cuts import LEAST_SHOT, REMEMBERED, SIDE, Cuts, begins_shot
from stages.video.resample import ClipFrame
from stages.video.source import SourceFrame

FIRST_SIDE = 128  # pixels: swscale reduces no picture of 8K to `SIDE` at once


class FramesAhead:
    """A queue of frames that is filled as far as an answer needs it: by 16 different pictures at most.

    Args:
        frames: the clip's, from frame `first` on.
        cuts: told every picture, or knowing them.
        before: the last pictures before that (`pictures`), [k, h, w, 3] uint8.
        shown: time of the file's frame that was shown last, None at the start: shown again it is no other picture.
    """

    def __init__(
        self,
        frames: Iterator[ClipFrame],
        cuts: Cuts,
        first: int = 0,
        before: Array = np.empty((0, 0, 0, 3), np.uint8),  # noqa: B008 - nothing writes to it
        shown: float | None = None,
    ) -> None:
        self._frames = frames
        self._cuts = cuts
        self._next = first
        self._waiting: deque[tuple[ClipFrame, Array | None]] = deque()  # without a picture where it is shown again
        self._taken: deque[Array] = deque(before, maxlen=REMEMBERED)
        self._shown = shown
        self._ended = False

    def fill(self, wanted: int) -> int:
        """Decode until `wanted` frames wait, or the clip ends; gives how many wait."""
        while len(self._waiting) < wanted and not self._ended:
            item = next(self._frames, None)
            if item is None:
                self._ended = True
                self._cuts.end()
            else:
                self._waiting.append((item, self._show(item)))
        return len(self._waiting)

    def _show(self, item: ClipFrame) -> Array | None:
        if item.source.seconds == self._shown:
            return None
        self._shown = item.source.seconds
        picture = small(item.source)
        self._cuts.show(self._next + len(self._waiting), picture)
        return picture

    def take(self) -> ClipFrame:
        """The next frame; there must be one (`fill`)."""
        item, picture = self._waiting.popleft()
        self._next += 1
        if picture is not None:
            self._taken.append(picture)
        return item

    def ends_shot(self, shot_start: int) -> bool:
        """Whether the shot that began at `shot_start` ends before the next frame, and the clip goes on."""
        self._look()
        if self._next not in self._cuts:
            return False
        return begins_shot(self._next, shot_start, self.fill(LEAST_SHOT))

    def cuts(self) -> list[int]:
        """The cuts before the frames that were taken since this was asked last."""
        self._look()
        return self._cuts.told(self._next)

    def _look(self) -> None:
        """Decode until it is known whether a cut lies before the next frame."""
        while not self._cuts.knows(self._next) and not self._ended:
            self.fill(len(self._waiting) + 1)

    def pictures(self) -> Array:
        """`[k, h, w, 3]` uint8: of the frames that were taken last, as much as finding cuts needs to go on."""
        return np.stack(self._taken) if self._taken else np.empty((0, 0, 0, 3), np.uint8)


def small(source: SourceFrame) -> Array:
    """`[h, w, 3]` uint8 BGR, `SIDE` pixels on the longer side: the picture as coded, neither turned nor tone-mapped.

    Raises:
        InputError: when swscale cannot convert the pixel format.
    """
    picture = source.picture
    first, last = (_fitting(picture.width, picture.height, side) for side in (FIRST_SIDE, SIDE))
    try:
        reduced = picture.reformat(*first, format="bgr24", interpolation="AREA", threads=1).to_ndarray()
    except (FFmpegError, ValueError) as error:
        raise source.unfit(error) from error
    return np.asarray(cv2.resize(reduced, last, interpolation=cv2.INTER_AREA))


def _fitting(width: int, height: int, side: int) -> tuple[int, int]:
    scale = side / max(width, height)
    return max(2, round(width * scale)), max(2, round(height * scale))
