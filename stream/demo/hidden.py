"""How well what others hide of a subject is known, against the renderer's truth."""

from dataclasses import dataclass, field

import numpy as np

from stages.base import Array
from stages.metrics import iou
from stages.occlusion import occluded
from storage.rundir import RunReader
from stream.demo.scene import Scene
from stream.options.config import RunConfig
from stream.report.amodal import AmodalMasks

HALF = 0.5  # true share that shows, up to which a frame counts for the IoUs
HIDDEN, SHOWN = 0.6, 0.8  # true shares below and above which a flag is asked for, and is wrong


@dataclass(frozen=True)
class HiddenScores:
    """Of many frames.

    Attributes:
        frames: on which half or more is hidden; of these, means:
        shows: the true share that shows. amodal_iou, mask_iou: of all of it with its estimate, and with its mask.
        flag_precision, flag_recall: of the flags, on all frames; 0 where there is nothing to judge by.
    """

    frames: int
    shows: float
    amodal_iou: float
    mask_iou: float
    flag_precision: float
    flag_recall: float


@dataclass
class Hiding:
    """Frames of subjects of a kind."""

    rows: list[tuple[float, float, float, bool]] = field(default_factory=list)

    def add(self, visible: Array, amodal: Array, mask: Array, estimate: Array) -> None:
        """One frame of a subject, `[H, W]` bool each: by the truth what shows and all of it, as found likewise."""
        shows = np.count_nonzero(visible & amodal) / np.count_nonzero(amodal)
        flag = bool(occluded(mask[None], estimate[None])[0])
        self.rows.append((shows, iou(estimate, amodal), iou(mask, amodal), flag))

    def scores(self) -> HiddenScores:
        """Of the frames so far."""
        shows, estimates, masks, flags = np.array(self.rows, float).reshape(-1, 4).T
        half, flagged = shows <= HALF, flags > 0
        right, wrong, missed = (
            int(np.count_nonzero(each))
            for each in (flagged & (shows < HIDDEN), flagged & (shows > SHOWN), ~flagged & (shows < HIDDEN))
        )
        showing, estimated, masked = (
            float(each[half].mean()) if half.any() else 0.0 for each in (shows, estimates, masks)
        )
        precision, recall = right / ((right + wrong) or 1), right / ((right + missed) or 1)
        return HiddenScores(int(half.sum()), showing, estimated, masked, precision, recall)


def hiding_of(scene: Scene, run: RunReader, config: RunConfig, least: float) -> dict[str, Hiding]:
    """Of the "boards" and of the "persons" that a run follows by the scene's own names, as the run tells what is hidden
    (`skate export --amodal`).

    Args:
        least: pixels of all of a subject, below which nothing is asked of it on a frame.
    """
    found = {"boards": Hiding(), "persons": Hiding()}
    for t, every in enumerate(AmodalMasks(run, config).each()):
        for true in scene.truth(t).subjects:
            if true.name in every and np.count_nonzero(true.amodal) >= least:
                kind = found["persons" if true.name in scene.skaters else "boards"]
                mask = run.arrays.read(f"masks/{true.name}", t, t + 1)[0]
                kind.add(true.visible, true.amodal, mask, every[true.name])
    return found
