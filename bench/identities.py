"""Whether several keep their identities: the demo of three skaters and three boards, by each memory policy.

    OMP_NUM_THREADS=1 python -m bench.identities --work DIR [--seeds 1 2 3 4 5] [--record bench/records/identities.json]

Every seed and policy is a run of DIR, as of `skate extract --scene`: each subject prompted with its true box, tracked
in a chase. Runs that are there are gone on with or only read, so it may be interrupted. HOTA, IDF1 and identity
switches are TrackEval's (`stream.demo.identities`).

`iou_apart` and `iou_overlapping`: the same mean over the frames on which no box of another overlaps its own, and over
the others; a board and who rides it do not count as others of each other.

A joint is right where it is nearer to its own person's true one than to any other's. Asked are the visible joints that
were reported, outside the others' boxes and within. `--alone`: every subject is also followed in the same clip rendered
with it alone. `bench.joints` measures joints by the true masks.

`hidden`: of each kind, how well what others hide is known (`stream.demo.hidden`).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import new_record, run_main, write_record
from stages.base import Array
from stages.choices import MEMORIES
from stages.metrics import iou
from stages.subjects import Subject
from storage.arrays import RunArrays
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene
from stream.demo.camera import CAMERAS
from stream.demo.clip import write_clip
from stream.demo.group import GroupAccuracy, compare_group, least_pixels, truth_subjects
from stream.demo.hidden import hiding_of
from stream.demo.job import KEYPOINT_SCORE
from stream.options.config import RunConfig
from stream.report.tables import text_table
from stream.run.lifecycle import start

OPTIONS: dict[str, Any] = {
    "chain": "extract",
    "pose": "mini",
    "detector": "mini",
    "detect_every": 12,
    "track_view": "chase",
    "device": "cpu",
}


def follow(
    scene: Scene, subjects: tuple[Subject, ...], options: Mapping[str, Any], work: Path
) -> tuple[RunReader, RunConfig]:
    """The finished run of these subjects: begun, gone on with, or as it is there."""
    work.mkdir(parents=True, exist_ok=True)
    video, out = work / "clip.mp4", work / str(options["memory"])
    if not video.exists():
        write_clip(scene, video)
    config = RunConfig(video=str(video), scene=subjects, **options)
    start(config, out)
    return RunReader(out), config


def measure(scene: Scene, options: Mapping[str, Any], work: Path, alone: bool) -> dict[str, Any]:
    """HOTA, IDF1, switches, IoU by subject, joints; with `alone` also each one's IoU where nobody else is."""
    subjects = truth_subjects(scene)
    names = [subject.name for subject in subjects]
    run, config = follow(scene, subjects, options, work)
    group = compare_group(scene, names, run.arrays)
    told: dict[str, Any] = {
        "hota": round(group.identities.hota, 4),
        "idf1": round(group.identities.idf1, 4),
        "switches": group.identities.switches,
        "iou": _means(group),
        **ious_by_company(scene, subjects, run.arrays),
        "joints": joints_right(scene, [name for name in names if name in scene.skaters], run.arrays),
        "hidden": hidden_found(scene, run, config),
    }
    if alone:
        told["iou_alone"] = {}
        for subject in subjects:
            single, name = scene.alone(subject.name), subject.name
            found, _ = follow(single, (replace(subject, held_by=None),), options, work / name)
            told["iou_alone"] |= _means(compare_group(single, [name], found.arrays))
    return told


def _means(group: GroupAccuracy) -> dict[str, float]:
    return {name: round(mean, 4) for name, (mean, _) in group.ious.items()}


def ious_by_company(scene: Scene, subjects: Sequence[Subject], arrays: RunArrays) -> dict[str, dict[str, float | None]]:
    """Mean IoU of each with nobody else's box over its own, and with somebody's; None where there is no such frame."""
    ious: dict[str, dict[str, list[float]]] = {
        kind: {subject.name: [] for subject in subjects} for kind in ("iou_apart", "iou_overlapping")
    }
    held_by = {subject.name: subject.held_by for subject in subjects}
    for t in range(len(scene)):
        masks = scene.masks(t)
        boxes = {name: _box(mask) for name, mask in masks.items()}
        for name in ious["iou_apart"]:
            if np.count_nonzero(masks[name]) < least_pixels(scene.config):
                continue
            others = [it for it in masks if it != name and name != held_by.get(it) and it != held_by.get(name)]
            met = any(_overlap(boxes[name], boxes[other]) for other in others)
            found = iou(masks[name], arrays.read(f"masks/{name}", t, t + 1)[0])
            ious["iou_overlapping" if met else "iou_apart"][name].append(found)
    return {
        kind: {name: round(float(np.mean(found)), 4) if found else None for name, found in each.items()}
        for kind, each in ious.items()
    }


def joints_right(scene: Scene, names: Sequence[str], arrays: RunArrays) -> dict[str, float]:
    """Which share of the visible joints is `reported`; of these, which are right, `apart` and `overlapping`."""
    right, asked, visible = np.zeros(2), np.zeros(2), 0
    for t in range(len(scene)):
        persons = {person.name: person for person in scene.truth(t).skaters}
        every = np.stack([person.joints for person in persons.values()])
        boxes = {name: _box(person.visible) for name, person in persons.items()}
        for name in names:
            own, found = persons[name], arrays.read(f"keypoints/{name}", t, t + 1)[0]
            visible += int(own.joints_visible.sum())
            joints = own.joints_visible & (found[:, 2] >= KEYPOINT_SCORE)
            nearest = np.linalg.norm(every - found[:, :2], axis=-1).argmin(0) == list(persons).index(name)
            near = np.zeros(len(joints), bool)
            for other, (low, high) in boxes.items():
                if other != name and (low <= high).all():
                    near |= ((own.joints >= low) & (own.joints <= high)).all(1)
            for kind, chosen in enumerate((joints & ~near, joints & near)):
                right[kind] += np.count_nonzero(nearest & chosen)
                asked[kind] += np.count_nonzero(chosen)
    shares = right / np.maximum(asked, 1)
    return {
        "apart": round(float(shares[0]), 4),
        "overlapping": round(float(shares[1]), 4),
        "asked_apart": int(asked[0]),
        "asked_overlapping": int(asked[1]),
        "reported": round(float(asked.sum() / max(visible, 1)), 4),
    }


def hidden_found(scene: Scene, run: RunReader, config: RunConfig) -> dict[str, dict[str, float]]:
    """How well what is hidden is known, by kind, as the run tells it (`skate export --amodal`)."""
    found = hiding_of(scene, run, config, least_pixels(scene.config))
    return {
        kind: {key: round(value, 4) for key, value in asdict(each.scores()).items()} for kind, each in found.items()
    }


def _box(mask: Array) -> tuple[Array, Array]:
    """First and last pixel, (x, y), of the box round a mask; the first beyond the last where it is empty."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.ones(2), np.zeros(2)
    return np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])


def _overlap(first: tuple[Array, Array], second: tuple[Array, Array]) -> bool:
    """Whether two boxes share a pixel."""
    low, high = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
    return bool((low <= high).all())


def main() -> None:
    """Measure, print, write after every run."""
    parser = argparse.ArgumentParser(prog="python -m bench.identities", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--sam", default="mini-groups", help="name or path of the weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--frames", type=int, default=402)
    parser.add_argument(
        "--camera", default="steady", choices=CAMERAS, help="cuts: all are to be found again behind them"
    )
    parser.add_argument("--memory", nargs="+", default=list(MEMORIES), choices=MEMORIES)
    parser.add_argument("--alone", type=int, nargs="*", default=[], help="seeds whose subjects are followed alone too")
    parser.add_argument("--record", type=Path, help="file to write")
    given = parser.parse_args()
    options = {**OPTIONS, "sam": given.sam}
    clip = {"frames": given.frames, "camera": given.camera, "skaters": 3, "boards": 3}
    record = new_record("identities", {**options, **clip})
    seeds: dict[str, dict[str, Any]] = {}
    for seed in given.seeds:
        scene = Scene(DemoConfig(seed=seed, **clip))
        for memory in given.memory:
            found = measure(scene, {**options, "memory": memory}, given.work / f"seed-{seed}", seed in given.alone)
            seeds.setdefault(str(seed), {})[memory] = found
            print(seed, memory, *(f"{name} {found[name]}" for name in ("hota", "idf1", "switches")), flush=True)
            write_record({**record, "seeds": seeds}, given.record)
    rows = [
        [seed, memory, *(str(found[name]) for name in ("hota", "idf1", "switches"))]
        for seed, policies in seeds.items()
        for memory, found in policies.items()
    ]
    print(text_table(["seed", "memory", "HOTA", "IDF1", "switches"], rows))


if __name__ == "__main__":
    run_main(main)
