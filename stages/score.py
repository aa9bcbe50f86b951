"""The object's boundary in the finished picture against its boundary in the source, frame by frame."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from stages import bounds
from stages.base import MASK, Array, Inputs, Json, Output, Port, Read, Stage, Window
from stages.metrics import failed_spans, rounded
from stages.prompts import Box, Correction, ObjectPrompt
from stages.sam.footprint import sam_peak_bytes
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import NAME, PERSON, FrameScores, ReverseState, ReverseTracker, note_tracking
from stages.track import clip_frames_min16
from stages.video.segment import read_segment
from stages.views.names import view_name
from storage.errors import RunDirectoryError

FOUND = "found/"  # before a subject's name: its masks in the result


@dataclass(frozen=True)
class ScoreConfig:
    """What is scored.

    Attributes:
        prompt, corrections: the object's, as tracking had them; given again on the same frames.
        iou_threshold: a frame passes when its IoU is above it (0..1).
        person_box: the person's, where one was given: on the prompt's frame.
        through_views: whether it looks through the views (`views/track-NAME`), as tracking did.
    """

    prompt: ObjectPrompt
    corrections: tuple[Correction, ...]
    iou_threshold: float = 0.90
    person_box: Box | None = None
    through_views: bool = False

    def __post_init__(self) -> None:
        PromptSchedule(self.prompt, self.corrections)
        bounds.IOU.check("--iou-threshold", self.iou_threshold)


class JudgingStage(Stage):
    """What follows the source's subjects once more in something made of them. The SAM 2.1 is shared with tracking."""

    lane = "gpu"
    facts: tuple[str, ...] = ("decode", "pose", "track")
    weights = "sam"

    def __init__(self, config: ScoreConfig, model: SamModel) -> None:
        self.config = config
        self.model = model
        if config.through_views:
            self.reads = (*self.reads, *(Read(view_name(name), "final") for name in (NAME, PERSON)))

    def open(self) -> None:
        """Load the model, unless a stage that shares it has."""
        self.model.load()

    def leave_gpu(self) -> None:
        """Move the shared model's weights off the GPU."""
        self.model.to_cpu()

    def _tracker(self) -> ReverseTracker:
        schedule = PromptSchedule(self.config.prompt, self.config.corrections)
        return ReverseTracker(self.model, schedule, self.config.through_views)

    def _score(self, tracker: ReverseTracker, segment: Path, window: Window, inputs: Inputs) -> FrameScores:
        """The window's final frames as the segment has them, scored.

        Raises:
            RunDirectoryError: a segment that is missing, damaged, or of another length or size.
        """
        masks, persons = inputs.arrays["masks/object"], inputs.arrays["masks/person"]
        note_tracking(tracker, inputs, self.config.prompt, self.config.person_box)
        length = min(clip_frames_min16(inputs), window.final.stop if window.last else 16)
        views = None
        if self.config.through_views:
            views = {name: inputs.arrays[view_name(name)] for name in (NAME, PERSON)}
        frames = exactly(read_segment(segment, masks.shape[1], masks.shape[2]), window.final.frames, segment)
        return tracker.score(frames, masks, persons, length, views)


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
        segment = inputs.folder / str(inputs.info["sink"]["segment"])
        scores = self._score(self._reverse, segment, window, inputs)
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


def exactly(frames: Iterator[Array], count: int, path: Path) -> Iterator[Array]:
    """Pass `count` frames on.

    Raises:
        RunDirectoryError: when the segment holds fewer or more.
    """
    found = 0
    for found, frame in enumerate(frames, start=1):
        if found > count:
            break
        yield frame
    if found != count:
        more = "more than " if found > count else f"{found} of "
        raise RunDirectoryError(f"segment {path} holds {more}{count} frames: redo its window")
