"""Every frame of a video file, as a run would decode it, without a run."""

from collections.abc import Iterator
from pathlib import Path

from stages.base import Array
from stages.video.limits import VideoLimits
from stages.video.source import VideoSource
from storage.errors import InputError


def plain_frames(video: Path, limits: VideoLimits | None = None) -> Iterator[Array]:
    """Frames `[H, W, 3]` uint8 RGB, upright, one at a time.

    Raises:
        InputError: when the file cannot be used.
    """
    if not video.is_file():
        raise InputError(f"{video}: no such video file")
    source = VideoSource(video, limits or VideoLimits())
    try:
        for frame in source.frames():
            yield frame.to_rgb()
    finally:
        source.close()
