"""One pass over a video file: packets to pictures in order of presentation, with damage found and counted."""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from stages.video.colour import ColourTags, container_tags
from stages.video.limits import FORMATS, VideoLimits, check_file
from storage.closing import Closing
from storage.errors import InputError

DEFAULT_RATE = Fraction(25)
_TAGGED = re.compile(r"(\d{1,5}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)")  # Matroska's DURATION: 00:02:03.400000000
_MAX_PENDING_STAMPS = 4096  # stamps of packets that gave no picture yet; a decoder delays a few dozen


class SuspectedDamage(Exception):
    """Something is amiss: what is damaged is counted and concealed by a careful pass from the first packet on."""


@dataclass(frozen=True)
class RawFrame:
    """A picture as it comes from the decoder.

    Attributes:
        picture: the decoded picture; for a damaged or missing one the last good one.
        pts: its presentation stamp in ticks of the stream, None when the file has none.
        concealed: whether the picture stands in for a damaged or missing one.
        deinterlaced: whether the picture was interlaced (`stages/video/deinterlace.py`).
        position: byte of the file at which its packet begins, None where the container does not tell: stamps may
            start again within a file, and do not say where in it a picture lies.
    """

    picture: av.VideoFrame
    pts: int | None
    concealed: bool = False
    deinterlaced: bool = False
    position: int | None = None


class VideoReader(Closing):
    """An open video file. Use it as a context manager.

    With `careful=False` the first sign of damage raises `SuspectedDamage`. With `careful=True` damage is counted,
    concealed and bounded: right only from the first packet on. One thread decodes, the same way every time.

    Raises:
        InputError: when the file is no video that can be read (on construction).
    """

    def __init__(self, path: Path, limits: VideoLimits, careful: bool = False) -> None:
        self.path = path
        self.limits = limits
        self.careful = careful
        self.bad_frames = 0
        self.read_error: str | None = None
        check_file(path)
        self.container = _open(path, limits)
        try:
            self.stream = _video_stream(self.container, path)
            self._prepare()
        except BaseException:
            self.container.close()
            raise
        self.container_tags: ColourTags = container_tags(self.stream)  # decoding forgets them
        self._pending: list[int] = []
        self._positions: dict[int, int] = {}  # of packets that gave no picture yet, by their stamps
        self._unplaced_errors = 0
        self._unstamped = 0  # packets without a time stamp that have given no picture yet
        self._last_good: av.VideoFrame | None = None
        self._last_pts: int | None = None

    def close(self) -> None:
        """Release the file and the decoder; may be called twice."""
        self._last_good = None
        self.container.close()

    @property
    def claimed_rate(self) -> Fraction:
        """Frames a second as the header claims, 25 where it claims nothing sensible."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate is not None and Fraction(1, 10) <= rate <= 1000:
                return Fraction(rate)
        return DEFAULT_RATE

    @property
    def claimed_seconds(self) -> float | None:
        """From the first frame to the end, as the header claims; None where it claims nothing.

        Matroska and WebM have no entry of the stream's own: there its tag counts, or the file's length where nothing
        beside it may be longer. Both are counted from the file's start.
        """
        if self.stream.duration is not None:
            return float(self.stream.duration * self.time_base)
        tag = next((text for key, text in self.stream.metadata.items() if key.startswith("DURATION")), "")
        if found := _TAGGED.fullmatch(tag):
            end = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
        elif self.container.duration is not None and len(self.container.streams) == 1:
            end = self.container.duration / av.time_base
        else:
            return None
        return max(0.0, end - max(0.0, float((self.stream.start_time or 0) * self.time_base)))

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick of the stream."""
        return Fraction(self.stream.time_base or Fraction(1, 90000))

    def seek(self, pts: int) -> None:
        """Go on from the key frame at or before `pts`.

        Raises:
            SuspectedDamage: when the file cannot be sought.
        """
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except FFmpegError as error:
            raise SuspectedDamage(str(error)) from error
        self._pending.clear()
        self._positions.clear()
        self._last_good = self._last_pts = None
        self._unstamped = 0

    def frames(self) -> Iterator[RawFrame]:
        """Every picture from here on, in order of presentation.

        Raises:
            InputError: when more frames are damaged than `max_bad_frames`.
            SuspectedDamage: unless careful, at the first sign of damage.
        """
        for packet in self._packets():
            try:
                pictures = self.stream.codec_context.decode(packet)
            except av.error.EOFError:
                pictures = []  # the decoder had been flushed: the stream says its end twice
            except FFmpegError as error:
                self._count_damage(f"a packet cannot be decoded ({error.strerror})")
                self._unplaced_errors += 1
                pictures = []
            for picture in pictures:
                self._unstamped -= picture.pts is None
                yield from self._placed(picture)
        if (self._pending or self._unstamped > 0) and not self.careful:
            raise SuspectedDamage("packets at the end gave no picture")

    def _packets(self) -> "Iterator[av.Packet[VideoStream] | None]":
        """Packets of the stream, then None to flush; a read error ends the file there."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                if not self.careful:
                    raise SuspectedDamage(str(error)) from error
                self.read_error = str(error.strerror)
                yield None
                return
            self._unstamped += packet.pts is None and packet.size > 0
            if packet.pts is not None and packet.size and not packet.is_discard:
                heapq.heappush(self._pending, packet.pts)
                if len(self._pending) > _MAX_PENDING_STAMPS:
                    heapq.heappop(self._pending)
            if packet.pts is not None and packet.pos is not None:
                self._positions[packet.pts] = packet.pos
                if len(self._positions) > _MAX_PENDING_STAMPS:
                    del self._positions[next(iter(self._positions))]
            yield packet

    def _placed(self, picture: av.VideoFrame) -> Iterator[RawFrame]:
        """The picture, and before it stand-ins for packets that were damaged and should have come earlier."""
        pts = picture.pts
        position = None if pts is None else self._positions.pop(pts, None)
        if pts is not None:
            yield from self._stand_ins(pts)
            self._last_pts = pts if self._last_pts is None else max(pts, self._last_pts)
        if picture.is_corrupt:
            self._count_damage("a frame is damaged")
            yield RawFrame(self._last_good or picture, pts, concealed=True)
        else:
            self._last_good = picture
            yield RawFrame(picture, pts, position=position)

    def _stand_ins(self, pts: int) -> Iterator[RawFrame]:
        while self._pending and self._pending[0] <= pts:
            missing = heapq.heappop(self._pending)
            # Before the first picture lie leading frames of a cut; a packet may also hold a frame that is never shown.
            if missing == pts or self._last_pts is None or missing <= self._last_pts:
                continue
            if not self.careful:
                raise SuspectedDamage("a packet gave no picture")
            if self._unplaced_errors and self._last_good is not None:
                self._unplaced_errors -= 1
                yield RawFrame(self._last_good, missing, concealed=True)

    def _count_damage(self, what: str) -> None:
        if not self.careful:
            raise SuspectedDamage(what)
        self.bad_frames += 1
        if self.bad_frames > self.limits.max_bad_frames:
            raise InputError(
                f"{self.path}: {self.bad_frames} frames are damaged ({what}), the limit is "
                f"{self.limits.max_bad_frames}: fetch the video again, or allow more with --max-bad-frames"
            )

    def _prepare(self) -> None:
        codec = self.stream.codec_context
        self.limits.check_size(self.path, codec.width, codec.height)
        codec.options = {"max_pixels": str(self.limits.coded_pixels)}
        if not self.careful:
            codec.options = {**codec.options, "err_detect": "explode"}
        # One thread: several hand pictures over before damage in them is noted, so that 1 of 100 mutated files gave
        # other frames from one time to the next. Conversion, which takes as long, has a thread of its own.
        codec.thread_type, codec.thread_count = "NONE", 1


def _open(path: Path, limits: VideoLimits) -> av.container.InputContainer:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(limits.coded_pixels)}
    try:
        return av.open(str(path.absolute()), "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: cannot be read as a video ({reason}): it is damaged, cut short, or no video; "
            "fetch or export it again"
        ) from error


def _video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """The first stream of moving pictures (an attached cover is none).

    Raises:
        InputError: when there is none, or no decoder for it.
    """
    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not found:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise InputError(f"{path}: has no video stream (it holds: {kinds}): give a file with a picture track")
    if found[0].codec_context is None:
        raise InputError(f"{path}: its video codec has no decoder here: convert it (ffmpeg -i IN -c:v libx264 OUT.mp4)")
    return found[0]
