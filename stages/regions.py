"""Several subjects as one: what is regenerated of a scene, for a generator that knows one object and one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stages.base import MASK, Array, Inputs, Output, Port, Read, Stage, Window
from stages.poses.skeleton import JOINTS
from stages.region import nearness

OBJECTS, PERSONS, ALL, POSES = "regions/objects", "regions/persons", "regions/all", "regions/poses"
REMOVED = "regions/removed"


@dataclass(frozen=True)
class RegionsConfig:
    """Names of subjects.

    Attributes:
        subjects: all of them. objects, persons: those of each kind that are regenerated.
        removed: those that vanish before the others are regenerated.
    """

    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    persons: tuple[str, ...]
    removed: tuple[str, ...] = ()


class RegionsStage(Stage):
    """Joins masks and skeletons of subjects.

    Reads `masks/NAME` of all, and `keypoints/NAME` of the persons who are regenerated. Writes `regions/objects` and
    `regions/persons` `[n, H, W]` bool, the union of those that are; `regions/all`, the union of all subjects;
    `regions/removed`, where some vanish, the union of these; `regions/poses` `[n, P, 133, 3]` float32: the persons'
    skeletons, who is nearest last; one nobody's where there are none.
    """

    name: ClassVar[str] = "regions"
    of_variation = True

    def __init__(self, config: RegionsConfig) -> None:
        self.config = config
        self.reads = (
            *(Read(f"masks/{name}", "new") for name in config.subjects),
            *(Read(f"keypoints/{name}", "new") for name in config.persons),
        )
        self._unions = {OBJECTS: config.objects, PERSONS: config.persons, ALL: config.subjects}
        self._unions |= {REMOVED: config.removed} if config.removed else {}
        self.writes = (
            *(Port(name, "new", MASK, "bool") for name in self._unions),
            Port(POSES, "new", (max(1, len(config.persons)), JOINTS, 3), "float32"),
        )

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Join the window's new frames."""
        config, masks = self.config, {name: inputs.arrays[f"masks/{name}"] for name in self.config.subjects}
        shape = next(iter(masks.values())).shape
        arrays = {name: _union([masks[each] for each in names], shape) for name, names in self._unions.items()}
        poses = np.zeros((shape[0], max(1, len(config.persons)), JOINTS, 3), np.float32)
        for index in range(shape[0]):
            order = sorted(config.persons, key=lambda name: nearness(masks[name][index]))
            for place, name in enumerate(order):
                poses[index, place] = inputs.arrays[f"keypoints/{name}"][index]
        return Output({**arrays, POSES: poses})

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """The window's masks, and their unions."""
        return window_frames * height * width * (len(self.config.subjects) + len(self._unions)), 0


def _union(masks: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """`[n, H, W]` bool; an array of its own."""
    found = np.zeros(shape, bool)
    for mask in masks:
        found |= mask
    return found
