"""Clips that a nasty world would hand over; each is a real file, made by libav's own encoders and muxers."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from _clips import Clip, make, picture_rgb

FRAMES = 6
BASE = Clip(frames=FRAMES)
RAW = replace(BASE, codec="ffv1", container="matroska", b_frames=0)
Packet = Any
Make = Callable[[Path, random.Random], Path]


@dataclass(frozen=True)
class Made:
    """A maker. plain: PyAV's own pictures are what must come out, in number and colour."""

    make: Make
    suffix: str = ".mp4"
    plain: bool = False


def of(clip: Clip, suffix: str = ".mp4", plain: bool = False) -> Made:
    """What `_clips.make` makes of it."""
    return Made(lambda path, rng: make(path, clip), suffix, plain)


def packets(path: Path) -> Iterator[Packet]:
    """Of the first video stream."""
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet


def remuxed(
    path: Path, clip: Clip, container: str, change: Callable[[list[Packet]], list[Packet]], **options: str
) -> Path:
    """The clip's packets, changed, in another container."""
    whole = make(path.with_suffix(".whole"), clip)
    with av.open(str(whole)) as source, av.open(str(path), "w", format=container, options=options) as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        for packet in change([packet for packet in source.demux(read) if packet.size]):
            packet.stream = written
            target.mux(packet)
    return path


def stamped(stamp: Callable[[int, int], int], clip: Clip = BASE, container: str = "matroska") -> Made:
    """Every packet's stamps by its number and its stamp."""

    def change(found: list[Packet]) -> list[Packet]:
        for index, packet in enumerate(found):
            packet.pts = packet.dts = stamp(index, packet.pts)
        return found

    return Made(lambda path, rng: remuxed(path, replace(clip, b_frames=0), container, change), ".mkv")


def shifted(by: int, container: str = "matroska") -> Made:
    """All stamps moved, order of B-frames and all."""

    def change(found: list[Packet]) -> list[Packet]:
        for packet in found:
            packet.pts, packet.dts = packet.pts + by, packet.dts + by
        return found

    return Made(lambda path, rng: remuxed(path, BASE, container, change, avoid_negative_ts="disabled"), ".mkv")


def chosen(keep: Callable[[int], bool], clip: Clip = BASE, container: str = "matroska") -> Made:
    """Some packets alone."""
    return Made(
        lambda path, rng: remuxed(
            path, clip, container, lambda found: [one for index, one in enumerate(found) if keep(index)]
        ),
        ".mkv",
    )


def spliced(before: bytes, after: bytes, clip: Clip = BASE) -> Made:
    """Bytes in front of and behind the file."""
    return Made(lambda path, rng: written(path, before + make(path, clip).read_bytes() + after))


def cut(share: float, clip: Clip = BASE) -> Made:
    """The first part of the file's bytes alone."""

    def made(path: Path, rng: random.Random) -> Path:
        whole = make(path, clip).read_bytes()
        return written(path, whole[: int(len(whole) * share)])

    return Made(made)


def edited(old: bytes, new: Callable[[bytes], bytes], span: int, clip: Clip = BASE) -> Made:
    """The bytes behind a box's name, changed."""

    def made(path: Path, rng: random.Random) -> Path:
        whole = bytearray(make(path, clip).read_bytes())
        at = whole.find(old)
        assert at > 0, f"no {old!r} in the file"
        whole[at + 4 : at + 4 + span] = new(bytes(whole[at + 4 : at + 4 + span]))
        return written(path, bytes(whole))

    return Made(made)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def with_cover(path: Path, rng: random.Random) -> Path:
    """An attached picture as the first stream, the clip as the second."""
    whole = make(path.with_suffix(".whole"), BASE)
    cover = next(
        packets(make(path.with_suffix(".cover"), Clip(1, 32, 32, "yuvj444p", "mjpeg", "matroska", b_frames=0)))
    )
    with av.open(str(whole)) as source, av.open(str(path), "w", format="mp4") as target:
        first = target.add_stream("mjpeg", rate=1)
        assert isinstance(first, av.VideoStream)
        first.width, first.height, first.pix_fmt = 32, 32, "yuvj444p"
        first.disposition = av.stream.Disposition.attached_pic
        read = source.streams.video[0]
        second = target.add_stream_from_template(read)
        cover.stream = first
        target.mux(cover)
        for packet in source.demux(read):
            if packet.size:
                packet.stream = second
                target.mux(packet)
    return path


def coded(codec: str, container: str, frames: int = FRAMES, **options: str) -> Make:
    """25 frames/s by an encoder that knows few rates."""

    def made(path: Path, rng: random.Random) -> Path:
        with av.open(str(path), "w", format=container) as target:
            stream = target.add_stream(codec, rate=25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(frames):
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture_rgb(index, 64, 48))))
            target.mux(stream.encode(None))
        return path

    return made


def behind_itself(path: Path, rng: random.Random) -> Path:
    """A transport stream copied behind itself."""
    return written(path, 2 * coded("mpeg2video", "mpegts")(path, rng).read_bytes())


def tuned_in(path: Path, rng: random.Random) -> Path:
    """A transport stream whose first part was missed, and with it the key frame."""
    whole = coded("mpeg2video", "mpegts", 40)(path, rng).read_bytes()
    return written(path, whole[len(whole) // 3 // 188 * 188 + 50 :])


def two_videos(path: Path, rng: random.Random) -> Path:
    """Two clips in one file, the smaller first."""
    parts = [make(path.with_suffix(f".{width}"), replace(BASE, width=width)) for width in (32, 96)]
    with av.open(str(path), "w", format="matroska") as target:
        opened = [av.open(str(part)) for part in parts]
        streams = [target.add_stream_from_template(source.streams.video[0]) for source in opened]
        for source, stream in zip(opened, streams, strict=True):
            for packet in source.demux(source.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
            source.close()
    return path


def no_frames(container: str) -> Make:
    """A stream that is announced, and nothing in it."""

    def made(path: Path, rng: random.Random) -> Path:
        whole = make(path.with_suffix(".whole"), BASE)
        with av.open(str(whole)) as source, av.open(str(path), "w", format=container) as target:
            target.add_stream_from_template(source.streams.video[0])
            target.start_encoding()
        return path

    return made


def still(codec: str, pixel_format: str, container: str, width: int = 64, height: int = 48) -> Make:
    """One picture of a picture format."""
    return lambda path, rng: make(
        path, Clip(1, width, height, pixel_format, codec, container, b_frames=0, options={}, rate=Fraction(25))
    )


def png_series(path: Path, rng: random.Random) -> Path:
    """A folder of pictures; the path is the pattern that names them."""
    path.parent.mkdir(exist_ok=True)
    for index in range(FRAMES):
        make(path.parent / f"shot{index:03d}.png", Clip(1, 64, 48, "rgb24", "png", "image2pipe", b_frames=0))
    return path.parent / "shot%03d.png"


def apng_with_offsets(path: Path, rng: random.Random) -> Path:
    """An animated PNG by hand whose second picture covers a corner, over and over."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes(picture_rgb(0, 64, 48)[row].tobytes()) for row in range(48))
    corner = b"".join(b"\0" + bytes([200, 10, 10] * 8) for _ in range(8))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0))
    data += chunk(b"acTL", struct.pack(">II", 3, 0))
    data += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
    for number in (1, 3):
        data += chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 8, 8, 56, 40, 0, 100, 2, 1))
        data += chunk(b"fdAT", struct.pack(">I", number + 1) + zlib.compress(corner))
    return written(path, data + chunk(b"IEND", b""))


def rates(lowest: float, highest: float) -> list[float]:
    """Times of frames whose rates jump between these."""
    found, rng = [0.0], random.Random(3)
    for _ in range(FRAMES - 1):
        found.append(found[-1] + 1 / rng.choice([lowest, highest, 24.0, 23.976]))
    return found


def grey_bits(path: Path, rng: random.Random) -> Path:
    """A Y4M by hand, monochrome, whose header says an odd rate and an odd aspect."""
    pictures = b"".join(b"FRAME\n" + picture_rgb(index, 64, 48)[:, :, 1].tobytes() for index in range(FRAMES))
    return written(path, b"YUV4MPEG2 W64 H48 F30000:1001 Ip A0:0 Cmono\n" + pictures)


def key_less(found: list[Packet]) -> list[Packet]:
    """Nothing is said to be a key frame."""
    for packet in found:
        packet.is_keyframe = False
    return found


def doubled(found: list[Packet]) -> list[Packet]:
    """Every packet twice, with the same stamps."""
    return [packet for packet in found for _ in range(2)]


def without_middle(path: Path) -> Path:
    """The second fragment's head is gone."""
    whole = path.read_bytes()
    second = whole.find(b"moof", whole.find(b"moof") + 4)
    return written(path, whole[:second] + b"free" + whole[second + 4 :])
