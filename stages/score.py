"""The boundaries of subjects in the finished picture against those in the source, frame by frame."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from stages.base import MASK, Array, Inputs, Json, Output, Port, Window
from stages.metrics import failed_spans, rounded
from stages.sam.footprint import sam_peak_bytes
from stages.sam.judging import JudgingStage, ScoreConfig
from stages.sam.model import SamModel
from stages.sam.reverse import ReverseState
from stages.subjects import most_prompts

__all__ = ["ScoreConfig", "ScoreStage"]

FOUND = "found/"  # before a subject's name: its masks in the result
SCORES = "scores/"  # and its IoU of source and result


class ScoreStage(JudgingStage):
    """Tracks the subjects in the encoded segment and compares their masks with the source's.

    Reads `masks/NAME` `[n, H, W] bool` of each; `info["sink"]["segment"]`, a file's name in the folder;
    `info["track"]["untracked"]` of every window, whose new frames run ahead of its final ones;
    `info["decode"]["clip_frames_min16"]`.

    Writes `found/NAME` `[n, H, W] bool`, where it found each in the result, empty where the source's is untracked;
    `scores/NAME` `[n] float32`, its IoU of source and result, NaN on frames where the source's is untracked (a chosen
    person's wherever no detector chose one), and `iou`, the worst of those that are gated. The committed info holds, a
    value a frame (None where untracked), the worst of the gated ones': `iou`, `boundary_f`, `containment`, `clipping`;
    `visible` (whether all of them are present in the generated frames), `failed` (absolute half-open spans at or below
    the threshold) and `seam` for `seam_ratio`.

    Raises:
        RunDirectoryError: a segment that is missing, damaged, or of another length or size.
    """

    name: ClassVar[str] = "score"
    facts = (*JudgingStage.facts, "blend", "sink")

    def __init__(self, config: ScoreConfig, model: SamModel) -> None:
        super().__init__(config, model)
        values = ("iou", *(f"{SCORES}{name}" for name in config.names))
        self.writes = (
            *(Port(name, "final", (), "float32", fill=float("nan")) for name in values),
            *(Port(f"{FOUND}{name}", "final", MASK, "bool") for name in config.names),
        )
        self._reverse = self.config.reverse(self.model)

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Score the window's final frames."""
        encoded = inputs.info["sink"]
        segment = inputs.folder / str(encoded["segment"])
        scores = self._score(self._reverse, segment, window, inputs, encoded.get("size"))
        values = np.array(scores.iou, dtype=np.float32)
        fade = inputs.info.get("blend", {}).get("crossfade", (window.final.start, window.final.start))
        arrays = {"iou": values}
        arrays |= {f"{SCORES}{name}": np.array(own.iou, dtype=np.float32) for name, own in scores.subjects.items()}
        arrays |= {f"{FOUND}{name}": np.stack(own.found) for name, own in scores.subjects.items()}
        return Output(
            arrays,
            {
                "iou": rounded(scores.iou),
                "boundary_f": rounded(scores.worst("boundary_f")),
                "containment": rounded(scores.worst("containment")),
                "clipping": rounded(scores.worst("clipping", high=True)),
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
        subjects = self.config.subjects
        ram, vram = sam_peak_bytes(self.model.config, len(subjects), most_prompts(subjects))
        frame = height * width * 20 * len(subjects) if window_frames else 0
        return ram + window_frames * height * width * 2 * len(subjects) + frame, vram
