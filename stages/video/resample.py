"""Resampling to a constant rate, and reading spans of the clip once more."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from stages.base import Array
from stages.video.clock import MIN_STEP_SECONDS
from stages.video.reader import SuspectedDamage
from stages.video.source import SourceFrame, VideoSource
from storage.errors import InputError
from storage.spans import Span

CHANGED = (
    "the file changed since the run began, or is too damaged to decode the same way twice; "
    "bring the old file back, or start anew with --overwrite"
)


@dataclass(frozen=True)
class ClipFrame:
    """One frame of the clip: a frame of the file, shown at `seconds` (its own time unless resampled)."""

    source: SourceFrame
    seconds: float


def clip_frames(
    frames: Iterator[SourceFrame], fps: float | None, step_seconds: float, first: int = 0
) -> Iterator[ClipFrame]:
    """The frames of the clip: those of the file as they are, or at a constant rate.

    At `fps`, output frame j shows the last frame of the file at or before j / fps; the clip ends where the last frame
    does, one `step_seconds` after its time. Nothing is shown before its time.

    Args:
        frames: of the file; when resampling starts midway, from the one that output frame `first` shows, or earlier.
        fps: frames a second, or None to keep every frame at its time.
        step_seconds: how long the last frame lasts.
        first: index of the first output frame wanted (matters only with `fps`).
    """
    if fps is None:
        for frame in frames:
            yield ClipFrame(frame, frame.seconds)
        return
    index = first
    current: SourceFrame | None = None
    for following in frames:
        if current is not None:
            stop = _outputs_before(following.seconds, fps)
            yield from (_shown_as(current, j, fps) for j in range(index, stop))
            index = max(index, stop)
        current = following
    if current is not None:
        stop = _outputs_before(current.seconds + step_seconds, fps)
        yield from (_shown_as(current, j, fps) for j in range(index, stop))


def _shown_as(frame: SourceFrame, index: int, fps: float) -> ClipFrame:
    """`frame` shown as output frame `index`."""
    return ClipFrame(frame, index / fps)


def _outputs_before(seconds: float, fps: float) -> int:
    """How many output frames lie before a time; one within a millionth of a frame of it does not."""
    return max(0, math.ceil(seconds * fps - 1e-6))


def read_again(
    source: VideoSource,
    fps: float | None,
    span: Span,
    same: Callable[[int, Array], bool],
    seconds: float | None,
) -> Iterator[Array]:
    """Frames `span` of the clip, `[H, W, 3]` uint8 RGB each, decoded once more and verified.

    Args:
        source: the open video.
        fps: as when they were decoded first.
        span: which frames.
        same: whether a picture is what the span's frame of this number, from 0 on, was.
        seconds: time of the first of them; lets the file be sought instead of decoded from its start.

    Raises:
        InputError: when the video no longer gives these frames.
    """
    given = 0
    if seconds is not None and source.seek(seconds):
        try:
            wanted = _skip_before(source.frames(), seconds) if fps is None else source.frames()
            clip = clip_frames(wanted, fps, 1 / source.properties.claimed_fps, span.start)
            for frame in islice(clip, span.frames):
                image = frame.source.to_rgb()
                if not same(given, image):
                    break
                yield image
                given += 1
        except SuspectedDamage:
            pass  # only a pass from the start counts damaged frames rightly
    if given == span.frames:
        return
    source.restart(careful=source.careful)
    clip = clip_frames(source.frames(), fps, 1 / source.properties.claimed_fps)
    for frame in islice(clip, span.start + given, span.stop):
        image = frame.source.to_rgb()
        if not same(given, image):
            break
        yield image
        given += 1
    if given < span.frames:
        raise InputError(f"{source.path}: frame {span.start + given} is not the one decoded before: {CHANGED}")


def _skip_before(frames: Iterator[SourceFrame], seconds: float) -> Iterator[SourceFrame]:
    return (frame for frame in frames if frame.seconds > seconds - MIN_STEP_SECONDS / 2)
