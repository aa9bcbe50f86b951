"""Frames as one object: each compressed alone, one after the other, and an index at the end.

    [frame 0][frame 1] ... [frame n-1][index: offset, bytes of each, uint64][CRC-32C of the index]

That is a shard of Zarr's `sharding_indexed` codec with inner chunks of one frame, so any Zarr that knows variable grids
reads it. We write it ourselves, because zarr-python takes the whole window into memory to write a shard, and reads one
without a checksum over all; here a few frames at a time are in memory beside the window.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

Array = np.ndarray[Any, np.dtype[Any]]
ReadRange = Callable[[int, int], bytes]  # start, length -> bytes of the object

# zstd level 1: the table in docs/performance.md; about 3 times smaller than raw frames at several times real time. The
# checksum makes every reader refuse an altered frame, also those that do not ask the journal.
LEVEL = 1
_ENTRY_BYTES, _CRC_BYTES = 16, 4
_AT_ONCE = 4  # frames compressed side by side: more cost memory and, on 2 cores, no time
_WORTH_A_THREAD = 1 << 16  # bytes of a frame

_codec = Zstd(level=LEVEL, checksum=True)


class Damaged(ValueError):
    """The object is not what `encode` writes."""


def encode(frames: Array) -> Iterator[bytes]:
    """The object's bytes in parts, from `[n, ...]` frames."""
    frames = np.ascontiguousarray(frames, dtype=frames.dtype.newbyteorder("<"))
    index = np.zeros((len(frames), 2), "<u8")
    offset = 0
    for number, part in enumerate(_each(_encode_one, frames)):
        index[number] = offset, len(part)
        offset += len(part)
        yield part
    yield index.tobytes() + google_crc32c.value(index.tobytes()).to_bytes(_CRC_BYTES, "little")


def decode(read: ReadRange, size: int, count: int, start: int, out: Array) -> None:
    """Frames from `start` on, as many as `out` holds, `[n, ...]`, of the `count` in an object.

    Args:
        read: gives a range of the object. size: of the object in bytes.

    Raises:
        Damaged: when index or frames are not what was written.
    """
    begins, lengths = _index(read, size, count)
    if not len(out):
        return
    last = start + len(out) - 1
    first = int(begins[start])
    data = memoryview(read(first, int(begins[last] + lengths[last]) - first))

    def one(number: int) -> bytes:
        begin = int(begins[start + number]) - first
        try:
            # Into memory of the frame's size: what would unpack to more is refused before it is unpacked.
            _codec.decode(data[begin : begin + int(lengths[start + number])], out=out[number : number + 1])
        except (RuntimeError, ValueError) as error:
            raise Damaged(f"frame {start + number} of the object: {error}") from error
        return b""

    for _ in _each(one, out, numbers=True):
        pass


def most_bytes(count: int, frame_bytes: int) -> int:
    """No object of `count` frames of this size is larger: zstd's bound, and the index."""
    return count * (frame_bytes + (frame_bytes >> 7) + 512 + _ENTRY_BYTES) + _CRC_BYTES


def _index(read: ReadRange, size: int, count: int) -> tuple[Array, Array]:
    """Offset and length of each frame, checked: they follow one another and lie before the index."""
    index_bytes = count * _ENTRY_BYTES
    end = size - index_bytes - _CRC_BYTES
    if end < 0:
        raise Damaged(f"{size} bytes hold no index of {count} frames")
    data = read(end, index_bytes + _CRC_BYTES)
    if google_crc32c.value(data[:index_bytes]) != int.from_bytes(data[index_bytes:], "little"):
        raise Damaged("its index is damaged")
    entries = np.frombuffer(data[:index_bytes], "<u8").reshape(count, 2).astype(np.uint64)
    begins, lengths = entries[:, 0], entries[:, 1]
    stops = begins + lengths
    if count and (begins[0] or (begins[1:] != stops[:-1]).any() or int(stops[-1]) != end or (lengths > end).any()):
        raise Damaged("its index leads astray")
    return begins, lengths


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Of this process: a fork has its parent's pool and none of its threads."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="shards")


def _encode_one(frame: Array) -> bytes:
    return bytes(_codec.encode(frame))


def _each(work: Callable[[Any], bytes], frames: Array, numbers: bool = False) -> Iterator[bytes]:
    """`work` on every frame (or its number), in order; large frames a few side by side."""
    items: Any = range(len(frames)) if numbers else frames
    if frames[:1].nbytes < _WORTH_A_THREAD:
        yield from map(work, items)
        return
    begun: deque[Future[bytes]] = deque()  # while one is written, the next are compressed
    for item in items:
        if len(begun) == _AT_ONCE:
            yield begun.popleft().result()
        begun.append(_pool(os.getpid()).submit(work, item))
    while begun:
        yield begun.popleft().result()
