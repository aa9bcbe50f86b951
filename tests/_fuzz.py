"""Video files with damage that a seed decides: bytes flipped, pieces cut, headers altered, sizes that lie."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import av

Mutation = Callable[[bytearray, random.Random], bytearray]

CONTAINERS = ("mp4", "mkv", "flv", "ts", "h264")


def write_bases(video: Path, folder: Path) -> list[Path]:
    """The H.264 clip `video` in several containers, packets copied; the same bytes every time."""
    found = []
    for name in CONTAINERS:
        path = folder / f"base.{name}"
        options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if name == "mp4" else {})}
        with av.open(str(video)) as source, av.open(str(path), "w", options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        found.append(path)
    return found


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 3, 20, 200))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _header(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 4, 16))):
        data[rng.randrange(min(len(data), 1500))] = rng.randrange(256)
    return data


def _remove(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 7, 300, 5000))]
    return data


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice((8, 400, 4000))]
    return data[:start] + piece * rng.choice((1, 5)) + data[start:]


def _blank(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    size = min(rng.choice((16, 500, 4000)), len(data) - start)
    data[start : start + size] = bytes([rng.choice((0, 255))]) * size
    return data


def _lie(data: bytearray, rng: random.Random) -> bytearray:
    """A 32-bit field near the start becomes a large, a negative or a zero number."""
    for _ in range(rng.choice((1, 3))):
        start = rng.randrange(max(1, min(len(data), 1500) - 4))
        data[start : start + 4] = struct.pack(">I", rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65535)))
    return data


def _shuffle(data: bytearray, rng: random.Random) -> bytearray:
    cuts = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[: cuts[0]] + data[cuts[1] : cuts[2]] + data[cuts[0] : cuts[1]] + data[cuts[2] :]


MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _header, _remove, _repeat, _blank, _lie, _shuffle)


def mutate(base: bytes, seed: int) -> bytes:
    """One or two kinds of damage; the same seed gives the same bytes."""
    rng = random.Random(seed)
    data = bytearray(base)
    for _ in range(rng.choice((1, 1, 2))):
        if data:
            data = rng.choice(MUTATIONS)(data, rng)
    return bytes(data)
