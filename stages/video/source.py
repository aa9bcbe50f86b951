"""The frames of a video, checked, timed and upright, from the start or from any frame met before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.error import FFmpegError

from stages.base import Array
from stages.video.clock import Clock
from stages.video.colour import TONE_MAPPED, ColourTags, check_colour, check_same_transfer, tags_of, take_container_hdr
from stages.video.deinterlace import deinterlaced
from stages.video.digest import frame_digest
from stages.video.limits import VideoLimits
from stages.video.orient import Orientation, orientation_of
from stages.video.reader import SuspectedDamage, VideoReader
from stages.video.tonemap import ToneMap, tone_map_of
from storage.errors import InputError

MIN_ASPECT = 0.1  # of a pixel, narrowest; the widest is its inverse


@dataclass(frozen=True)
class VideoProperties:
    """What a video is. Names with `claimed` are what its header says, which nothing depends on.

    Attributes:
        width: upright width in pixels, found on the first frame.
        height: upright height in pixels, found on the first frame.
        source: where frames are reduced to that as they are decoded, (width, height) of the file's own; else None.
        coded_width: width in pixels as coded.
        coded_height: height in pixels as coded.
        rotation_degrees: counter-clockwise turn that brings a coded frame upright: 0, 90, 180 or 270.
        pixel_format: of the first frame, e.g. `yuv420p10le`.
        codec: e.g. `h264`.
        colour_matrix, colour_range, colour_primaries, colour_transfer: tags by code point (ITU-T H.273).
        sample_aspect_ratio: width to height of an upright pixel, `(1, 1)` where untagged.
        claimed_fps: frames a second, 25 where nothing sensible is claimed.
        claimed_frames: or None.
        claimed_seconds: or None.
        tone_map: what HDR is turned to SDR from, empty for SDR; the colour tags are then those after it.
        deinterlaced: whether the first frame was interlaced.
    """

    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation_degrees: int
    pixel_format: str
    codec: str
    colour_matrix: int
    colour_range: int
    colour_primaries: int
    colour_transfer: int
    sample_aspect_ratio: tuple[int, int]
    claimed_fps: float
    claimed_frames: int | None
    claimed_seconds: float | None
    tone_map: str = ""
    deinterlaced: bool = False
    source: tuple[int, int] | None = None

    @property
    def colour(self) -> ColourTags:
        """The four colour tags together."""
        return ColourTags(self.colour_matrix, self.colour_range, self.colour_primaries, self.colour_transfer)


@dataclass(frozen=True)
class SourceFrame:
    """One frame of the file.

    Attributes:
        path: of the file.
        picture: as decoded, not yet converted or turned.
        pts: its stamp in ticks of the stream, or None.
        seconds: its time since the first frame.
        concealed: whether it is the last good frame in place of a damaged or missing one.
        orientation: how `to_rgb` turns it.
        tone_map: how `to_rgb` turns HDR to SDR; None for SDR.
        position: byte of the file at which its packet begins, or None.
    """

    path: Path
    picture: av.VideoFrame
    pts: int | None
    seconds: float
    concealed: bool
    orientation: Orientation
    tone_map: ToneMap | None = None
    position: int | None = None

    def to_rgb(self) -> Array:
        """`[H, W, 3]` uint8 RGB, upright, by PyAV's default conversion, or tone-mapped.

        With one thread: its default is to start and end a pool of threads for each frame, which takes longer.

        Raises:
            InputError: when swscale cannot convert the pixel format.
        """
        try:
            if self.tone_map is not None:
                return self.orientation.apply(self.tone_map.to_rgb(self.picture))
            return self.orientation.apply(self.picture.to_ndarray(format="rgb24", threads=1))
        except (FFmpegError, ValueError) as error:
            raise self.unfit(error) from error

    def unfit(self, error: Exception) -> InputError:
        """What to say when swscale cannot convert it."""
        return InputError(
            f"{self.path}: the frame at {self.seconds:.3f} s, pixel format {self.picture.format.name}, cannot be "
            f"converted to RGB ({error}): convert the video first (ffmpeg -i IN -pix_fmt yuv420p OUT)"
        )


@dataclass(frozen=True)
class KnownFrame:
    """A frame met before: enough to find it again and to recognise it.

    Its place in the file counts too: where stamps start again, the same stamps may carry the same pictures later.
    """

    pts: int | None
    seconds: float
    digest: str
    position: int | None = None


class VideoSource:
    """Frames of a file in order. Opened on construction; the first frame is decoded there, and checked.

    Raises:
        InputError: when the file is no video that can be used.
    """

    def __init__(self, path: Path, limits: VideoLimits) -> None:
        self.path = path
        self.limits = limits
        self._reader: VideoReader | None = None
        self._held: SourceFrame | None = None
        self._shape: tuple[int, int, Orientation] | None = None
        self._tone_map: ToneMap | None = None  # of the whole file, by its first frame
        self._deinterlaces = False  # whether an interlaced frame was met
        self._given_seconds = -1.0
        self._stamp = _stamp(path)
        self._frames = self._from_start(careful=False)
        try:
            self.properties = self._probe()
        except BaseException:
            self.close()
            raise
        self._first_pts: int | None = self._clock.first_pts

    def _probe(self) -> VideoProperties:
        """Decode the first frame, which is held until it is asked for, and tell what the video is."""
        self._held = next(self._frames, None)
        if self._held is None or self._reader is None:
            raise InputError(f"{self.path}: not one frame can be decoded: fetch or export it again")
        return replace(_properties(self._reader, self._held), deinterlaced=self._deinterlaces)

    @property
    def repaired_times(self) -> int:
        """Times met so far that the file does not give, or not in rising order."""
        return self._clock.repaired

    @property
    def careful(self) -> bool:
        """Whether damage was met, and is counted and concealed."""
        return self._reader is not None and self._reader.careful

    @property
    def read_error(self) -> str | None:
        """Why reading ended before the end of the file, if it did."""
        return self._reader.read_error if self._reader is not None else None

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._frames = iter(())
        self._held = None
        if self._reader is not None:
            self._reader.close()

    def frames(self) -> Iterator[SourceFrame]:
        """All frames from the current place on."""
        if self._held is not None:
            held, self._held = self._held, None
            yield held
        yield from self._frames

    def restart(self, careful: bool = False) -> None:
        """Go back to the first frame, decoding everything again; `careful` when damage is known to be there."""
        self._held = None
        self._given_seconds = -1.0
        self._frames = self._from_start(careful)

    def seek(self, seconds: float) -> bool:
        """Go on from the key frame at or before a time. False when the file cannot be sought.

        Times are taken for stamps, which holds for files whose times needed no repair: what is found must be verified
        by digest. `frames` may then raise `SuspectedDamage`.
        """
        if self._first_pts is None:
            return False
        self._held = None
        reader = self._open(careful=False)
        self._clock.first_pts = self._first_pts
        try:
            # An interlaced frame needs the one before it.
            reader.seek(self._clock.pts_of(seconds) - self._deinterlaces)
        except SuspectedDamage:
            return False
        self._frames = self._checked(reader, from_start=False)
        return True

    def seek_known(self, known: Sequence[KnownFrame]) -> SourceFrame | None:
        """Go to just behind the last of these frames, by seeking; gives that frame, or None when that is impossible.

        Every one of them must be met, in order, at its place in the file, and have its digest.
        """
        lacking = any(frame.pts is None or frame.position is None for frame in known)
        if not known or lacking or not self.seek(known[0].seconds):
            return None
        wanted = {frame.pts: frame for frame in known}
        met = 0
        try:
            for frame in self._frames:
                expected = wanted.get(frame.pts)
                if expected is not None:
                    if (frame.seconds, frame.position) != (expected.seconds, expected.position):
                        return None
                    if frame_digest(frame.to_rgb()) != expected.digest:
                        return None
                    met += 1
                if frame.seconds >= known[-1].seconds:
                    break
        except SuspectedDamage:
            return None
        if met < len(known):
            return None
        self._given_seconds = known[-1].seconds
        self._frames = self._mended(self._frames)
        return frame

    def _from_start(self, careful: bool) -> Iterator[SourceFrame]:
        return self._mended(self._checked(self._open(careful)))

    def _mended(self, frames: Iterator[SourceFrame]) -> Iterator[SourceFrame]:
        """The frames; when damage shows, decoded again from the start, carefully, passing over those already given."""
        try:
            for frame in frames:
                self._given_seconds = frame.seconds
                yield frame
        except SuspectedDamage:
            for frame in self._checked(self._open(careful=True)):
                if frame.seconds > self._given_seconds:
                    self._given_seconds = frame.seconds
                    yield frame

    def _open(self, careful: bool) -> VideoReader:
        if self._reader is not None:
            self._reader.close()
        self._reader = VideoReader(self.path, self.limits, careful)
        reader = self._reader
        self._clock = Clock(self.path, reader.time_base, float(1 / reader.claimed_rate), self.limits.max_gap_seconds)
        return reader

    def _checked(self, reader: VideoReader, from_start: bool = True) -> Iterator[SourceFrame]:
        for raw in deinterlaced(reader.frames(), from_start):
            self._deinterlaces = self._deinterlaces or raw.deinterlaced
            take_container_hdr(raw.picture, reader.container_tags)
            orientation = self._check(raw.picture)
            seconds = self._clock.seconds(raw.pts)
            yield SourceFrame(
                self.path, raw.picture, raw.pts, seconds, raw.concealed, orientation, self._tone_map, raw.position
            )
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Refuse a file that another program wrote to, or took away, while it was being read."""
        stamp = _stamp(self.path)
        if stamp == self._stamp or (stamp is None and self.read_error is None):
            return
        raise InputError(
            f"{self.path}: {'vanished' if stamp is None else 'changed'} while it was being read: "
            "bring the old file back, or wait until it is written, then start again"
        )

    def _check(self, picture: av.VideoFrame) -> Orientation:
        """Refuse what would be misread; gives the frame's orientation."""
        self.limits.check_size(self.path, picture.width, picture.height)
        check_colour(self.path, picture, self.limits.hdr)
        shape = (picture.width, picture.height, orientation_of(self.path, picture))
        if self._shape is None:
            self._shape, self._tone_map = shape, tone_map_of(picture)
        check_same_transfer(self.path, picture, self._tone_map)
        if shape != self._shape:
            width, height, turned = self._shape
            raise InputError(
                f"{self.path}: frames change midway from {width}x{height} turned {turned.degrees} degrees to "
                f"{shape[0]}x{shape[1]} turned {shape[2].degrees}: bring it to one size first "
                f"(ffmpeg -i IN -vf scale={width}:{height} OUT.mp4)"
            )
        return shape[2]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in ns; None when the file is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _properties(reader: VideoReader, frame: SourceFrame) -> VideoProperties:
    stream, picture = reader.stream, frame.picture
    width, height = frame.orientation.size(picture.width, picture.height)
    tags = tags_of(picture) if frame.tone_map is None else TONE_MAPPED
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    ratio = (aspect.numerator, aspect.denominator) if aspect else (1, 1)
    if not (MIN_ASPECT <= ratio[0] / ratio[1] <= 1 / MIN_ASPECT and max(ratio) < 2**16):
        ratio = (1, 1)  # damaged or nonsense
    return VideoProperties(
        width=width,
        height=height,
        coded_width=picture.width,
        coded_height=picture.height,
        rotation_degrees=frame.orientation.degrees,
        pixel_format=picture.format.name,
        codec=stream.codec_context.name,
        colour_matrix=tags.matrix,
        colour_range=tags.range,
        colour_primaries=tags.primaries,
        colour_transfer=tags.transfer,
        sample_aspect_ratio=ratio[::-1] if frame.orientation.transpose else ratio,
        claimed_fps=float(reader.claimed_rate),
        claimed_frames=stream.frames or None,
        claimed_seconds=reader.claimed_seconds,
        tone_map="" if frame.tone_map is None else str(frame.tone_map),
    )
