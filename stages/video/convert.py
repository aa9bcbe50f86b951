"""Conversion to RGB in a thread of its own, while the next pictures are decoded."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from stages.base import Array
from stages.resize import resize_frames
from stages.video.digest import frame_digest
from stages.video.source import SourceFrame

MAX_PENDING = 4  # pictures that wait to be converted; a decoded 1080p picture is 3 MB


class FrameWriter:
    """Fills the rows of an array with frames, in order. A context manager: all rows are written when it is left.

    swscale, numpy's copies and reductions let other threads run, so that with two cores a window takes as long as
    decoding alone or converting alone, whichever is longer.

    Args:
        worker: an executor with exactly one thread: rows are written one after the other.
        frames: `[n, H, W, 3]` uint8, filled from row 0; the file's pictures are brought to that size.
    """

    def __init__(self, worker: ThreadPoolExecutor, frames: Array) -> None:
        self.frames = frames
        self.digests: list[str] = []
        self._worker = worker
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.settle()  # what went wrong in an earlier frame is said first

    def convert(self, row: int, source: SourceFrame) -> None:
        """Write a frame of the file, and note the digest of its picture in the file's size.

        Raises:
            InputError: when this or an earlier picture cannot be converted.
        """
        self._submit(self._convert, row, source)

    def repeat(self, row: int) -> None:
        """Write the frame of the row before once more."""
        self._submit(self._repeat, row)

    def settle(self) -> None:
        """Wait until everything that was handed over is written.

        Raises:
            InputError: when a picture could not be converted.
        """
        while self._pending:
            self._finish_oldest()

    def _submit(self, work: Callable[..., None], *values: int | SourceFrame) -> None:
        while len(self._pending) >= MAX_PENDING:
            self._finish_oldest()
        self._pending.append(self._worker.submit(work, *values))

    def _finish_oldest(self) -> None:
        try:
            self._pending.popleft().result()
        except BaseException:
            wait(self._pending)
            self._pending.clear()
            raise

    def _convert(self, row: int, source: SourceFrame) -> None:
        picture = source.to_rgb()
        self.frames[row] = resize_frames(picture[None], (self.frames.shape[2], self.frames.shape[1]))[0]
        self.digests.append(frame_digest(picture))

    def _repeat(self, row: int) -> None:
        self.frames[row] = self.frames[row - 1]
        self.digests.append(self.digests[-1])
