"""Pictures that a server may send: the same ones stored otherwise, others, and other numbers of them."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Pictures = tuple[bytes, ...]


def again(image: bytes, mode: str, kind: str = "PNG", **given: Any) -> bytes:
    """The same picture, otherwise stored."""
    file = io.BytesIO()
    Image.open(io.BytesIO(image)).convert(mode).save(file, kind, **given)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG's."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(image: bytes, kind: bytes, body: bytes) -> bytes:
    """One more, behind the header."""
    return image[:33] + chunk(kind, body) + image[33:]


def sixteen(image: bytes) -> bytes:
    """16 bits a channel."""
    array = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    high, wide = array.shape[:2]
    rows = b"".join(b"\0" + (array[row].astype(">u2") * 257).tobytes() for row in range(high))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sized(image: bytes, more: int) -> bytes:
    """Wider and higher by so much."""
    found = Image.open(io.BytesIO(image))
    file = io.BytesIO()
    found.resize((found.width + more, found.height + more)).save(file, "PNG")
    return file.getvalue()


def half_seen(image: bytes) -> bytes:
    """Every pixel half transparent."""
    found = Image.open(io.BytesIO(image)).convert("RGBA")
    found.putalpha(128)
    file = io.BytesIO()
    found.save(file, "PNG")
    return file.getvalue()


def animated(image: bytes) -> bytes:
    """An APNG: the picture, then a black one."""
    found = Image.open(io.BytesIO(image)).convert("RGB")
    file = io.BytesIO()
    found.save(file, "PNG", save_all=True, append_images=[Image.new("RGB", found.size)])
    return file.getvalue()


SAME: dict[str, Callable[[bytes], bytes]] = {
    "RGBA": lambda image: again(image, "RGBA"),
    "16 bits": sixteen,
    "a comment": lambda image: with_chunk(image, b"tEXt", b"prompt\0" + b"x" * 60_000),
    "more behind it": lambda image: image + bytes(500),
    "animated": animated,
    "a density": lambda image: with_chunk(image, b"pHYs", struct.pack(">IIB", 1, 7, 0)),
}
OTHER: dict[str, Callable[[bytes], bytes]] = {
    "half transparent": half_seen,
    "grey": lambda image: again(image, "L"),
    "one bit": lambda image: again(image, "1"),
    "palette": lambda image: again(image, "P"),
    "grey with alpha": lambda image: again(image, "LA"),
    "GIF": lambda image: again(image, "RGB", "GIF"),
    "JPEG": lambda image: again(image, "RGB", "JPEG"),
    "WebP": lambda image: again(image, "RGB", "WEBP"),
    "BMP": lambda image: again(image, "RGB", "BMP"),
    "TIFF": lambda image: again(image, "RGB", "TIFF"),
    "PPM": lambda image: again(image, "RGB", "PPM"),
    "PDF": lambda image: again(image, "RGB", "PDF"),
    "a gamma": lambda image: with_chunk(image, b"gAMA", struct.pack(">I", 100_000)),
    "a gamma of nothing": lambda image: with_chunk(image, b"gAMA", bytes(4)),
    "turned by EXIF": lambda image: with_chunk(
        image, b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    ),
    "a damaged profile": lambda image: with_chunk(image, b"iCCP", b"x\0\0" + zlib.compress(b"not a profile")),
    "larger by two": lambda image: sized(image, 2),
    "smaller by one": lambda image: sized(image, -1),
    "claims 60000 squared": lambda image: image[:16] + struct.pack(">II", 60_000, 60_000) + image[24:],
    "claims nothing": lambda image: image[:16] + bytes(8) + image[24:],
    "half": lambda image: image[: len(image) // 2],
    "nothing": lambda image: b"",
    "a checksum off": lambda image: image[:60] + bytes([image[60] ^ 1]) + image[61:],
    "HTML": lambda image: b"<html>502 Bad Gateway</html>",
    "50 MB": lambda image: image + bytes(50 << 20),
}
SETS: dict[str, Callable[[Pictures, random.Random], Pictures]] = {
    "one too few": lambda found, rng: found[:-1],
    "one too many": lambda found, rng: (*found, found[0]),
    "turned round": lambda found, rng: found[::-1],
    "shuffled": lambda found, rng: tuple(rng.sample(found, len(found))),
    "none": lambda found, rng: (),
    "twice": lambda found, rng: found * 2,
    "forty times": lambda found, rng: found * 40,
    "all the first": lambda found, rng: found[:1] * len(found),
    "one alone": lambda found, rng: found[:1],
    "one of another size": lambda found, rng: (*found[:-1], sized(found[-1], 16)),
    "one damaged": lambda found, rng: (*found[:2], b"\x89PNG", *found[3:]),
}
