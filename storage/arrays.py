"""The arrays of a run: `run.zarr`, a Zarr v3 group with one chunk grid in time that no two windows share.

Every chunk and state that is written is remembered with its digest until `flush`, which makes it durable and hands the
digests over for the commit record. Chunks are always written, also when they hold nothing but zeros, so that a missing
chunk is damage and never an empty mask.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from storage.durable import digest, fsync_all
from storage.errors import RunDirectoryError

Array = np.ndarray[Any, np.dtype[Any]]

# zstd level 1: the table in docs/performance.md; about 3 times smaller than raw frames at several times real time.
_CODEC = ZstdCodec(level=1)


@dataclass(frozen=True)
class ArraySpec:
    """Layout of one array: shape of a frame's entry (without time), dtype, and the value of frames not yet written."""

    frame_shape: tuple[int, ...]
    dtype: str
    fill: float = 0


def run_arrays(height: int, width: int) -> dict[str, ArraySpec]:
    """The arrays of a run with frames of this upright size (pixels), by name."""
    picture = ArraySpec((height, width, 3), "uint8")
    mask = ArraySpec((height, width), "bool")
    return {
        "times": ArraySpec((), "float64"),
        "frames": picture,
        "keypoints": ArraySpec((133, 3), "float32"),
        "contacts": ArraySpec((2,), "bool"),
        "masks/object": mask,
        "masks/person": mask,
        "visible": ArraySpec((2,), "bool"),
        "generated": picture,
        "iou": ArraySpec((), "float32", fill=float("nan")),
    }


class _DigestingStore(LocalStore):
    """A LocalStore that remembers the digest of everything written since the last `take_written`."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._written: dict[str, str] = {}

    async def set(self, key: str, value: Buffer) -> None:
        data = memoryview(value.as_buffer_like())
        self._written[key] = await asyncio.to_thread(digest, data)
        await super().set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._written[key] = digest(memoryview(value.as_buffer_like()))
        super().set_sync(key, value)

    def take_written(self) -> dict[str, str]:
        """Digests by key of what was written since the last call."""
        written, self._written = self._written, {}
        return written


class RunArrays:
    """The arrays and carried states of one run, opened for reading and writing by one process."""

    def __init__(self, path: Path, specs: Mapping[str, ArraySpec], chunk_frames: int) -> None:
        """Open the group, and create what is missing in it.

        Raises:
            RunDirectoryError: when an array is there with another layout (another version wrote it, or it is damaged).
        """
        self.path = path
        self.chunk_frames = chunk_frames
        self.specs = dict(specs)
        self._store = _DigestingStore(path)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        try:
            self._group = zarr.open_group(self._store, mode="a", zarr_format=3)
            for name, spec in self.specs.items():
                self._arrays[name] = self._open_array(name, spec)
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise RunDirectoryError(f"{path} cannot be read as Zarr v3 ({error}): start anew with --overwrite") from error

    def _open_array(self, name: str, spec: ArraySpec) -> "zarr.Array[Any]":
        chunks = (self.chunk_frames, *spec.frame_shape)
        if name not in self._group:
            return self._group.create_array(
                name,
                shape=(0, *spec.frame_shape),
                chunks=chunks,
                dtype=spec.dtype,
                compressors=[_CODEC],
                fill_value=spec.fill,
                config={"write_empty_chunks": True},
            )
        node = self._group[name]
        if not isinstance(node, zarr.Array) or node.chunks != chunks or node.dtype != np.dtype(spec.dtype):
            raise RunDirectoryError(
                f"{self.path}/{name} has another layout than {spec.dtype} in chunks of {chunks}: "
                "another version wrote it, or it is damaged; start anew with --overwrite"
            )
        return node.with_config({"write_empty_chunks": True})

    def frames(self, name: str) -> int:
        """How many frames the array holds so far."""
        return int(self._arrays[name].shape[0])

    def write(self, name: str, start: int, values: Array) -> None:
        """Write frames `[start, start + len(values))`; the array grows as needed. Durable only after `flush`."""
        array = self._arrays[name]
        stop = start + len(values)
        if stop > array.shape[0]:
            array.resize((stop, *array.shape[1:]))
        array[start:stop] = values

    def read(self, name: str, start: int, stop: int) -> Array:
        """Frames `[start, stop)`, frames first.

        Raises:
            RunDirectoryError: when a chunk of the span is missing or cannot be decoded.
        """
        array = self._arrays[name]
        if stop > array.shape[0]:
            raise RunDirectoryError(f"{self.path}/{name} ends at frame {array.shape[0]}, frames up to {stop} are needed")
        missing = [key for key in self.chunk_keys(name, start, stop) if not (self.path / key).exists()]
        if missing:
            raise RunDirectoryError(
                f"{self.path}/{missing[0]} is missing: `skate status --verify` tells what else, `skate resume` repairs it"
            )
        try:
            return np.asarray(array[start:stop])
        except (RuntimeError, ValueError) as error:
            raise RunDirectoryError(
                f"{self.path}/{name} cannot be decoded in frames {start} to {stop} ({error}): "
                "`skate resume` repairs it"
            ) from error

    def chunk_keys(self, name: str, start: int, stop: int) -> list[str]:
        """Keys of the chunks that hold frames `[start, stop)`, in order of time."""
        tail = "/0" * len(self.specs[name].frame_shape)
        first, last = start // self.chunk_frames, -(-stop // self.chunk_frames)
        return [f"{name}/c/{index}{tail}" for index in range(first, last)]

    def drop(self, name: str, start: int, stop: int) -> int:
        """Delete the chunks that lie wholly inside `[start, stop)`; returns the bytes that were freed."""
        first, last = -(-start // self.chunk_frames), stop // self.chunk_frames
        freed = 0
        for key in self.chunk_keys(name, first * self.chunk_frames, max(first, last) * self.chunk_frames):
            chunk = self.path / key
            if chunk.exists():
                freed += chunk.stat().st_size
                folder = self.path / name / "c" / key.removeprefix(f"{name}/c/").split("/")[0]
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        return freed

    def flush(self) -> dict[str, str]:
        """Make everything written since the last call durable; returns the digests of chunks and states by key."""
        written = self._store.take_written()
        paths = [self.path / key for key in written]
        fsync_all(path for path in paths if path.exists())
        return {key: value for key, value in sorted(written.items()) if not key.endswith("zarr.json")}

    # -- blocks and carried states: kept by name and window, not by frame ---------------------------------------------

    def _block_path(self, name: str, window: int) -> str:
        return f"state/{name}/{window}"

    def write_block(self, name: str, window: int, values: Array) -> None:
        """Keep an array of its own for one window, e.g. a raw generated window until it is blended."""
        chunks = (self.chunk_frames, *values.shape[1:]) if values.ndim > 1 else values.shape
        block = self._group.create_array(
            self._block_path(name, window),
            shape=values.shape,
            chunks=tuple(max(1, size) for size in chunks),
            dtype=values.dtype,
            compressors=[_CODEC],
            overwrite=True,
            config={"write_empty_chunks": True},
        )
        block[:] = values

    def read_block(self, name: str, window: int) -> Array:
        """What `write_block` kept.

        Raises:
            RunDirectoryError: when it is not there or cannot be decoded.
        """
        key = self._block_path(name, window)
        try:
            block = self._group[key]
            assert isinstance(block, zarr.Array)
            return np.asarray(block[:])
        except (KeyError, RuntimeError, ValueError, AssertionError) as error:
            raise RunDirectoryError(f"{self.path}/{key} is missing or damaged ({error!r})") from error

    def blocks(self, name: str) -> list[int]:
        """The windows for which a block of this name is kept."""
        folder = self.path / "state" / name
        return sorted(int(child.name) for child in folder.iterdir() if child.name.isdigit()) if folder.is_dir() else []

    def delete_block(self, name: str, window: int) -> None:
        """Forget a block; nothing happens when it is not there."""
        folder = self.path / self._block_path(name, window)
        if folder.is_dir():
            shutil.rmtree(folder)

    def write_state(self, stage: str, window: int, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Keep a stage's carried state after a window: a safetensors blob (no pickle) in a uint8 array."""
        blob = safetensors.numpy.save(
            {key: np.ascontiguousarray(array) for key, array in arrays.items()},
            metadata={"values": json.dumps(values, sort_keys=True)},
        )
        self.write_block(stage, window, np.frombuffer(blob, dtype=np.uint8))

    def read_state(self, stage: str, window: int) -> tuple[dict[str, Any], dict[str, Array]]:
        """`(values, arrays)` as they were given to `write_state`.

        Raises:
            RunDirectoryError: when the state is not there or damaged.
        """
        blob = self.read_block(stage, window).tobytes()
        try:
            length = int.from_bytes(blob[:8], "little")
            header = json.loads(blob[8 : 8 + length])
            values = json.loads(header["__metadata__"]["values"])
            return values, dict(safetensors.numpy.load(blob))
        except (ValueError, KeyError, safetensors.SafetensorError) as error:
            raise RunDirectoryError(f"{self.path}/state/{stage}/{window} is damaged ({error!r})") from error
