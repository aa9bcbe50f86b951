"""Whether joints go to the right one of three skaters where the masks are right: nothing is tracked, masks are true.

    OMP_NUM_THREADS=1 python -m bench.joints [--seeds 1 2 3 4 5] [--frames 402] [--record bench/records/joints.json]

The pose stage of a scene with the mini models, the detector on every 12th frame, in windows of 65 frames. Who is asked
and what is right: `bench.identities.joints_right`.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench._common import new_record, run_main, write_record
from bench.identities import joints_right
from stages.base import Array, Inputs
from stages.crowd import CrowdConfig, CrowdPoseStage
from stages.models.registry import resolve
from stages.poses.models import PoseModels
from storage.arrays import RunArrays
from stream.demo import DemoConfig, Scene
from stream.engine.windows import WindowPlan
from stream.report.tables import text_table

WINDOW = 65
DETECT_EVERY = 12


class Found:
    """In place of a run's arrays: what the pose stage gave, in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Array]] = defaultdict(list)

    def add(self, arrays: Mapping[str, Array]) -> None:
        """A window's."""
        for name, array in arrays.items():
            self._parts[name].extend(array)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Frames `start` to `stop`."""
        return np.stack(self._parts[name][start:stop])


def find(scene: Scene) -> Found:
    """Keypoints of every skater, told apart by the true masks."""
    pose, detector = (str(resolve(kind, "mini").path) for kind in ("pose", "detector"))
    found = Found()
    config = CrowdConfig(PoseModels(pose, detector, threads=1), scene.skaters, detect_every=DETECT_EVERY)
    with CrowdPoseStage(config) as stage:
        for window in WindowPlan(WINDOW, 0).windows(len(scene)):
            frames = range(window.new.start, window.new.stop)
            shown = [(scene.picture(t), scene.masks(t)) for t in frames]
            arrays = {f"masks/{name}": np.stack([masks[name] for _, masks in shown]) for name in scene.skaters}
            arrays["frames"] = np.stack([picture for picture, _ in shown])
            arrays["times"] = np.array(frames) / scene.config.fps
            found.add(stage.process(window, Inputs(arrays)).arrays)
    return found


def main() -> None:
    """Measure, print, write after every seed."""
    parser = argparse.ArgumentParser(prog="python -m bench.joints", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--frames", type=int, default=402)
    parser.add_argument("--record", type=Path, help="file to write")
    given = parser.parse_args()
    settings = {"frames": given.frames, "skaters": 3, "boards": 3, "window": WINDOW, "detect_every": DETECT_EVERY}
    record, seeds = new_record("joints", settings), dict[str, dict[str, Any]]()
    for seed in given.seeds:
        scene = Scene(DemoConfig(frames=given.frames, seed=seed, skaters=3, boards=3))
        seeds[str(seed)] = joints_right(scene, scene.skaters, cast(RunArrays, find(scene)))
        print(seed, seeds[str(seed)], flush=True)
        write_record({**record, "seeds": seeds}, given.record)
    names = list(next(iter(seeds.values())))
    rows = [[seed, *(str(found[name]) for name in names)] for seed, found in seeds.items()]
    print(text_table(["seed", *names], rows))


if __name__ == "__main__":
    run_main(main)
