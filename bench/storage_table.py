"""Codecs, levels and chunk lengths for the run's arrays, on real frames and on masks: which is the default, and why.

    python -m bench.storage_table --video clip.mp4 --record bench/records/storage.json

Consecutive frames at 720p and 1080p; a clip of another size is resized (cubic), which the record says. One core, no
files: each chunk is encoded from memory and decoded into memory, the fastest of several passes counts. Masks are the
demo scene's. MB/s are of raw pixels. One table varies how many frames are compressed together: one in use, so that any
frame can be read alone and a window may hold any number.

The last table is about files: an hour of the arrays that a run keeps, as three layouts store them, from a few windows
written durably and read back in pieces of 12 frames, as an export reads.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numcodecs
import numcodecs.blosc
import numpy as np

from bench._common import must_exist, new_record, run_main, write_record
from stages.base import Array
from stages.video.plain import plain_frames
from storage.errors import InputError
from storage.shards import LEVEL
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
CHUNKS = (1, 3, 9, 27)
IN_USE = 1  # frames compressed together


@dataclass(frozen=True)
class Way:
    """One way to encode a chunk: `encode` takes contiguous bytes, `decode` gives them back."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def default_name() -> str:
    """What `storage.shards` uses, in this table's words."""
    return f"zstd {LEVEL}"


def ways() -> Iterator[Way]:
    """The codecs, all of one thread."""
    numcodecs.blosc.use_threads = False
    yield Way("none", lambda data: memoryview(data).tobytes(), lambda data: memoryview(data).tobytes())
    for level in (-5, 1, 3, 9):
        yield _way(f"zstd {level}", numcodecs.Zstd(level=level, checksum=True))
    shuffles = {"": numcodecs.Blosc.NOSHUFFLE, ", byte shuffle": numcodecs.Blosc.SHUFFLE}
    shuffles[", bit shuffle"] = numcodecs.Blosc.BITSHUFFLE
    for inner, level in (("lz4", 5), ("zstd", 1), ("zstd", 3)):
        for text, shuffle in shuffles.items():
            yield _way(f"blosc {inner} {level}{text}", numcodecs.Blosc(inner, level, shuffle))
    for level in (1, 6):
        yield _way(f"gzip {level}", numcodecs.GZip(level))


def _way(name: str, codec: Any) -> Way:
    return Way(name, codec.encode, codec.decode)


def measure(way: Way, values: Array, chunk_frames: int, passes: int) -> dict[str, Any]:
    """Ratio and MB/s of one way on chunks of the values (frames first).

    The last chunk is full: the values hold a multiple of `chunk_frames` frames.
    """
    chunks = [values[first : first + chunk_frames] for first in range(0, len(values), chunk_frames)]
    flat = [np.ascontiguousarray(chunk).reshape(-1).view(np.uint8) for chunk in chunks]
    written, encode_seconds = _fastest(lambda: [way.encode(chunk) for chunk in flat], passes)
    found, decode_seconds = _fastest(lambda: [way.decode(data) for data in written], passes)
    assert all(np.array_equal(np.frombuffer(a, np.uint8), b) for a, b in zip(found, flat, strict=True)), way.name
    megabytes = values.nbytes / 1e6
    return {
        "codec": way.name,
        "chunk_frames": chunk_frames,
        "ratio": round(values.nbytes / sum(len(data) for data in written), 2),
        "encode_mb_per_second": round(megabytes / encode_seconds),
        "decode_mb_per_second": round(megabytes / decode_seconds),
    }


def _fastest(work: Callable[[], list[Any]], passes: int) -> tuple[list[Any], float]:
    """The result of the last pass, and the seconds of the fastest; memory is warm from the second one on."""
    seconds = []
    for _ in range(passes):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, min(seconds)


def real_frames(video: Path, first: int, frames: int) -> Array:
    """`[n, H, W, 3]` uint8 RGB: consecutive frames of the video.

    Raises:
        InputError: when the video is missing or ends too early.
    """
    must_exist(video)
    found = list(islice(plain_frames(video), first, first + frames))
    if len(found) < frames:
        raise InputError(f"{video}: ends at frame {first + len(found)}, {first + frames} are needed: lower --first")
    return np.stack(found)


def demo_frames(frames: int, size: tuple[int, int]) -> Array:
    """`[n, H, W, 3]` uint8 RGB of the demo scene."""
    return np.stack([shown.image for shown in islice(iter(Scene(DemoConfig(frames, *size))), frames)])


def demo_masks(frames: int, size: tuple[int, int]) -> Array:
    """`[n, H, W]` bool: the board."""
    return np.stack([shown.object_mask for shown in islice(iter(Scene(DemoConfig(frames, *size))), frames)])


def resized(frames: Array, size: tuple[int, int]) -> Array:
    """The frames at `(width, height)`, cubic."""
    if frames.shape[1:3] == size[::-1]:
        return frames
    return np.stack([np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)) for frame in frames])


def tables(options: argparse.Namespace) -> dict[str, Any]:
    """Every table: `tables` by name, and `sources`, saying what was resized."""
    found: dict[str, list[dict[str, Any]]] = {}
    sources: dict[str, str] = {}
    shot = real_frames(options.video, options.first, options.frames) if options.video else None
    for label, size in options.sizes.items():
        frames = demo_frames(options.frames, size) if shot is None else resized(shot, size)
        made = "the demo scene" if options.video is None else options.video.name
        if shot is not None and frames is not shot:
            made += f", resized from {shot.shape[2]}x{shot.shape[1]} (cubic)"
        sources[f"frames {label}"], sources[f"masks {label}"] = made, "the demo scene's board"
        masks = demo_masks(options.frames, size)
        for name, values in ((f"frames {label}", frames), (f"masks {label}", masks)):
            found[name] = [measure(way, values, IN_USE, options.passes) for way in ways()]
            print(table(name, found[name]) + "\n", flush=True)
        default = next(way for way in ways() if way.name == default_name())
        name = f"chunks of frames {label}"
        found[name] = [chunk_row(default, frames, length, options.passes) for length in CHUNKS]
        print(table(name, found[name]) + "\n", flush=True)
    return {"default": default_name(), "tables": found, "sources": sources}


def chunk_row(way: Way, frames: Array, chunk_frames: int, passes: int) -> dict[str, Any]:
    """One chunk length."""
    row = measure(way, frames, chunk_frames, passes)
    return row | {"chunk_bytes": int(frames[:chunk_frames].nbytes)}


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """One table as text; the default is marked."""
    lines = []
    for row in rows:
        mark = "default" if (row["codec"], row["chunk_frames"]) == (default_name(), IN_USE) else ""
        rates = (row["encode_mb_per_second"], row["decode_mb_per_second"])
        cells = [row["codec"], str(row["chunk_frames"]), f"{row['ratio']:.2f}", *map(str, rates)]
        lines.append([*cells, mark])
    return text_table((name, "frames a chunk", "ratio", "in MB/s", "out MB/s", ""), lines)


def parse_size_of(text: str) -> tuple[str, tuple[int, int]]:
    """`720p`, `1080p` or `WIDTHxHEIGHT`, with its name."""
    if text in SIZES:
        return text, SIZES[text]
    width, _, height = text.partition("x")
    return text, (int(width), int(height))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage_table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--video", type=Path, help="real frames; default: the demo scene")
    parser.add_argument("--first", type=int, default=0, help="frame of the video to begin with")
    parser.add_argument("--frames", type=int, default=27, help="a multiple of 27: the longest chunk measured")
    parser.add_argument("--sizes", type=parse_size_of, nargs="+", default=list(SIZES.items()), help="720p 1080p or WxH")
    parser.add_argument("--passes", type=int, default=3, help="the fastest counts")
    parser.add_argument("--record", type=Path, help="write the tables there as JSON")
    options = parser.parse_args()
    if options.frames < max(CHUNKS) or options.frames % max(CHUNKS):
        parser.error(f"--frames {options.frames} is no multiple of {max(CHUNKS)}")
    options.sizes = dict(options.sizes)
    found = tables(options)
    settings = {name: getattr(options, name) for name in ("first", "frames", "sizes", "passes")}
    settings["video"] = options.video.name if options.video else "demo"
    record = new_record("storage_table", settings) | {"numcodecs": numcodecs.__version__} | found
    write_record(record, options.record)


if __name__ == "__main__":
    run_main(main)
