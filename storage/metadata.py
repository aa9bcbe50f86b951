"""The `zarr.json` files of a run: they follow from layout and journal, so a damaged one is simply written again.

Nothing of ours reads them. They make `run.zarr` a Zarr v3 group whose arrays are `[T, ...]` for every Zarr that knows
variable grids (zarr-python from 3.2 on): one shard a window, whatever frames it starts and stops at.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from storage.backend import Backend
from storage.layout import ArraySpec, Layout
from storage.shards import LEVEL
from storage.spans import Span

FILE_NAME = "zarr.json"
MAX_BYTES = 1 << 24

GROUP = {"attributes": {}, "zarr_format": 3, "node_type": "group"}


def object_key(name: str, window: int, dimensions: int) -> str:
    """The object of `NAME` that a window writes: "masks/object/c.5.0.0" (one folder an array, so few to flush)."""
    return f"{name}/c.{window}{'.0' * dimensions}"


def array_metadata(spec: ArraySpec, spans: Iterable[Span]) -> dict[str, Any]:
    """`zarr.json` of an array whose windows wrote these spans, one after the other from frame 0."""
    edges = [span.frames for span in spans]
    runs = ((size, len(list(same))) for size, same in groupby(edges))
    times: list[Any] = [size if count == 1 else [size, count] for size, count in runs]
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": LEVEL, "checksum": True}},
    ]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    shards = {
        "chunk_shape": [1, *spec.frame_shape],
        "codecs": codecs,
        "index_codecs": index,
        "index_location": "end",
    }
    return {
        "shape": [sum(edges), *spec.frame_shape],
        "data_type": spec.dtype,
        "chunk_grid": {
            "name": "rectilinear",
            "configuration": {"kind": "inline", "chunk_shapes": [times, *([side] for side in spec.frame_shape)]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _fill(spec),
        "codecs": [{"name": "sharding_indexed", "configuration": shards}],
        "attributes": {"names": list(spec.names)} if spec.names else {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _fill(spec: ArraySpec) -> Any:
    if spec.dtype == "bool":
        return bool(spec.fill)
    if spec.dtype.startswith("float"):
        return spec.fill if spec.fill == "NaN" else float(spec.fill)
    return int(spec.fill)


class MetadataFiles:
    """The `zarr.json` files of groups and arrays.

    Args:
        objects: the run's `run.zarr`. layout: what it stores. spans: by array, the spans of the windows from the first.
    """

    def __init__(self, objects: Backend, layout: Layout, spans: Mapping[str, Iterable[Span]]) -> None:
        self._objects = objects
        folders = {"/".join(name.split("/")[:depth]) for name in layout.arrays for depth in range(name.count("/") + 1)}
        self.wanted = {f"{folder}/{FILE_NAME}".lstrip("/"): GROUP for folder in sorted({"", *folders})}
        for name, spec in layout.arrays.items():
            self.wanted[f"{name}/{FILE_NAME}"] = array_metadata(spec, spans.get(name, ()))

    def damaged(self) -> list[str]:
        """Keys of the files that are missing or not what they must be."""
        return [key for key, metadata in self.wanted.items() if self._read(key) != _written(metadata)]

    def mend(self) -> list[str]:
        """Write what is missing or not what it must be; returns the keys."""
        wrong = self.damaged()
        for key in wrong:
            self._objects.write(key, [_written(self.wanted[key])])
        return wrong

    def _read(self, key: str) -> bytes | None:
        try:
            return self._objects.read(key, MAX_BYTES)
        except OSError:  # missing: the caller says so
            return None


def _written(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()
