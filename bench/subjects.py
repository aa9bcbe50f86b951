"""What each further subject costs: CPU seconds a frame of encoding it, and of following one, two, four and eight in it.

python -m bench.subjects --sam mini --record bench/records/subjects.json

By each memory policy. All counts are measured in turn on every frame, each frame beginning with another, from when
memories are full. All follow the demo's skater: one that is lost has fewer memories to read, so that others beside it
would cost more than it does.
"""

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import run_main, write_record
from bench.machine import command_line, machine
from stages.base import Array
from stages.choices import MEMORIES
from stages.models.registry import resolve
from stages.picture import mask_box
from stages.sam.frames import prepare_image
from stages.sam.memory import MEMORY_FRAMES, STRIDE
from stages.sam.model import SamConfig, SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import Tracker
from stream.demo import DemoConfig, Scene
from stream.report.tables import text_table

COUNTS = (1, 2, 4, 8)
FULL = MEMORY_FRAMES * STRIDE  # frames after which the spatial memories are full, which DAM4SAM takes this far apart


def measure(models: Mapping[str, SamModel], frames: int) -> dict[str, Any]:
    """CPU seconds a frame, by memory policy: medians over the frames behind the first `FULL`."""
    scene = Scene(DemoConfig(frames=FULL + frames, width=640, height=360, seed=1))
    left, top, right, bottom = mask_box(scene.frame(0).person_mask)
    prompt = SamPrompt(box=(left, top, right, bottom))
    trackers = {(memory, n): Tracker(model, 360, 640) for memory, model in models.items() for n in COUNTS}
    keys, encoding = list(trackers), list[float]()
    took: dict[tuple[str, int], list[float]] = {key: [] for key in trackers}
    for index in range(FULL + frames):
        frame = scene.frame(index).image
        encoding.append(_encoding(next(iter(models.values())), frame))
        for memory, count in (*keys[index % len(keys) :], *keys[: index % len(keys)]):
            image = partial(prepare_image, frame, models[memory].image_size)
            prompts = {f"s{k}": prompt for k in range(count)} if index == 0 else {}
            started = time.process_time()
            trackers[memory, count].see(index, frame, image, {}, prompts, 16)
            took[memory, count].append(time.process_time() - started)
    found: dict[str, Any] = {"encode_seconds": round(float(np.median(encoding[FULL:])), 4)}
    for memory in models:
        seconds = {count: float(np.median(took[memory, count][FULL:])) for count in COUNTS}
        first, last = seconds[COUNTS[0]], seconds[COUNTS[-1]]
        further = (last - first) / (COUNTS[-1] - COUNTS[0])
        found[memory] = {
            "frame_seconds": {str(count): round(value, 4) for count, value in seconds.items()},
            "object_step_seconds": round(further, 4),
            "further_share_of_first": round(further / first, 3),
        }
    return found


def _encoding(model: SamModel, frame: Array) -> float:
    import torch

    with torch.inference_mode(), model.autocast():
        shown = prepare_image(frame, model.image_size)[None]
        started = time.process_time()
        model.predictor.forward_image(shown)
        return time.process_time() - started


def _cells(found: Mapping[str, Any]) -> list[str]:
    seconds = [*found["frame_seconds"].values(), found["object_step_seconds"], found["further_share_of_first"]]
    return [str(value) for value in seconds]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.subjects", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sam", default="mini", help="name or path of the weights")
    parser.add_argument("--frames", type=int, default=20, help="that are measured")
    parser.add_argument("--record", type=Path, help="file to write")
    given = parser.parse_args()
    weights = resolve("sam", given.sam)
    assert weights.config_path is not None  # resolve() refuses a SAM without one
    models = {each: SamModel(SamConfig(weights.path, weights.config_path, memory=each)) for each in MEMORIES}
    for model in models.values():
        model.load()
    found = measure(models, given.frames)
    rows = [[memory, *_cells(found[memory])] for memory in MEMORIES]
    print(text_table(["memory", *map(str, COUNTS), "further one", "of the first"], rows))
    if given.record is not None:
        told = {"bench": "subjects", "command": command_line("python -m bench.subjects"), "machine": machine()}
        write_record({**told, "sam": given.sam, "frames": given.frames, **found}, given.record)


if __name__ == "__main__":
    run_main(main)
