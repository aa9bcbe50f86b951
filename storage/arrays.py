"""The arrays of a run: `run.zarr`, a Zarr v3 group with one chunk grid in time that no two windows share.

Every chunk and state that is written is remembered with its digest until `flush`, which makes it durable and hands the
digests over for the commit record. Chunks are always written, also when they hold nothing but zeros, so that a missing
chunk is damage and never an empty mask.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from storage.durable import digest, fsync_below, make_folder
from storage.errors import RunDirectoryError
from storage.metadata import CHUNK_KEYS, CODEC, FILE_NAME, ArraySpec, Lengths, MetadataFiles

__all__ = ["ArraySpec", "Lengths", "RunArrays", "run_arrays"]

Array = np.ndarray[Any, np.dtype[Any]]

# Zarr would work on 10 chunks at once, each with its buffers: half the fresh memory and an eighth less processor time
# with 4, measured on 2 cores with 720p frames (`bench.decode_vs_raw`, side `read`).
zarr.config.set({"async.concurrency": 4})

STATE_CHUNK_BYTES = 4 << 20  # the blend's state is whole frames: in pieces, several cores compress it
MAX_BLOCK_BYTES = 1 << 36  # a block's size is read from the disk: more than any window takes is damage or malice


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


Recorded = Callable[[str, bool], str | None]  # key, whether to read the journal anew -> the digest it has in a commit


class _DigestingStore(LocalStore):
    """A LocalStore that remembers the digest of everything written since the last `take_written`.

    Given `recorded`, it hands out a chunk only when its bytes are those that the journal names: two chunks that are
    exchanged carry checksums that are right.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False, recorded: Recorded | None = None) -> None:
        super().__init__(root, read_only=read_only)
        self._written: dict[str, str] = {}
        self._recorded = recorded

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await super().get(key, prototype, byte_range)
        await asyncio.to_thread(self._compare, key, value)
        return value

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self._compare(key, value)
        return value

    def _compare(self, key: str, value: Buffer | None) -> None:
        if self._recorded is None or value is None or key.endswith(FILE_NAME):
            return
        found = digest(memoryview(value.as_buffer_like()))
        # Not what was committed when the journal was read: damage, or a window that was made again since.
        if found != self._recorded(key, False) and found != self._recorded(key, True):
            raise RunDirectoryError(
                f"{self.root / key} is not what was committed (its digest is not the journal's): "
                "`skate status --verify` tells what else, `skate resume` repairs it"
            )

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
    """The arrays and carried states of one run, opened for reading and writing by one process, or for reading."""

    def __init__(
        self,
        path: Path,
        specs: Mapping[str, ArraySpec],
        chunk_frames: int,
        read_only: bool = False,
        lengths: Lengths | None = None,
        recorded: Recorded | None = None,
    ) -> None:
        """Open the group; unless `read_only`, create what is missing in it and mend its metadata (`mended` says what).

        Args:
            recorded: the journal's digest of a key; what is read is compared with it. None: the caller has verified it.

        Raises:
            RunDirectoryError: when it is in another Zarr format, or, for reading, when metadata is damaged.
        """
        self.path = path
        self.chunk_frames = chunk_frames
        self.specs = dict(specs)
        self.mended: list[str] = []
        files = MetadataFiles(path, specs, chunk_frames, lengths)
        if not read_only:
            make_folder(path)
            self.mended = files.mend()
        elif damaged := files.damaged(states=False):
            raise RunDirectoryError(
                f"{path}/{damaged[0]} is missing or damaged: `skate status --verify` tells what else, "
                "`skate resume` repairs it"
            )
        self._store = _DigestingStore(path, read_only=read_only, recorded=recorded)
        self._group = zarr.open_group(self._store, mode="r" if read_only else "r+", zarr_format=3)
        self._arrays = {name: self._open_array(name) for name in self.specs}

    def _open_array(self, name: str) -> "zarr.Array[Any]":
        node = self._group[name]
        assert isinstance(node, zarr.Array)  # its metadata is what it must be
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
            RunDirectoryError: when a chunk of the span is missing, cannot be decoded, or is not what was committed.
        """
        array = self._arrays[name]
        if stop > array.shape[0]:
            raise RunDirectoryError(f"{self.path}/{name} ends at frame {array.shape[0]}, {stop} frames are needed")
        missing = [key for key in self.chunk_keys(name, start, stop) if not (self.path / key).exists()]
        if missing:
            raise RunDirectoryError(
                f"{self.path}/{missing[0]} is missing: `skate status --verify` tells what else, "
                "`skate resume` repairs it"
            )
        try:
            return np.asarray(array[start:stop])
        except (RuntimeError, ValueError) as error:
            raise RunDirectoryError(
                f"{self.path}/{name} cannot be decoded in frames {start} to {stop} ({error}): `skate resume` repairs it"
            ) from error

    def chunk_keys(self, name: str, start: int, stop: int) -> list[str]:
        """Keys of the chunks that hold frames `[start, stop)`, in order of time."""
        tail = ".0" * len(self.specs[name].frame_shape)
        first, last = start // self.chunk_frames, -(-stop // self.chunk_frames)
        return [f"{name}/c.{index}{tail}" for index in range(first, last)]

    def drop_before(self, name: str, stop: int) -> int:
        """Delete the chunks that lie wholly before frame `stop`; returns the bytes that were freed."""
        freed = 0
        for entry in os.scandir(self.path / name):
            kind, _, rest = entry.name.partition(".")
            index = rest.partition(".")[0]
            if kind == "c" and index.isdecimal() and (int(index) + 1) * self.chunk_frames <= stop:
                freed += entry.stat().st_size
                Path(entry.path).unlink()
        return freed

    def flush(self) -> dict[str, str]:
        """Make everything written since the last call durable.

        Returns:
            Digests by key of chunks, blocks and states (the metadata of arrays by frame is left out: it grows).
        """
        written = self._store.take_written()
        paths = [self.path / key for key in written]
        fsync_below(self.path, (path for path in paths if path.exists()))
        return {key: value for key, value in sorted(written.items()) if _is_committed(key)}

    def adopt(self, other: "RunArrays", keys: list[str]) -> None:
        """Move these files of another store, which is flushed, to their place in this one; durable when it returns."""
        for key in keys:
            make_folder((self.path / key).parent)
            (other.path / key).replace(self.path / key)
        fsync_below(self.path, (self.path / key for key in keys))

    # -- blocks and carried states: kept by name and window, not by frame ---------------------------------------------

    def _block_path(self, name: str, window: int) -> str:
        return f"state/{name}/{window}"

    def write_block(self, name: str, window: int, values: Array) -> None:
        """Keep an array of its own for one window, e.g. a raw generated window until it is blended."""
        chunks = (self.chunk_frames, *values.shape[1:]) if values.ndim > 1 else (min(len(values), STATE_CHUNK_BYTES),)
        block = self._group.create_array(
            self._block_path(name, window),
            shape=values.shape,
            chunks=tuple(max(1, size) for size in chunks),
            dtype=values.dtype,
            compressors=[CODEC],
            chunk_key_encoding=CHUNK_KEYS,
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
            if not isinstance(block, zarr.Array) or block.nbytes > MAX_BLOCK_BYTES:
                raise ValueError(f"no array of at most {MAX_BLOCK_BYTES} bytes")
            return np.asarray(block[:])
        except (KeyError, RuntimeError, ValueError, TypeError, FileNotFoundError) as error:
            raise RunDirectoryError(f"{self.path}/{key} is missing or damaged: `skate resume` repairs it") from error

    def blocks(self, name: str) -> list[int]:
        """The windows for which a block of this name is kept."""
        folder = self.path / "state" / name
        names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def block_names(self) -> list[str]:
        """Names under which blocks and states are kept."""
        folder = self.path / "state"
        return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []

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
        except (ValueError, KeyError, RecursionError, safetensors.SafetensorError) as error:
            raise RunDirectoryError(f"{self.path}/state/{stage}/{window} is damaged ({error!r})") from error


def _is_committed(key: str) -> bool:
    """Whether a key's digest belongs into a commit record."""
    parts = key.split("/")
    if parts[0] == "state":
        return len(parts) == 4  # state/NAME/WINDOW/file: a block's metadata never changes
    return parts[-1] != FILE_NAME
