"""Does memory grow with the clip? Peak RSS and peak working disk of the demo at two lengths.

    python -m bench.flat [--short 402] [--long 2010] [--record bench/records/flat.json] [demo options ...]
    python -m bench.flat --given 96x64 [...] [generate options ...]

Each length runs in a process of its own. Working disk is what a run drops again (`bench.disk`). With `--given` the
clip's true masks and poses are given (`skate generate`): what comes behind tracking, without its models.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench._common import new_record, run_main, write_record
from bench.disk import working_bytes
from stages.base import Array
from stages.poses.openpose_json import pose_keypoint_chunks
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.options.values import SIZE

MOST_RATIO = 1.10
POLL_SECONDS = 0.02  # a raw window lies on the disk only until it is blended, a fraction of a second


def given_clip(frames: int, size: tuple[int, int], folder: Path) -> list[str]:
    """A demo clip with its true masks and poses in a folder: the words that `skate generate` takes them by."""
    width, height = size
    scene = Scene(DemoConfig(frames, width, height))
    write_clip(scene.config, folder / "clip.mp4")
    kinds = ("object", "person")
    for kind in kinds:
        (folder / kind).mkdir()

    def keypoints() -> Iterator[Array]:
        for t in range(frames):
            frame = scene.frame(t)
            for kind in kinds:
                mask = getattr(frame, f"{kind}_mask").astype(np.uint8) * 255
                cv2.imwrite(str(folder / kind / f"frame_{t:05d}.png"), mask)
            yield np.column_stack([frame.joints, frame.joints_visible]).astype(np.float32)

    with (folder / "pose.json").open("w") as file:
        file.writelines(pose_keypoint_chunks(keypoints(), height, width))
    words = {"--masks": folder / "object", "--person-masks": folder / "person", "--pose": folder / "pose.json"}
    return ["generate", str(folder / "clip.mp4"), *(str(word) for pair in words.items() for word in pair)]


def measure(frames: int, folder: Path, given: tuple[int, int] | None, options: list[str]) -> dict[str, Any]:
    """Run one length; returns frames, seconds, peak RSS and peak working disk in bytes."""
    run, clip = folder / f"run{frames}", folder / f"clip{frames}"
    clip.mkdir()
    words = ["demo", "--frames", str(frames)] if given is None else given_clip(frames, given, clip)
    command = [sys.executable, "-m", "stream.cli", *words, "--json", "--out", str(run)]
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, working_bytes(run))
            time.sleep(POLL_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        finished = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    finally:
        done.set()
        watcher.join()
    if finished.returncode not in (0, 1):
        said = (finished.stderr + finished.stdout)[-2000:]
        raise SystemExit(f"the run of {frames} frames ended with {finished.returncode}: {said}")
    last = json.loads(finished.stdout.splitlines()[-1])
    return {
        "frames": frames,
        "seconds": last["seconds"],
        "peak_rss_bytes": last["peak_rss_bytes"],
        "peak_working_disk_bytes": peak,
    }


def main() -> None:
    """Measure both lengths, print the ratios, exit 1 when one is above 1.10."""
    parser = argparse.ArgumentParser(prog="python -m bench.flat", description=__doc__.splitlines()[0])
    parser.add_argument("--short", type=int, default=402)
    parser.add_argument("--long", type=int, default=2010)
    parser.add_argument("--record", type=Path, help="write the measurement there, as JSON")
    parser.add_argument("--given", type=SIZE.read, metavar="WxH", help="true masks and poses of a clip of this size")
    chosen, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        lengths = (chosen.short, chosen.long)
        short, long = (measure(frames, Path(folder), chosen.given, options) for frames in lengths)
    ratios = {name: long[name] / max(1, short[name]) for name in ("peak_rss_bytes", "peak_working_disk_bytes")}
    settings = {"short": chosen.short, "long": chosen.long, "options": options}
    settings |= {} if chosen.given is None else {"given": list(chosen.given)}
    measured = {"short": short, "long": long, "bound": MOST_RATIO}
    stated = {name: {"value": value, "noise": 0.0, "better": "lower"} for name, value in ratios.items()}
    record = new_record("flat", settings) | measured | {"ratios": stated}
    print(json.dumps(record, indent=2))
    write_record(record, chosen.record)
    sys.exit(0 if max(ratios.values()) <= MOST_RATIO else 1)


if __name__ == "__main__":
    run_main(main)
