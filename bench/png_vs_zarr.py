"""Handing frames and masks from stage to stage: a folder of PNGs, the usual way, against the run's Zarr arrays.

    python -m bench.png_vs_zarr --video clip.mp4 --frames 60 --repeats 3 --record handover.json

PNGs are written with `cv2.imwrite` at its default compression and read back with `cv2.imread`, a file a frame, not
flushed to the disk. The arrays are written, flushed (durable) and read through `storage.arrays`. Pictures are those of
the video; masks are the demo scene's board and person at the same size. A process each, in turns; bytes are on disk.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from bench._common import (
    Side,
    fastest,
    new_record,
    peak_rss_bytes,
    ratio,
    ratio_table,
    run_child,
    run_main,
    take_turns,
    timed,
    write_record,
)
from bench.clips import prepare_clip
from stages.base import Array
from stages.video.plain import plain_frames
from storage.arrays import RunArrays
from storage.backend import open_store
from storage.layout import ArraySpec, Layout
from storage.log import CommitLog
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

WHATS = ("frames", "masks")
SIDES = tuple(f"{way} {what}" for what in WHATS for way in ("png", "zarr"))


def load(what: str, video: Path, frames: int) -> Array:
    """`[n, H, W, 3]` uint8 RGB of the video, or `[n, H, W]` bool: the scene's board in even, its person in odd rows."""
    if what == "frames":
        return np.stack(list(islice(plain_frames(video), frames)))
    height, width = next(iter(plain_frames(video))).shape[:2]
    shown = islice(iter(Scene(DemoConfig(frames, width, height))), -(-frames // 2))
    return np.stack([mask for frame in shown for mask in (frame.object_mask, frame.person_mask)])[:frames]


def png_side(values: Array, folder: Path) -> tuple[Callable[[], None], Callable[[], Array]]:
    """Writing and reading a folder of PNGs; pictures lie in memory as OpenCV wants them, BGR, before the clock runs."""
    flag = cv2.IMREAD_COLOR if values.ndim == 4 else cv2.IMREAD_GRAYSCALE
    pictures = np.ascontiguousarray(values[..., ::-1]) if values.ndim == 4 else values.astype(np.uint8) * 255

    def write() -> None:
        for index, picture in enumerate(pictures):
            cv2.imwrite(str(folder / f"{index:06d}.png"), picture)

    def read() -> Array:
        found = np.stack([cast(Array, cv2.imread(str(path), flag)) for path in sorted(folder.iterdir())])
        return found[..., ::-1] if values.ndim == 4 else found > 0

    return write, read


def zarr_side(values: Array, folder: Path) -> tuple[Callable[[], None], Callable[[], Array]]:
    """Writing, durable, and reading an array of a run."""
    name = "frames" if values.ndim == 4 else "masks/object"
    layout = Layout({name: ArraySpec(values.shape[1:], str(values.dtype))})
    log = CommitLog([])
    arrays = RunArrays(open_store(folder), layout, log)

    def write() -> None:
        arrays.write(name, 0, values)
        digests, span = arrays.flush(), [0, len(values)]
        log.apply({"kind": "commit", "stage": "decode", "window": 0, "span": span, "digests": digests})

    return write, lambda: arrays.read(name, 0, len(values))


def run_side(name: str, video: Path, frames: int, folder: Path) -> Side:
    """One side in this process; refuses to report a way that does not give back what it was given."""
    way, _, what = name.partition(" ")
    values = load(what, video, frames)
    write, read = (png_side if way == "png" else zarr_side)(values, folder)
    before = _bytes_below(folder)
    write_seconds = timed(write)
    found: list[Array] = []
    read_seconds = timed(lambda: found.append(read()))
    assert np.array_equal(found[0], values), name
    return {
        "frames": len(values),
        "raw_bytes": values.nbytes,
        "bytes": _bytes_below(folder) - before,
        "seconds": write_seconds + read_seconds,
        "write_seconds": write_seconds,
        "read_seconds": read_seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compare(clip: Path, frames: int, repeats: int) -> dict[str, Any]:
    """Both ways for frames and for masks; gives `sides` and `ratios`."""

    def call(name: str) -> Side:
        folder = Path(tempfile.mkdtemp(prefix="skate-bench-"))
        try:
            arguments = ["--side", name, "--video", str(clip), "--frames", str(frames), "--folder", str(folder)]
            return run_child("bench.png_vs_zarr", arguments)
        finally:
            shutil.rmtree(folder)

    runs = take_turns({name: partial(call, name) for name in SIDES}, repeats)
    ratios = {}
    for what in WHATS:
        for measure in ("write_seconds", "read_seconds", "bytes"):
            name = f"zarr {what} / png {what}: {measure.removesuffix('_seconds')}"
            ratios[name] = ratio(runs[f"zarr {what}"], runs[f"png {what}"], measure)
    return {"sides": {name: fastest(found) for name, found in runs.items()}, "ratios": ratios}


def table(found: dict[str, Any]) -> str:
    """Sides, then ratios, as text; the rates are of raw pixels."""
    lines = []
    for name, side in found["sides"].items():
        raw = side["raw_bytes"] / 1e6
        rates = (raw / side["write_seconds"], raw / side["read_seconds"])
        lines.append([name, f"{side['raw_bytes'] / side['bytes']:.2f}", *(f"{rate:.0f}" for rate in rates)])
    sides = text_table(("side", "smaller by", "write MB/s", "read MB/s"), lines)
    return sides + "\n\n" + ratio_table(found["ratios"])


def main() -> None:
    """Command line; `--side` is how the bench calls itself."""
    parser = argparse.ArgumentParser(prog="python -m bench.png_vs_zarr", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--video", type=Path, help="default: the demo clip")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="of the demo clip: width height")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every side; the fastest counts")
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(run_side(options.side, options.video, options.frames, options.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as folder:
        clip = prepare_clip(options.video, options.frames, tuple(options.size), Path(folder))
        found = compare(clip, options.frames, options.repeats)
    print(table(found))
    video = options.video.name if options.video else "demo"
    settings = {"frames": options.frames, "video": video, "size": list(options.size), "repeats": options.repeats}
    write_record(new_record("png_vs_zarr", settings) | found, options.record)


if __name__ == "__main__":
    run_main(main)
