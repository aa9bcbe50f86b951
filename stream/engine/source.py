"""Source frames for the stages: from the store while they are there, decoded again where they were dropped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from stages.base import Array
from stages.decode import DecodeConfig, read_span
from storage.arrays import RunArrays
from storage.durable import file_sha256
from storage.errors import InputError, RunDirectoryError
from storage.log import CommitLog
from storage.spans import Span


class InputGuard:
    """Notices that the input file vanishes or changes while it is being read.

    A look at size, time stamps and inode is cheap enough for every window; the bytes are compared when those differ.
    """

    def __init__(self, path: Path) -> None:
        """Take the file as it is now.

        Raises:
            InputError: when it cannot be read.
        """
        self.path = path
        self._seen = self._look()
        self.bytes = self._seen[0]
        self.sha256 = self._digest()
        self.check()

    def check(self) -> None:
        """See that the file is still the one it was.

        Raises:
            InputError: when it is gone or other bytes lie there.
        """
        seen = self._look()
        if seen == self._seen:
            return
        if seen[0] != self.bytes or self._digest() != self.sha256:
            raise InputError(
                f"{self.path}: changed while it was being read: bring the old file back, then `skate resume`, "
                "or start anew with --overwrite"
            )
        self._seen = seen

    def _look(self) -> tuple[int, int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}): bring it back, then go on") from error
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino

    def _digest(self) -> str:
        try:
            return file_sha256(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}): bring it back, then go on") from error


class Stored(Protocol):
    """A run, open for writing or for reading; what it holds may be another one after it was changed."""

    @property
    def arrays(self) -> RunArrays: ...

    @property
    def log(self) -> CommitLog: ...


class FrameSource:
    """Reads spans of source frames, in order or not.

    Frames that are decoded again are checked against the digests of the first time, so that a changed input is noticed.
    """

    def __init__(self, run: Stored, decode: DecodeConfig) -> None:
        self._run = run
        self._decode = decode
        self._again: Iterator[Array] | None = None  # frames from `_position` on
        self._position = 0
        self._held: Array | None = None  # the last span that was decoded again
        self._held_span = Span(0, 0)

    def read(self, span: Span) -> Array:
        """Frames of the span, `[n, H, W, 3]` uint8 RGB.

        Raises:
            InputError: when the input no longer gives the frames it gave at first.
        """
        if span.start >= self._run.log.dropped.get("frames", 0):
            return self._run.arrays.read("frames", *span)
        return self._decoded_again(span)

    def close(self) -> None:
        """Release the file; it is opened again when it is needed again."""
        self._again = None  # a generator: dropping it closes the file
        self._held, self._held_span = None, Span(0, 0)

    def _decoded_again(self, span: Span) -> Array:
        if self._held is not None and self._held_span.start <= span.start and span.stop <= self._held_span.stop:
            return self._held[span.within(self._held_span)]
        kept: list[Array] = []
        if self._held is not None and self._held_span.start <= span.start < self._held_span.stop == self._position:
            kept = list(self._held[span.start - self._held_span.start :])
        elif self._again is None or self._position != span.start:
            self.close()
            self._again, self._position = self._open(span.start), span.start
        assert self._again is not None
        while self._position < span.stop:
            frame = next(self._again, None)
            if frame is None:
                raise InputError(
                    f"{self._decode.path}: ends at frame {self._position}, where it once went on: the file has changed"
                )
            kept.append(frame)
            self._position += 1
        self._held, self._held_span = np.stack(kept), span
        return self._held

    def _open(self, start: int) -> Iterator[Array]:
        digests = [value for record in self._run.log.of("decode") for value in record["info"]["frame_digests"]]
        try:  # of the first frame alone: this is done window after window, and the clip may be long
            seconds = float(self._run.arrays.read("times", start, start + 1)[0])
        except RunDirectoryError:  # damaged and not yet repaired: without it the file is decoded from its start
            seconds = None
        return read_span(self._decode, Span(start, len(digests)), digests[start:], seconds)
