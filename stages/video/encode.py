"""Encoding one segment: H.264 without B-frames, closed GOP, exact times, the same bytes on every run."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from stages.base import Array
from stages.video.colour import ColourTags
from stages.video.planes import FULL_RANGE
from storage.durable import fsync_file, fsync_folder
from storage.errors import EnvironmentFault, UsageError

# Ticks a second: exact for 24, 25, 30, 48, 50, 60, 100, 120, 240, for 1000/1001 of 24 to 120, and for milliseconds.
TICKS_PER_SECOND = 120_000
TIME_BASE = Fraction(1, TICKS_PER_SECOND)
BITEXACT = {"fflags": "+bitexact"}
# mbtree=0: x264's macroblock tree reads memory it never wrote (its vector code runs past narrow rows), so that the same
# frames gave other bytes in another process. Without it every size tried gives the same bytes; files are a quarter
# larger and half a decibel better at the same crf.
_X264 = "open-gop=0:aud=1:sliced-threads=0:mbtree=0"
_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class EncoderSettings:
    """How frames are coded; the same settings and frames give the same bytes on the same machine.

    Attributes:
        width: of the frames in pixels; odd ones are padded on the right.
        height: of the frames in pixels; odd ones are padded at the bottom.
        colour: tags to write, and what the conversion from RGB follows.
        fps: nominal rate for the header; times are each frame's own.
        sample_aspect_ratio: width to height of a pixel.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's preset.
        threads: of the encoder; fixed, because the bytes depend on it.
    """

    width: int
    height: int
    colour: ColourTags = field(default_factory=ColourTags)
    fps: float = 25.0
    sample_aspect_ratio: tuple[int, int] = (1, 1)
    crf: int = 16
    preset: str = "faster"
    threads: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise UsageError(f"crf {self.crf} is outside x264's 0..51")
        if not 0 < self.fps <= 1000:
            raise UsageError(f"a nominal rate of {self.fps} frames a second is outside 0..1000")

    @property
    def coded_size(self) -> tuple[int, int]:
        """`(width, height)` in pixels as coded: even."""
        return self.width + self.width % 2, self.height + self.height % 2


def ticks(times: Array) -> list[int]:
    """`[n]` float64 seconds -> whole ticks of `TIME_BASE`.

    Raises:
        ValueError: when two frames fall on one tick or the times do not rise.
    """
    found = [round(float(seconds) * TICKS_PER_SECOND) for seconds in times]
    for index, (before, after) in enumerate(pairwise(found)):
        if after <= before:
            raise ValueError(f"times do not rise from frame {index} to the next: {times[index]}, {times[index + 1]} s")
    return found


def to_picture(image: Array, settings: EncoderSettings) -> av.VideoFrame:
    """`[H, W, 3]` uint8 RGB -> a YUV 4:2:0 picture of even size, padded by repeating the last column and row.

    Chroma is averaged over 2x2 pixels, the inverse of PyAV's decoding. That decoding (swscale, no accurate rounding)
    truncates, which darkens by 1.0 to 1.5 levels, measured; one level of luma is given back here, so that what is
    read back has the mean of what was written. Black and white stay as they are.
    """
    width, height = settings.coded_size
    if image.shape[:2] != (height, width):
        image = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
    tags = settings.colour
    picture = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24").reformat(
        format="yuv420p", dst_colorspace=tags.coding_matrix, dst_color_range=tags.coding_range, interpolation=_AREA
    )
    plane = picture.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    cv2.LUT(luma, _brighter(tags.coding_range == FULL_RANGE), luma)
    picture.colorspace, picture.color_range = tags.matrix, tags.range
    picture.color_primaries, picture.color_trc = tags.primaries, tags.transfer
    return picture


@cache
def _brighter(full_range: bool) -> Array:
    """`[256]` uint8: every luma level a level higher, but for black and white and what lies outside them."""
    low, high = (0, 255) if full_range else (16, 235)
    levels = np.arange(256, dtype=np.uint8)
    levels[low + 1 : high] += 1
    return levels


def write_segment(path: Path, images: Iterable[Array], times: Array, settings: EncoderSettings) -> None:
    """Write `[H, W, 3]` uint8 RGB images to an MP4 at `path` by a temporary name, durable before it is renamed.

    The first frame's time in the segment is 0, the others keep their distance from it. The last frame lasts as long as
    the one before it, or one nominal frame when it is alone.

    Raises:
        OSError: when the disk is full or the folder cannot be written.
        EnvironmentFault: when x264 fails, for want of memory.
    """
    stamps = ticks(times)
    lengths = [after - before for before, after in pairwise(stamps)]
    lengths.append(lengths[-1] if lengths else round(TICKS_PER_SECOND / settings.fps))
    durations = {stamp - stamps[0]: length for stamp, length in zip(stamps, lengths, strict=True)}
    with written_whole(path) as partial, av.open(str(partial), "w", format="mp4", options=BITEXACT) as container:
        stream = _add_stream(container, settings)
        for image, stamp in zip(images, stamps, strict=True):
            picture = to_picture(image, settings)
            picture.pts, picture.time_base = stamp - stamps[0], TIME_BASE
            _mux(container, stream, picture, durations)
        _mux(container, stream, None, durations)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; what is written there gets its real name once it is whole and durable."""
    path = path.absolute()  # FFmpeg takes what stands before a colon for a protocol
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync_file(partial)
    partial.replace(path)
    fsync_folder(path.parent)


def _mux(
    container: av.container.OutputContainer,
    stream: VideoStream,
    picture: av.VideoFrame | None,
    durations: dict[int, int],
) -> None:
    try:
        packets = stream.encode(picture)
    except av.error.ExternalError as error:  # x264 says no more than that, and its settings are ours
        raise EnvironmentFault(
            f"x264 failed ({error.strerror}): memory has most likely run out: close other programs, or take a smaller "
            "--window; what is committed is kept, `skate resume` continues"
        ) from error
    for packet in packets:
        assert packet.pts is not None  # libx264 stamps every packet
        packet.dts = packet.pts
        packet.duration = durations[packet.pts]
        container.mux_one(packet)


def _add_stream(container: av.container.OutputContainer, settings: EncoderSettings) -> VideoStream:
    rate = Fraction(settings.fps).limit_denominator(1001)
    stream: VideoStream = container.add_stream("libx264", rate=rate)
    codec: VideoCodecContext = stream.codec_context
    codec.width, codec.height = settings.coded_size
    codec.pix_fmt = "yuv420p"
    codec.time_base = stream.time_base = TIME_BASE
    codec.framerate = rate
    tags = settings.colour
    codec.colorspace, codec.color_range = tags.matrix, tags.range
    codec.color_primaries, codec.color_trc = tags.primaries, tags.transfer
    codec.sample_aspect_ratio = Fraction(*settings.sample_aspect_ratio)
    codec.thread_count = settings.threads
    codec.options = {
        "crf": str(settings.crf),
        "preset": settings.preset,
        "bf": "0",
        "flags": "+cgop+bitexact",
        "x264-params": _X264,
    }
    return stream
