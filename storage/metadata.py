"""The `zarr.json` files of a run.

All of them follow from the frame size, the chunk length and the journal: a damaged one is recognised and written again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from storage.durable import make_folder, write_atomic
from storage.errors import RunDirectoryError

# zstd level 1: the table in docs/performance.md; about 3 times smaller than raw frames at several times real time. The
# checksum makes every reader refuse an altered chunk, also those that do not ask the journal.
CODEC = ZstdCodec(level=1, checksum=True)
# `name/c.7.0.0` instead of `name/c/7/0/0`: one folder an array, so few folders to flush.
CHUNK_KEYS: Any = {"name": "default", "separator": "."}
FILE_NAME = "zarr.json"

_GROUP = {"attributes": {}, "zarr_format": 3, "node_type": "group"}


@dataclass(frozen=True)
class ArraySpec:
    """Layout of one array: shape of a frame's entry (without time), dtype, and the value of frames not yet written."""

    frame_shape: tuple[int, ...]
    dtype: str
    fill: float = 0


@dataclass(frozen=True)
class Lengths:
    """How long arrays are, as far as the journal tells.

    Attributes:
        frames: committed frames by array; the others hold none.
        most: no array can be longer, a commit under way included; None: the run is finished, lengths are exact.
        blocks: names of states and blocks; their groups are there also when every block in them is deleted.
    """

    frames: Mapping[str, int]
    most: int | None
    blocks: frozenset[str] = frozenset()


def expected_metadata(spec: ArraySpec, chunk_frames: int, frames: int) -> dict[str, Any]:
    """What this program writes as an array's `zarr.json`."""
    array = zarr.create_array(
        MemoryStore(),
        shape=(frames, *spec.frame_shape),
        chunks=(chunk_frames, *spec.frame_shape),
        dtype=spec.dtype,
        compressors=[CODEC],
        fill_value=spec.fill,
        chunk_key_encoding=CHUNK_KEYS,
        zarr_format=3,
    )
    metadata: dict[str, Any] = json.loads(
        array.metadata.to_buffer_dict(default_buffer_prototype())[FILE_NAME].to_bytes()
    )
    return metadata


class MetadataFiles:
    """The `zarr.json` files below `root` that are not part of a commit: the groups' and those of arrays by frame."""

    def __init__(
        self, root: Path, specs: Mapping[str, ArraySpec], chunk_frames: int, lengths: Lengths | None = None
    ) -> None:
        """`lengths` None: nothing is known of them, an array keeps the length it has."""
        self.root = root
        self._arrays = {name: expected_metadata(spec, chunk_frames, 0) for name, spec in specs.items()}
        self._lengths = lengths

    def damaged(self, states: bool = True) -> list[str]:
        """Paths relative to `root` of the files that are missing or not what they must be; `states` false: only those
        that reading arrays needs (a process at work adds the others as it goes)."""
        found = [name for name, metadata in self._wanted() if metadata is not None]
        return found if states else [name for name in found if not name.startswith("state/")]

    def mend(self) -> list[str]:
        """Write what is missing or damaged, and cut arrays back to what is committed; returns what was damaged.

        Raises:
            RunDirectoryError: when another Zarr format lies there.
        """
        self._refuse_other_formats()
        mended = []
        for name, metadata in self._wanted():
            if metadata is not None:
                mended.append(name)
                self._write(name, metadata)
        if self._lengths is not None:
            for name, metadata in self._arrays.items():
                exact = _of_length(metadata, self._lengths.frames.get(name, 0))
                if self._read(f"{name}/{FILE_NAME}") != exact:
                    self._write(f"{name}/{FILE_NAME}", exact)
        return mended

    def _wanted(self) -> Iterable[tuple[str, dict[str, Any] | None]]:
        """Every file, with what it must hold, or None where it is sound."""
        for folder in self._groups():
            name = f"{folder}/{FILE_NAME}" if folder else FILE_NAME
            yield name, None if self._read(name) == _GROUP else _GROUP
        for array, metadata in self._arrays.items():
            name = f"{array}/{FILE_NAME}"
            found = self._read(name)
            length = _length(found)
            sound = found == _of_length(metadata, length) and self._possible(array, length)
            wanted = self._lengths.frames.get(array, 0) if self._lengths else 0
            yield name, None if sound else _of_length(metadata, wanted)

    def _possible(self, array: str, length: int) -> bool:
        if self._lengths is None:
            return True
        least = self._lengths.frames.get(array, 0)
        return length == least if self._lengths.most is None else least <= length <= max(least, self._lengths.most)

    def _groups(self) -> list[str]:
        groups = {"", *(name.rpartition("/")[0] for name in self._arrays)}
        if self._lengths is not None and self._lengths.blocks:
            groups |= {"state", *(f"state/{name}" for name in self._lengths.blocks)}
        state = self.root / "state"
        if state.is_dir():
            groups |= {"state", *(f"state/{child.name}" for child in state.iterdir() if child.is_dir())}
        return sorted(groups)

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.root / name).read_bytes())
        except (OSError, ValueError, RecursionError):  # missing or damaged: the caller says so
            return None

    def _write(self, name: str, metadata: Mapping[str, Any]) -> None:
        path = self.root / name
        make_folder(path.parent)
        write_atomic(path, json.dumps(metadata, indent=2).encode())

    def _refuse_other_formats(self) -> None:
        found = self._read(FILE_NAME)
        version = found.get("zarr_format") if isinstance(found, dict) else None
        if version is None and any((self.root / name).exists() for name in (".zgroup", ".zattrs", ".zmetadata")):
            version = 2
        if version not in (None, 3):
            raise RunDirectoryError(
                f"{self.root} is in Zarr format {version}, this program reads format 3: use the version that made it, "
                "or start anew with --overwrite"
            )


def _length(metadata: Any) -> int:
    shape = metadata.get("shape") if isinstance(metadata, dict) else None
    first = shape[0] if isinstance(shape, list) and shape else None
    return first if isinstance(first, int) and not isinstance(first, bool) and first >= 0 else 0


def _of_length(metadata: Mapping[str, Any], frames: int) -> dict[str, Any]:
    return {**metadata, "shape": [frames, *metadata["shape"][1:]]}
