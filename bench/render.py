"""How fast one core renders the demo's clips: frames a second of processor time, one thread.

python -m bench.render [--frames 100] [--record bench/records/render.json]
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from bench._common import new_record, run_main, write_record
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

WANTED = 25.0  # frames/s of the default clip
WARM_UP = 3  # frames, in which a scene paints its park


def clips(frames: int) -> dict[str, DemoConfig]:
    """What is rendered, 640x360 but for `far`."""
    return {
        "one skater": DemoConfig(frames),
        "handheld": DemoConfig(frames, camera="handheld"),
        "three skaters": DemoConfig(frames, skaters=3, boards=3),
        "far, 1280x720": DemoConfig(frames, 1280, 720, camera="far"),
    }


def rendered_per_second(config: DemoConfig) -> float:
    """Frames of the clip a second of this process's processor time, the first few left out."""
    scene = Scene(config)
    for t in range(WARM_UP):
        scene.frame(t)
    begun = time.process_time()
    for t in range(WARM_UP, config.frames):
        scene.frame(t)
    return (config.frames - WARM_UP) / (time.process_time() - begun)


def measure(frames: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Every clip `repeats` times in turns; the fastest counts."""
    runs: dict[str, list[float]] = {name: [] for name in clips(frames)}
    for _ in range(repeats):
        for name, config in clips(frames).items():
            runs[name].append(rendered_per_second(config))
    ratios = {name: _frames_per_second(found) for name, found in runs.items()}
    ratios["one skater"] |= {"least": WANTED, "holds": ratios["one skater"]["value"] >= WANTED}
    return ratios


def _frames_per_second(runs: Sequence[float]) -> dict[str, Any]:
    best = max(runs)
    return {"value": round(best, 1), "noise": round((best - min(runs)) / 2 / best, 3), "better": "higher"}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="of every clip")
    parser.add_argument("--repeats", type=int, default=2, help="runs of every clip; the fastest counts")
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    if options.frames <= WARM_UP or options.repeats < 1:
        parser.error(f"--frames: give more than {WARM_UP}, and --repeats at least 1")
    cv2.setNumThreads(1)
    ratios = measure(options.frames, options.repeats)
    rows = [[name, f"{found['value']:.1f}", f"{found['noise']:.3f}"] for name, found in ratios.items()]
    print(text_table(("clip", "frames/s of one core", "noise"), rows))
    settings = {"frames": options.frames, "repeats": options.repeats}
    write_record(new_record("render", settings) | {"ratios": ratios}, options.record)


if __name__ == "__main__":
    run_main(main)
