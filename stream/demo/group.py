"""Several skaters and boards: all of them followed by name, in a run of its own beside the demo's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.picture import mask_box
from stages.prompts import ObjectPrompt
from stages.subjects import OBJECT, PERSON, Subject
from storage.arrays import RunArrays
from storage.errors import RunDirectoryError
from storage.rundir import RunReader, is_run
from stream.demo.hidden import Hiding, hiding_of
from stream.demo.identities import Identities, IdentityScores
from stream.demo.scene import DemoConfig, Scene
from stream.options.recorded import read_run
from stream.options.scene import Cast, write_scene
from stream.options.settings import config_from_options
from stream.options.table import TRACKING, options_for
from stream.progress.events import Listener
from stream.run.lifecycle import start

CHASE = {"track_view": "chase"}  # several are followed so
GROUPS = {"mini": "mini-groups"}  # what of the packaged weights is trained for several
LEAST_PIXELS = 150  # of 640x360: of a subject smaller than this nothing is asked on a frame


@dataclass(frozen=True)
class GroupAccuracy:
    """How all subjects of a clip were followed, against the truth.

    Attributes:
        ious: by subject, mean and 5th percentile over the frames with enough of it.
        identities: of all subjects together.
        amodal_iou_mean: of all of a subject, what others hide of it too, over the frames on which half or more is
            hidden; None where there are none.
    """

    ious: dict[str, tuple[float, float]]
    identities: IdentityScores
    amodal_iou_mean: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Its part of the `truth` object of the JSON contract."""
        found = self.identities
        subjects = {name: {"iou_mean": mean, "iou_p5": p5} for name, (mean, p5) in self.ious.items()}
        told = {"subjects": subjects, "id_switches": found.switches, "hota": found.hota, "idf1": found.idf1}
        return told | ({} if self.amodal_iou_mean is None else {"amodal_iou_mean": self.amodal_iou_mean})

    def lines(self) -> list[str]:
        """For a person."""
        found = self.identities
        rows = [f"  {name:<36} {mean:8.3f}   5th percentile {p5:.3f}" for name, (mean, p5) in self.ious.items()]
        told = f"HOTA {found.hota:.3f}, IDF1 {found.idf1:.3f}, identity switches {found.switches}"
        if self.amodal_iou_mean is not None:
            rows.append(f"  {'half hidden: IoU of all of it, mean':<36} {self.amodal_iou_mean:8.3f}")
        return ["all subjects by name, IoU against the truth:", *rows, f"  {told}"]


def least_pixels(clip: DemoConfig) -> float:
    """Pixels of a subject that are enough, in a clip of this size."""
    return LEAST_PIXELS * clip.width * clip.height / (640 * 360)


def truth_subjects(scene: Scene) -> tuple[Subject, ...]:
    """Every skater and board with enough of it to be seen, prompted with its true box on the first such frame; a board
    is held by who rides it."""
    riders = dict(zip(scene.boards, scene.skaters, strict=False))
    kinds = dict.fromkeys(scene.boards, OBJECT) | dict.fromkeys(scene.skaters, PERSON)
    found: dict[str, Subject] = {}
    for t in range(len(scene)):
        for name, mask in scene.masks(t).items():
            if name not in found and mask.sum() >= least_pixels(scene.config):
                found[name] = Subject(name, kinds[name], ObjectPrompt(t, mask_box(mask)), held_by=riders.get(name))
        if len(found) == len(kinds):
            break
    every = (found[name] for name in kinds if name in found)
    return tuple(each if each.held_by in found else replace(each, held_by=None) for each in every)


def follow_group(
    scene: Scene, video: Path, out: Path, options: dict[str, Any], overwrite: bool, listener: Listener | None = None
) -> GroupAccuracy:
    """Follow every subject of the clip in the run `OUT-subjects`, and compare with the truth.

    Args:
        video: the clip. out: the demo's run. options: the demo's; this one is a chase, with the small model for groups
            in place of the small one.

    Raises:
        RunDirectoryError: when another run is there, and `overwrite` is not given.
    """
    place = out.with_name(f"{out.name}-subjects")
    if not overwrite and is_run(place) and Path(read_run(place)[1].video).parent != video.resolve().parent:
        raise RunDirectoryError(f"{place} holds a run that is none of {out}: choose another --out, or --overwrite")
    file, subjects = video.with_suffix(".scene.toml"), truth_subjects(scene)
    write_scene(file, Cast(subjects))
    names = {item.parameter for item in options_for(TRACKING)}
    given = {name: value for name, value in options.items() if name in names}
    given |= CHASE | {"sam": GROUPS.get(str(given["sam"]), given["sam"])}
    given |= {"box": None, "point": (), "object_mask": None, "prompt_frame": 0, "correct": (), "person_box": None}
    config = config_from_options(str(video), "extract", {**given, "scene": str(file)}, place)
    start(config, place, overwrite=True, listener=listener)
    run = RunReader(place)
    hiding = hiding_of(scene, run, config, least_pixels(scene.config))
    hidden = Hiding([row for each in hiding.values() for row in each.rows]).scores()
    found = compare_group(scene, [subject.name for subject in subjects], run.arrays)
    return replace(found, amodal_iou_mean=hidden.amodal_iou if hidden.frames else None)


def compare_group(scene: Scene, names: Sequence[str], found: RunArrays) -> GroupAccuracy:
    """The masks of a finished run that has these subjects of the scene by their names."""
    identities, least = Identities(), least_pixels(scene.config)
    ious: dict[str, list[float]] = {name: [] for name in names}
    for t in range(len(scene)):
        every = scene.masks(t)
        truth = [every[name] for name in names]
        tracks = [found.read(f"masks/{name}", t, t + 1)[0] for name in names]
        identities.add(truth, tracks, least)
        for at, name in enumerate(names):
            if identities.present[-1][at]:
                ious[name].append(max(0.0, float(identities.frames[-1][at, at])))
    rows = {name: (float(np.mean(each)), float(np.percentile(each, 5))) for name, each in ious.items() if each}
    return GroupAccuracy(rows, identities.scores())
