"""Files, bytes and speed of an hour of a run's arrays, as three layouts store them: why windows write shards.

    python -m bench.storage_layouts --size 1280x720 --windows 3 --record bench/records/storage_layouts.json

Windows of 60 new frames are written durably (every file and its folder flushed) and read back in pieces of 12 frames,
as an export reads. Kept arrays: what stays when a run is done; frames: source pictures, dropped again. Files and bytes
(as the file system counts them, by blocks) are those of one window times the windows of an hour at 30 frames a second.

    3-frame chunks     Zarr, chunks that divide window and stride: format 1; windows must start at multiples of 3
    1-frame chunks     Zarr, any start
    a shard a window   one object an array and window, any start: format 2
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from bench._common import new_record, run_main, write_record
from stages.base import Array
from stages.blend import BlendStage
from stages.decode import DecodeStage
from stages.pose import PoseStage
from stages.score import ScoreStage
from stages.track import TrackStage
from storage.arrays import RunArrays
from storage.durable import fsync_file, fsync_folder
from storage.layout import ArraySpec, Layout
from storage.local import LocalBackend
from storage.log import CommitLog
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

WINDOW_FRAMES, PIECE_FRAMES = 60, 12
WINDOWS_AN_HOUR = 30 * 3600 / WINDOW_FRAMES
DROPPED = ("frames", "generated")
Values = Mapping[str, Array]
Write = Callable[[int, Values], None]
Read = Callable[[str, int, int], Array]


def values_of(layout: Layout, size: tuple[int, int], what: str) -> dict[str, Array]:
    """One window's frames by array: the demo scene's pictures and masks, noise for keypoints, ramps for the rest."""
    shown = list(islice(iter(Scene(DemoConfig(WINDOW_FRAMES, *size))), WINDOW_FRAMES))
    if what == "frames":
        return {"frames": np.stack([frame.image for frame in shown])}
    noise = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for name, spec in layout.arrays.items():
        if name.startswith("masks/"):
            attribute = name.replace("masks/", "") + "_mask"
            made[name] = np.stack([getattr(frame, attribute) for frame in shown])
        elif name not in DROPPED:
            made[name] = noise.random((WINDOW_FRAMES, *spec.frame_shape)).astype(spec.dtype)
    return made


def chunked(root: Path, layout: Layout, chunk_frames: int) -> tuple[Write, Read]:
    """Zarr arrays with chunks of so many frames, flushed file by file."""
    group = zarr.open_group(root, mode="w", zarr_format=3)
    arrays: dict[str, Any] = {}
    for name, spec in layout.arrays.items():
        arrays[name] = group.create_array(
            name,
            shape=(0, *spec.frame_shape),
            chunks=(chunk_frames, *spec.frame_shape),
            dtype=spec.dtype,
            compressors=[ZstdCodec(level=1, checksum=True)],
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
        )

    def write(window: int, values: Values) -> None:
        start = window * WINDOW_FRAMES
        for name, frames in values.items():
            arrays[name].resize((start + len(frames), *frames.shape[1:]))
            arrays[name][start : start + len(frames)] = frames
            keys = range(start // chunk_frames, (start + len(frames)) // chunk_frames)
            for path in (root / name / f"c.{key}{'.0' * (frames.ndim - 1)}" for key in keys):
                fsync_file(path)
            fsync_file(root / name / "zarr.json")
            fsync_folder(root / name)

    return write, lambda name, start, stop: np.asarray(arrays[name][start:stop])


def sharded(root: Path, layout: Layout) -> tuple[Write, Read]:
    """The arrays of a run."""
    log = CommitLog([])
    arrays = RunArrays(LocalBackend(root), layout, log)

    def write(window: int, values: Values) -> None:
        for name, frames in values.items():
            arrays.write(name, window, frames)
        span = [window * WINDOW_FRAMES, (window + 1) * WINDOW_FRAMES]
        log.apply({"kind": "commit", "stage": "all", "window": window, "span": span, "digests": arrays.flush()})

    return write, arrays.read


WAYS: dict[str, Callable[[Path, Layout], tuple[Write, Read]]] = {
    "3-frame chunks": lambda root, layout: chunked(root, layout, 3),
    "1-frame chunks": lambda root, layout: chunked(root, layout, 1),
    "a shard a window": sharded,
}


def measure(way: str, layout: Layout, values: Values, windows: int, folder: Path) -> dict[str, Any]:
    """One layout; refuses to report one that does not give back what it was given."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        write, read = WAYS[way](Path(root), layout)
        before = _stored(Path(root))
        begun = time.perf_counter()
        for window in range(windows):
            write(window, values)
        write_seconds = time.perf_counter() - begun
        files, stored = (after - earlier for after, earlier in zip(_stored(Path(root)), before, strict=True))
        begun = time.perf_counter()
        for name, frames in values.items():
            for start in range(0, windows * WINDOW_FRAMES, PIECE_FRAMES):
                found = read(name, start, start + PIECE_FRAMES)
                offset = start % WINDOW_FRAMES
                assert np.array_equal(found, frames[offset : offset + PIECE_FRAMES]), (way, name)
        read_seconds = time.perf_counter() - begun
    return {
        "layout": way,
        "files_an_hour": round(files / windows * WINDOWS_AN_HOUR),
        "bytes_an_hour": round(stored / windows * WINDOWS_AN_HOUR),
        "write_frames_per_second": round(windows * WINDOW_FRAMES / write_seconds, 1),
        "read_frames_per_second": round(windows * WINDOW_FRAMES / read_seconds, 1),
    }


def _stored(root: Path) -> tuple[int, int]:
    """Files below a folder, and the bytes of their blocks."""
    sizes = [path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """One table as text."""
    lines = [
        [
            row["layout"],
            f"{row['files_an_hour']:,}",
            f"{row['bytes_an_hour'] / 1e9:.2f} GB",
            f"{row['write_frames_per_second']:.0f}",
            f"{row['read_frames_per_second']:.0f}",
        ]
        for row in rows
    ]
    return text_table((name, "files an hour", "an hour", "in frames/s", "out frames/s"), lines)


def parse_size_of(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT`."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    """Command line."""
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.storage_layouts", description=about)
    parser.add_argument("--size", type=parse_size_of, default=(1280, 720), help="WIDTHxHEIGHT of the frames")
    parser.add_argument("--windows", type=int, default=3, help="written and read")
    parser.add_argument("--passes", type=int, default=1, help="of each; the fastest writing and reading count")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--record", type=Path, help="write the tables there as JSON")
    options = parser.parse_args()
    width, height = options.size
    ports = [port for stage in (DecodeStage, PoseStage, TrackStage, BlendStage, ScoreStage) for port in stage.writes]
    kept = [port for port in ports if port.span != "window"]
    layout = Layout({port.name: ArraySpec(port.frame_shape(height, width), port.dtype, port.fill) for port in kept})
    tables: dict[str, list[dict[str, Any]]] = {}
    for what in ("kept arrays", "frames"):
        values = values_of(layout, options.size, what)
        one = partial(measure, layout=layout, values=values, windows=options.windows, folder=options.folder)
        runs = [[one(way) for way in WAYS] for _ in range(options.passes)]
        tables[what] = [_best(rows) for rows in zip(*runs, strict=True)]
        print(table(what, tables[what]) + "\n", flush=True)
    settings = {"size": options.size, "windows": options.windows, "passes": options.passes}
    write_record(new_record("storage_layouts", settings) | {"tables": tables}, options.record)


def _best(rows: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {key: value if isinstance(value, str) else max(row[key] for row in rows) for key, value in rows[0].items()}


if __name__ == "__main__":
    run_main(main)
