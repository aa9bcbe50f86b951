"""One frame of a video, by its number or its time, without decoding all that lies before it."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from av.error import FFmpegError

from stages.base import Array
from stages.video.limits import VideoLimits
from stages.video.reader import SuspectedDamage, VideoReader
from stages.video.source import SourceFrame, VideoSource
from storage.errors import InputError

FRAMES_BEFORE = 8  # from which on frames are met: those of a decoder that reorders, and an interlaced frame's neighbour


def frame_at(video: Path, frame: int | None, seconds: float = 0.0) -> tuple[int, float, Array]:
    """A frame as a run would decode it: its number, its time in seconds, its picture `[H, W, 3]` uint8 RGB, upright.

    The packets' stamps say when each frame is shown; they are read from the file's start, not decoded. From the key
    frame before the one that is wanted on, every frame met must be the next of these; where one is not, or where stamps
    are missing or stand twice, all frames are decoded from the first on.

    Args:
        frame: its number, counted from 0; None: the one that is shown at `seconds` after the first.

    Raises:
        InputError: when the file cannot be used, or has no such frame.
    """
    if not video.is_file():
        raise InputError(f"{video}: no such video file")
    source = VideoSource(video, VideoLimits())
    try:
        found = _sought(source, video, frame, seconds) or _counted(source, video, frame, seconds)
    finally:
        source.close()
    return found


def _sought(source: VideoSource, video: Path, frame: int | None, seconds: float) -> tuple[int, float, Array] | None:
    """The frame, found by seeking; None where that proves nothing."""
    stamps, tick = _stamps(video)
    first = next(source.frames(), None)
    if first is None or not stamps or first.pts != stamps[0]:
        return None
    wanted = bisect_right(stamps, stamps[0] + (seconds + 1e-9) / tick) - 1 if frame is None else frame
    late = frame is None and seconds > (stamps[-1] - stamps[0]) * tick + 1 / source.properties.claimed_fps
    if late or not FRAMES_BEFORE < wanted < len(stamps):
        return None  # near the start there is nothing to save; what lies behind the end is refused by counting
    if not source.seek((stamps[wanted - FRAMES_BEFORE] - stamps[0]) * tick):
        return None
    try:
        return _met(source.frames(), stamps, wanted)
    except SuspectedDamage:
        return None


def _met(frames: Iterator[SourceFrame], stamps: list[int], wanted: int) -> tuple[int, float, Array] | None:
    """The frame `wanted`, when all that are met are those that the stamps tell."""
    place: int | None = None
    for each in frames:
        if each.pts is None or each.concealed:
            return None
        if place is None:
            place = bisect_right(stamps, each.pts) - 1
        if not (0 <= place <= wanted and stamps[place] == each.pts):
            return None
        if place == wanted:
            return wanted, each.seconds, each.to_rgb()
        place += 1
    return None


def _stamps(video: Path) -> tuple[list[int], float]:
    """Presentation stamps of all frames, ascending, none where they do not tell the frames apart; seconds a tick."""
    with VideoReader(video, VideoLimits()) as reader:
        stamps: list[int] = []
        try:
            for packet in reader.container.demux(reader.stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None or packet.is_corrupt:
                    return [], 1.0
                stamps.append(packet.pts)
        except FFmpegError:  # the file breaks off
            return [], 1.0
        stamps.sort()
        distinct = all(one < other for one, other in pairwise(stamps))
        return (stamps if distinct else []), float(reader.time_base)


def _counted(source: VideoSource, video: Path, frame: int | None, seconds: float) -> tuple[int, float, Array]:
    """The frame, all before it decoded."""
    source.restart(source.careful)
    shown: SourceFrame | None = None
    count = 0
    for each in source.frames():
        if frame is None and shown is not None and each.seconds > seconds + 1e-9:
            return count - 1, shown.seconds, shown.to_rgb()
        shown, count = each, count + 1
        if frame is not None and count == frame + 1:
            return frame, each.seconds, each.to_rgb()
    last = 0.0 if shown is None else shown.seconds
    if frame is None and shown is not None and seconds <= last + 1 / source.properties.claimed_fps:
        return count - 1, last, shown.to_rgb()
    asked = str(frame) if frame is not None else f"{seconds:g} s"
    raise InputError(f"--at {asked}: {video} has {count} frames, counted from 0; the last one is at {last:.3f} s")
