"""The arrays and carried states of a run, as objects: one an array and window, whatever frames the window has.

    NAME/c.K.0.0      frames of an array that window K wrote: a shard (`storage/shards.py`), one frame a chunk
    blocks/NAME/K     an array that is kept by window, the same way
    state/STAGE/K     a stage's carried state after window K

Which frames window K wrote stands in its commit record, so windows may start and stop anywhere. Everything that is
written is remembered with its digest until `flush`, which makes it durable and hands the digests over for the commit
record. Frames are always written, also when they are all zeros: a missing object is damage, never an empty mask.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from storage import shards
from storage.backend import Backend
from storage.errors import RunDirectoryError
from storage.layout import ArraySpec, Layout
from storage.log import CommitLog
from storage.metadata import object_key
from storage.records import window_of

Array = np.ndarray[Any, np.dtype[Any]]
Recorded = Callable[[str, bool], str | None]  # key, whether to read the journal anew -> the digest it has in a commit

MAX_BLOCK_FRAMES = 1 << 16  # a block tells itself how many it holds
_STATE = ArraySpec((1 << 18,), "uint8")  # a state in pieces: several cores compress it, none is allocated unseen
_COUNT_BYTES = 8


class RunArrays:
    """The arrays and carried states of one run, opened for reading and writing by one process, or for reading."""

    def __init__(self, objects: Backend, layout: Layout, log: CommitLog, recorded: Recorded | None = None) -> None:
        """
        Args:
            objects: where they lie. layout: what there is. log: which window wrote which frames.
            recorded: the journal's digest of a key: what is read is compared with it. None: the caller has verified it.
        """
        self.objects = objects
        self.layout = layout
        self._log = log
        self._recorded = recorded
        self._compared: dict[str, str] = {}  # by array, the object that was compared last
        self._written: dict[str, str] = {}

    def frames(self, name: str) -> int:
        """How many frames of the array are committed, from the first."""
        return self._log.frames(name)

    def write(self, name: str, window: int, values: Array) -> None:
        """Write the frames of one window, `[n, ...]`. Durable only after `flush`, readable once they are committed."""
        spec = self.layout.arrays[name]
        self._put(object_key(name, window, len(spec.frame_shape)), spec, values)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Frames `[start, stop)`, frames first.

        Raises:
            RunDirectoryError: when frames are not committed or dropped, or what holds them is missing, damaged or not
                what was committed.
        """
        spec = self.layout.arrays[name]
        out = np.empty((stop - start, *spec.frame_shape), spec.dtype)
        reached = start
        for window, span in self._log.covering(name, start, stop):
            if span.start > reached:
                break
            upto = min(stop, span.stop)
            key = object_key(name, window, len(spec.frame_shape))
            if span.stop <= self._log.dropped.get(name, 0) and self.objects.size(key) is None:
                raise RunDirectoryError(
                    f"{self.objects.where(name)}: frames {span.start} to {span.stop - 1} were let go of once no stage "
                    "needed them any more: a run with --keep all keeps them, with --keep frames those of the source"
                )
            inside = slice(reached - span.start, upto - span.start)
            self._get(name, key, spec, span.frames, inside, out[reached - start : upto - start])
            reached = upto
        if reached < stop:
            raise RunDirectoryError(f"{self.objects.where(name)} ends at frame {reached}, {stop} frames are needed")
        return out

    def drop_before(self, name: str, stop: int) -> None:
        """Delete the objects whose frames all lie before frame `stop`."""
        spans = self._log.spans(name)
        for key in self.objects.keys(name):
            window = window_of(key)
            if window in spans and spans[window].stop <= stop:
                self.objects.delete(key)

    def flush(self) -> dict[str, str]:
        """Make everything written since the last call durable; returns the digests by key."""
        self.objects.flush()
        written, self._written = self._written, {}
        return dict(sorted(written.items()))

    # -- blocks and carried states: kept by name and window, not by frame ---------------------------------------------

    def write_block(self, name: str, window: int, values: Array) -> None:
        """Keep an array of its own for one window, `[n, ...]`, e.g. a raw generated window until it is blended."""
        self._put(block_key(name, window), self.layout.blocks[name], values, counted=True)

    def read_block(self, name: str, window: int) -> Array:
        """What `write_block` kept.

        Raises:
            RunDirectoryError: when it is not there or cannot be decoded.
        """
        return self._whole(block_key(name, window), self.layout.blocks[name])

    def kept(self, name: str) -> list[int]:
        """The windows whose state (of a stage) or block of this name is kept."""
        keys = {*self.objects.keys(f"state/{name}"), *self.objects.keys(f"blocks/{name}")}
        return sorted(int(last) for key in keys if (last := key.rpartition("/")[2]).isdecimal())

    def write_state(self, stage: str, window: int, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Keep a stage's carried state after a window: a safetensors blob (no pickle), compressed."""
        blob = safetensors.numpy.save(
            {key: np.ascontiguousarray(array) for key, array in arrays.items()},
            metadata={"values": json.dumps(values, sort_keys=True)},
        )
        piece = _STATE.frame_shape[0]
        padded = np.zeros((-(-(len(blob) + _COUNT_BYTES) // piece), piece), np.uint8)
        flat = padded.reshape(-1)
        flat[:_COUNT_BYTES] = np.frombuffer(len(blob).to_bytes(_COUNT_BYTES, "little"), np.uint8)
        flat[_COUNT_BYTES : _COUNT_BYTES + len(blob)] = np.frombuffer(blob, np.uint8)
        self._put(state_key(stage, window), _STATE, padded, counted=True)

    def read_state(self, stage: str, window: int) -> tuple[dict[str, Any], dict[str, Array]]:
        """`(values, arrays)` as they were given to `write_state`.

        Raises:
            RunDirectoryError: when the state is not there or damaged.
        """
        key = state_key(stage, window)
        stored = self._whole(key, _STATE).tobytes()
        blob = stored[_COUNT_BYTES : _COUNT_BYTES + int.from_bytes(stored[:_COUNT_BYTES], "little")]
        try:
            length = int.from_bytes(blob[:8], "little")
            header = json.loads(blob[8 : 8 + length])
            values = json.loads(header["__metadata__"]["values"])
            return values, dict(safetensors.numpy.load(blob))
        except (ValueError, KeyError, RecursionError, safetensors.SafetensorError) as error:
            raise RunDirectoryError(f"{self.objects.where(key)} is damaged ({error!r})") from error

    # -- objects ------------------------------------------------------------------------------------------------------

    def _put(self, key: str, spec: ArraySpec, values: Array, counted: bool = False) -> None:
        if values.shape[1:] != spec.frame_shape or values.dtype != spec.dtype:
            raise ValueError(f"{key}: {values.shape[1:]} {values.dtype} is not {spec.frame_shape} {spec.dtype}")
        parts = shards.encode(values)
        self._written[key] = self.objects.write(key, _counted(parts, len(values)) if counted else parts)

    def _whole(self, key: str, spec: ArraySpec) -> Array:
        """An object that tells itself how many frames it holds."""
        size = self.objects.size(key)
        if size is None or size < _COUNT_BYTES:
            raise self._missing(key)
        count = int.from_bytes(self.objects.read_range(key, size - _COUNT_BYTES, _COUNT_BYTES), "little")
        if count > MAX_BLOCK_FRAMES:
            raise RunDirectoryError(f"{self.objects.where(key)} claims {count} frames: `skate resume` repairs it")
        self._check_size(key, size - _COUNT_BYTES, count, spec)
        out = np.empty((count, *spec.frame_shape), spec.dtype)
        self._decode(key, size - _COUNT_BYTES, count, 0, out)
        return out

    def _get(self, name: str, key: str, spec: ArraySpec, count: int, inside: slice, out: Array) -> None:
        size = self.objects.size(key)
        if size is None:
            raise self._missing(key)
        self._check_size(key, size, count, spec)
        self._compare(name, key)
        self._decode(key, size, count, inside.start, out)

    def _decode(self, key: str, size: int, count: int, start: int, out: Array) -> None:
        try:
            shards.decode(partial(self.objects.read_range, key), size, count, start, out)
        except shards.Damaged as error:
            raise RunDirectoryError(
                f"{self.objects.where(key)} cannot be decoded ({error}): `skate resume` repairs it"
            ) from error

    def _check_size(self, key: str, size: int, count: int, spec: ArraySpec) -> None:
        if size > shards.most_bytes(count, spec.frame_bytes):
            raise RunDirectoryError(
                f"{self.objects.where(key)} has {size} bytes, {count} frames take at most "
                f"{shards.most_bytes(count, spec.frame_bytes)}: `skate resume` repairs it"
            )

    def _compare(self, name: str, key: str) -> None:
        """What is read must be what the journal names: exchanged objects carry checksums that are right."""
        if self._recorded is None or self._compared.get(name) == key:
            return
        found = self.objects.digest(key)
        # Not what was committed when the journal was read: damage, or a window that was made again since.
        if found != self._recorded(key, False) and found != self._recorded(key, True):
            raise RunDirectoryError(
                f"{self.objects.where(key)} is not what was committed (its digest is not the journal's): "
                "`skate status --verify` tells what else, `skate resume` repairs it"
            )
        self._compared[name] = key

    def _missing(self, key: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"{self.objects.where(key)} is missing: `skate status --verify` tells what else, `skate resume` repairs it"
        )


def block_key(name: str, window: int) -> str:
    """Where an array that is kept by window lies."""
    return f"blocks/{name}/{window}"


def state_key(stage: str, window: int) -> str:
    """Where a stage's state after a window lies."""
    return f"state/{stage}/{window}"


def _counted(parts: Iterator[bytes], count: int) -> Iterator[bytes]:
    yield from parts
    yield count.to_bytes(_COUNT_BYTES, "little")
