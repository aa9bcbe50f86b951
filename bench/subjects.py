"""What each further subject costs: CPU seconds a frame of encoding it, and of following one, two, four and eight in it.

python -m bench.subjects --sam mini --record bench/records/subjects.json

All counts are measured in turn, frame by frame, on a clip of the demo's background, from when memories are full.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from bench._common import run_main, write_record
from bench.machine import command_line, machine
from stages.base import Array
from stages.models.registry import resolve
from stages.sam.frames import prepare_image
from stages.sam.model import SamConfig, SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import Tracker
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

COUNTS = (1, 2, 4, 8)
FULL = 8  # frames after which the spatial memories that SAM 2.1 reads are full


def measure(model: SamModel, frames: int) -> dict[str, object]:
    """CPU seconds a frame: medians over the frames behind the first `FULL`."""
    scene = Scene(DemoConfig(frames=FULL + frames, width=640, height=360, seed=1))
    boxes = [(40.0 + 70 * k, 120.0, 90.0 + 70 * k, 220.0) for k in range(max(COUNTS))]
    trackers = {count: Tracker(model, 360, 640) for count in COUNTS}
    took: dict[str, list[float]] = {"encode": [], **{str(count): [] for count in COUNTS}}
    for index in range(FULL + frames):
        frame = scene.frame(index).image
        image = partial(prepare_image, frame, model.image_size)
        seconds = {"encode": _encoding(model, frame)}
        for count, tracker in trackers.items():
            prompts = {f"s{k}": SamPrompt(box=boxes[k]) for k in range(count)} if index == 0 else {}
            started = time.process_time()
            tracker.see(index, frame, image, {}, prompts, 16)
            seconds[str(count)] = time.process_time() - started
        for name, value in seconds.items() if index >= FULL else ():
            took[name].append(value)
    found = {name: float(np.median(values)) for name, values in took.items()}
    first, last = found[str(COUNTS[0])], found[str(COUNTS[-1])]
    further = (last - first) / (COUNTS[-1] - COUNTS[0])
    return {
        "encode_seconds": round(found["encode"], 4),
        "frame_seconds": {name: round(found[name], 4) for name in map(str, COUNTS)},
        "object_step_seconds": round(further, 4),
        "further_share_of_first": round(further / first, 3),
    }


def _encoding(model: SamModel, frame: Array) -> float:
    import torch

    with torch.inference_mode(), model.autocast():
        shown = prepare_image(frame, model.image_size)[None]
        started = time.process_time()
        model.predictor.forward_image(shown)
        return time.process_time() - started


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.subjects", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sam", default="mini", help="name or path of the weights")
    parser.add_argument("--frames", type=int, default=20, help="that are measured")
    parser.add_argument("--record", type=Path, help="file to write")
    given = parser.parse_args()
    weights = resolve("sam", given.sam)
    assert weights.config_path is not None  # resolve() refuses a SAM without one
    model = SamModel(SamConfig(weights.path, weights.config_path))
    model.load()
    found = measure(model, given.frames)
    rows = [[name, str(value)] for name, value in found.items()]
    print(text_table(["", "CPU seconds a frame"], rows))
    if given.record is not None:
        told = {"bench": "subjects", "command": command_line("python -m bench.subjects"), "machine": machine()}
        write_record({**told, "sam": given.sam, "frames": given.frames, **found}, given.record)


if __name__ == "__main__":
    run_main(main)
