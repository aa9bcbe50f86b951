"""The object's boundary in the finished picture against its boundary in the source, frame by frame."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from stages.base import MASK, Array, Inputs, Json, Output, Port, Read, Window
from stages.metrics import failed_spans, rounded
from stages.sam.footprint import sam_peak_bytes
from stages.sam.judging import JudgingStage, ScoreConfig
from stages.sam.model import SamModel
from stages.sam.reverse import NAME, PERSON, ReverseState

__all__ = ["ScoreConfig", "ScoreStage"]

FOUND = "found/"  # before a subject's name: its masks in the result


class ScoreStage(JudgingStage):
    """Tracks the object in the encoded segment and compares its mask with the source's.

    Reads `masks/object`, `masks/person` `[n, H, W] bool`; `info["sink"]["segment"]`, a file's name in the folder;
    `info["track"]["untracked"]["object"]` of every window, whose new frames run ahead of its final ones;
    `info["decode"]["clip_frames_min16"]`.

    Writes `found/object` and `found/person` `[n, H, W] bool`, where it found them in the result, empty where the
    source's is untracked; `scores/object` and `scores/person` `[n] float32`, each its IoU of source and result, NaN on
    frames where the source's is untracked (the person's wherever no detector chose one), and `iou`, the worst of the
    subjects that are gated: the object is the only one. The committed info holds, a value a frame (None where
    untracked): `iou`, `boundary_f`, `containment`, `clipping`; `visible` (the object's presence in the generated
    frames), `failed` (absolute half-open spans at or below the threshold) and `seam` for `seam_ratio`.

    Raises:
        RunDirectoryError: a segment that is missing, damaged, or of another length or size.
    """

    name: ClassVar[str] = "score"
    reads: tuple[Read, ...] = (Read("masks/object", "final"), Read("masks/person", "final"))
    writes = (
        *(Port(name, "final", (), "float32", fill=float("nan")) for name in ("iou", "scores/object", "scores/person")),
        *(Port(f"{FOUND}{name}", "final", MASK, "bool") for name in (NAME, PERSON)),
    )
    facts = (*JudgingStage.facts, "blend", "sink")

    def __init__(self, config: ScoreConfig, model: SamModel) -> None:
        super().__init__(config, model)
        self._reverse = self._tracker()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Score the window's final frames."""
        encoded = inputs.info["sink"]
        segment = inputs.folder / str(encoded["segment"])
        scores = self._score(self._reverse, segment, window, inputs, encoded.get("size"))
        values = np.array(scores.iou, dtype=np.float32)
        fade = inputs.info.get("blend", {}).get("crossfade", (window.final.start, window.final.start))
        return Output(
            {
                "iou": values,
                "scores/object": values,
                "scores/person": np.array(scores.person_iou, dtype=np.float32),
                f"{FOUND}{NAME}": np.stack(scores.found),
                f"{FOUND}{PERSON}": np.stack(scores.found_person),
            },
            {
                "iou": rounded(scores.iou),
                "boundary_f": rounded(scores.boundary_f),
                "containment": rounded(scores.containment),
                "clipping": rounded(scores.clipping),
                "visible": scores.visible,
                "failed": failed_spans(values, self.config.iou_threshold, window.final.start),
                "seam": scores.seam(fade, cut=window.begins_shot),
            },
        )

    def close(self) -> None:
        """Let the memories go. The model belongs to whoever made it."""
        self._reverse.close()

    def get_state(self) -> ReverseState:
        """The reverse tracker's state; a copy."""
        return self._reverse.get_state()

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take a state back."""
        self._reverse.set_state(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected `(ram_bytes, vram_bytes)`: libraries, weights, activations, the window's masks, a few frames."""
        ram, vram = sam_peak_bytes(self.model.config, 2, 1 + len(self.config.corrections))
        frame = height * width * 40 if window_frames else 0
        return ram + window_frames * height * width * 4 + frame, vram
