"""The benchmark's clips: rendered, so that masks, joints and contacts are known."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.base import Array
from stream.demo import DemoConfig, Scene

# One more wherever clips, faults, metrics or what is counted change: numbers of two versions do not compare.
VERSION = 1
QUICK, WHOLE = "quick", "whole"
BOARD, SKATER = "board", "skater"


@dataclass(frozen=True)
class Clip:
    """A clip and what it is for.

    Attributes:
        use: "noise": fault-free alone, tells how much each metric trembles; "curve": faults in graded strength;
            "check": faults of the stated size, on seeds that nothing was chosen by.
    """

    name: str
    use: str
    scene: DemoConfig

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        scene = self.scene
        return {
            "name": self.name, "use": self.use, "seed": scene.seed, "frames": scene.frames,
            "size": [scene.width, scene.height], "camera": scene.camera, "skaters": scene.skaters,
            "boards": scene.boards, "tricks": list(scene.tricks),
        }  # fmt: skip


def _clip(use: str, seed: int, frames: int, camera: str, tricks: str, people: int = 1) -> Clip:
    scene = DemoConfig(
        frames, seed=seed, camera=camera, skaters=people, boards=people, tricks=tuple(tricks.split()) if tricks else ()
    )
    return Clip(f"{use}-{seed}", use, scene)


def clips(which: str) -> tuple[Clip, ...]:
    """The clips of the quick or of the whole set. The default demo is among the noise of the whole one."""
    if which == QUICK:
        return (_clip("check", 31, 33, "steady", "ollie push"),)
    return (
        Clip("demo", "noise", DemoConfig()),
        _clip("curve", 21, 49, "steady", "ollie push ride"),
        _clip("check", 31, 33, "steady", "ollie push"),
        _clip("check", 32, 33, "handheld", "manual kickflip"),
        _clip("noise", 12, 61, "pan", "shove-it manual ollie", 2),
    )


@dataclass(frozen=True)
class Known:
    """What the renderer knows of a clip.

    Attributes:
        masks: [T, H, W] bool by name of a subject, the visible pixels. joints: [T, 133, 2] px by name of a skater.
        plates: [T, H, W, 3] uint8 RGB without subjects.
        on_board: [T, 2] bool, whether the first skater's left and right foot stand on its board.
    """

    masks: dict[str, Array] = field(repr=False)
    joints: dict[str, Array] = field(repr=False)
    plates: Array = field(repr=False)
    on_board: Array = field(repr=False)


def known(scene: DemoConfig) -> Known:
    """The truth of every frame."""
    rendered = Scene(scene)
    truths = [rendered.truth(t) for t in range(scene.frames)]
    first = truths[0]
    masks = {
        subject.name: np.stack([truth.subjects[index].visible for truth in truths])
        for index, subject in enumerate(first.subjects)
    }
    joints = {
        skater.name: np.stack([truth.skaters[index].joints for truth in truths])
        for index, skater in enumerate(first.skaters)
    }
    return Known(
        masks, joints, np.stack([truth.plate for truth in truths]),
        np.array([truth.skaters[0].on_board for truth in truths], bool),
    )  # fmt: skip
