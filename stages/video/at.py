"""Frames of a video by number or time, without decoding all that lies before them."""

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from av.error import FFmpegError

from stages.base import Array
from stages.video.limits import VideoLimits
from stages.video.reader import SuspectedDamage, VideoReader
from stages.video.source import SourceFrame, VideoSource
from storage.errors import InputError

NEIGHBOURS = 8  # pictures to each side of one that is asked for, at most, for whoever steps from frame to frame
HELD_BYTES = 192 << 20
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
        found = _found(source, video, frame, seconds) or _counted(source, video, frame, seconds)
    finally:
        source.close()
    return found


class Frames:
    """Pictures of a video in any order, those around the last one asked for kept; for stepping to and fro.

    May be asked from several threads: one decodes at a time.

    Args:
        video: the file.

    Attributes:
        count: how many frames its packets tell of; None where they do not.

    Raises:
        InputError: when the file cannot be used.
    """

    def __init__(self, video: Path) -> None:
        if not video.is_file():
            raise InputError(f"{video}: no such video file")
        self._video = video
        source = VideoSource(video, VideoLimits())
        self.properties = source.properties
        source.close()
        self._stamps = _stamps(video)
        self.count = len(self._stamps[0]) or None
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Array] = OrderedDict()

    def picture(self, frame: int) -> Array:
        """`[H, W, 3]` uint8 RGB, upright, as a run would decode it.

        Raises:
            InputError: when there is no such frame.
        """
        with self._lock:
            if frame not in self._held:
                for number, picture in self._around(frame).items():
                    self._held[number] = picture
                    self._held.move_to_end(number)
                # The one that was asked for goes last of all.
                self._held.move_to_end(frame)
                while sum(each.nbytes for each in self._held.values()) > HELD_BYTES and len(self._held) > 1:
                    self._held.popitem(last=False)
            return self._held[frame]

    def _around(self, frame: int) -> dict[int, Array]:
        source = VideoSource(self._video, VideoLimits())
        most = HELD_BYTES // (3 * self.properties.width * self.properties.height)
        beside = max(0, min(NEIGHBOURS, (most - 1) // 2))  # of large pictures fewer: all of them are kept
        try:
            stop = frame + 1 + beside if self.count is None else min(self.count, frame + 1 + beside)
            found = _sought(source, self._stamps, frame, stop, beside)
            if found is not None:
                return {number: picture for number, _, picture in found}
            number, _, picture = _counted(source, self._video, frame, 0.0)
            return {number: picture}
        finally:
            source.close()


def _found(source: VideoSource, video: Path, frame: int | None, seconds: float) -> tuple[int, float, Array] | None:
    """The frame, found by seeking; None where that proves nothing."""
    stamps, tick = _stamps(video)
    if not stamps:
        return None
    wanted = bisect_right(stamps, stamps[0] + (seconds + 1e-9) / tick) - 1 if frame is None else frame
    late = frame is None and seconds > (stamps[-1] - stamps[0]) * tick + 1 / source.properties.claimed_fps
    if late or wanted <= FRAMES_BEFORE:
        return None  # near the start there is nothing to save; what lies behind the end is refused by counting
    found = _sought(source, (stamps, tick), wanted, wanted + 1, 0)
    return found[0] if found else None


def _sought(
    source: VideoSource, told: tuple[list[int], float], wanted: int, stop: int, before: int
) -> list[tuple[int, float, Array]] | None:
    """Number, seconds and picture of the frames from `wanted` up to `stop`, and of as many as were met of the `before`
    ones before these; None where seeking does not prove which they are."""
    stamps, tick = told
    first = next(source.frames(), None)
    if first is None or not stamps or first.pts != stamps[0] or not 0 <= wanted < len(stamps):
        return None
    if not source.seek((stamps[max(0, wanted - max(before, FRAMES_BEFORE))] - stamps[0]) * tick):
        return None
    try:
        return _met(source.frames(), stamps, wanted, stop, before)
    except SuspectedDamage:
        return None


def _met(
    frames: Iterator[SourceFrame], stamps: list[int], wanted: int, stop: int, before: int
) -> list[tuple[int, float, Array]] | None:
    """As `_sought`, when all that are met are those that the stamps tell."""
    place: int | None = None
    earlier: deque[tuple[int, SourceFrame]] = deque(maxlen=before)
    found: list[tuple[int, float, Array]] = []
    for each in frames:
        if each.pts is None or each.concealed:
            return None
        if place is None:
            place = bisect_right(stamps, each.pts) - 1
        if not (0 <= place < stop and stamps[place] == each.pts and (place <= wanted or found)):
            return None
        if place < wanted:
            earlier.append((place, each))
        else:
            found.append((place, each.seconds, each.to_rgb()))
        place += 1
        if place == stop:
            return [(number, frame.seconds, frame.to_rgb()) for number, frame in earlier] + found
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
