"""Small videos made with PyAV, each with one trait that decoding must get right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from stages.base import Array

WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True)
class Clip:
    """What a test video is made of.

    Attributes:
        frames: how many.
        width, height: coded size in pixels.
        pixel_format, codec, container: as libav names them.
        rate: nominal frames a second.
        times: seconds of each frame; None for the constant rate.
        start_seconds: stamp of the first frame.
        rotation: counter-clockwise degrees in the display matrix.
        mirror: whether the display matrix mirrors left and right too.
        tags: matrix, range, primaries, transfer (ITU-T H.273; range 1 limited, 2 full).
        key_every: distance of key frames.
        b_frames: how many at most between two others.
        aspect: of a coded pixel.
        options: further ones of the encoder.
    """

    frames: int = 30
    width: int = WIDTH
    height: int = HEIGHT
    pixel_format: str = "yuv420p"
    codec: str = "libx264"
    container: str = "mp4"
    rate: Fraction = Fraction(24)
    times: Sequence[float] | None = None
    start_seconds: float = 0.0
    rotation: int = 0
    mirror: bool = False
    tags: tuple[int, int, int, int] = (2, 0, 2, 2)
    key_every: int = 12
    b_frames: int = 2
    aspect: tuple[int, int] = (1, 1)
    options: dict[str, str] = field(default_factory=dict)


DEFAULT = Clip()


def picture_rgb(index: int, width: int = WIDTH, height: int = HEIGHT) -> Array:
    """`[height, width, 3]` uint8 RGB, every index another one: smooth, moving, coloured."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = 0.13 * index
    red = 128 + 70 * np.sin(x / 17 + phase) - y / height * 40
    green = 128 + 60 * np.sin(y / 13 - phase) - x / width * 40
    blue = 110 + 50 * np.sin((x + y) / 23 + 2 * phase)
    return np.stack([red, green, blue], axis=-1).clip(0, 255).astype(np.uint8)


def make(path: Path, clip: Clip = DEFAULT, image: Callable[[int, int, int], Array] = picture_rgb) -> Path:
    """Write the video and give its path."""
    with av.open(str(path), "w", format=clip.container, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(clip.codec, rate=clip.rate)
        assert isinstance(stream, av.VideoStream)
        codec = stream.codec_context
        codec.width, codec.height, codec.pix_fmt = clip.width, clip.height, clip.pixel_format
        codec.time_base = stream.time_base = Fraction(1, 24000)
        codec.gop_size, codec.max_b_frames, codec.thread_count = clip.key_every, clip.b_frames, 1
        codec.sample_aspect_ratio = Fraction(*clip.aspect)
        codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc = clip.tags
        x264 = {"crf": "12", "preset": "veryfast", "x264-params": "scenecut=0:mbtree=0"}
        codec.options = (x264 if clip.codec == "libx264" else {}) | clip.options
        if clip.rotation or clip.mirror:
            stream.set_display_rotation(clip.rotation, hflip=clip.mirror)
        for index in range(clip.frames):
            picture = _picture(image(index, clip.width, clip.height), clip)
            seconds = index / float(clip.rate) if clip.times is None else clip.times[index]
            picture.pts, picture.time_base = round((seconds + clip.start_seconds) * 24000), Fraction(1, 24000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _picture(image: Array, clip: Clip) -> av.VideoFrame:
    matrix, value_range, primaries, transfer = clip.tags
    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
    if clip.pixel_format not in ("rgb24", "rgb8", "bgr8"):
        picture = picture.reformat(
            format=clip.pixel_format,
            dst_colorspace=6 if matrix in (0, 2) else matrix,
            dst_color_range=value_range or 1,
            interpolation="AREA",
        )
    picture.colorspace, picture.color_range = matrix, value_range
    picture.color_primaries, picture.color_trc = primaries, transfer
    return picture


def make_audio_only(path: Path) -> Path:
    """A second of silence in an MP4 without a picture track."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for index in range(16):
            frame.pts = index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_changing_size(path: Path, frames: int = 12) -> Path:
    """A raw H.264 stream whose second half has another size."""
    halves = [
        make(path.with_suffix(f".{width}.h264"), Clip(frames // 2, width=width, container="h264"))
        for width in (WIDTH, WIDTH + 16)
    ]
    path.write_bytes(b"".join(half.read_bytes() for half in halves))
    return path


def make_truncated(path: Path, kept: float, clip: Clip = DEFAULT) -> Path:
    """A Matroska file of which only the first `kept` (0..1) is there."""
    whole = make(path, replace(clip, container="matroska")).read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    return path


def make_damaged(path: Path, packets: Sequence[int], clip: Clip = DEFAULT) -> Path:
    """A video whose packets of these numbers (in coded order) hold zeros where the picture was."""
    whole = make(path.with_suffix(".whole"), clip)
    with av.open(str(whole)) as source, av.open(str(path), "w", format=clip.container) as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        for number, packet in enumerate(packet for packet in source.demux(read) if packet.size):
            copy: av.Packet[Any] = packet
            if number in packets:
                copy = av.Packet(bytes(packet)[:8] + bytes(packet.size - 8))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.duration = packet.is_keyframe, packet.duration
            copy.stream = written
            target.mux(copy)
    return path


def mutate(data: bytes, seed: int) -> bytes:
    """Hostile bytes: some flipped anywhere or in the header, a piece cut out, the end cut off, by seed."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    values = bytearray(data)
    if kind < 2:
        reach = len(values) if kind == 0 else min(len(values), 1200)
        for where in rng.integers(0, reach, int(rng.integers(1, 60))):
            values[where] = int(rng.integers(0, 256))
    elif kind == 2:
        start = int(rng.integers(0, len(values)))
        del values[start : start + int(rng.integers(1, 2000))]
    else:
        del values[int(rng.integers(len(values) // 20, len(values))) :]
    return bytes(values)


def raw_frames(path: Path) -> tuple[Array, Array]:
    """What PyAV decodes by default: `[n, H, W, 3]` uint8 RGB (not turned) and `[n]` float64 seconds as stamped."""
    with av.open(str(path)) as container:
        found = [(picture.to_ndarray(format="rgb24"), float(picture.time)) for picture in container.decode(video=0)]
    return np.stack([image for image, _ in found]), np.array([seconds for _, seconds in found])
