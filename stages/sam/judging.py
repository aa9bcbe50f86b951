"""Following the source's subjects once more, in something that was made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages import bounds
from stages.base import Array, Inputs, Read, Stage, Window
from stages.prompts import Box, Correction, ObjectPrompt
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import NAME, PERSON, FrameScores, ReverseTracker, note_tracking
from stages.sam.session import clip_frames_min16
from stages.video.segment import read_segment
from stages.views.names import view_name
from storage.errors import RunDirectoryError


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

    def _score(
        self,
        tracker: ReverseTracker,
        segment: Path,
        window: Window,
        inputs: Inputs,
        size: Sequence[int] | None = None,
    ) -> FrameScores:
        """The window's final frames as the segment has them, scored.

        Args:
            size: (width, height) of what was encoded, where that is not the frames'.

        Raises:
            RunDirectoryError: a segment that is missing, damaged, or of another length or size.
        """
        masks, persons = inputs.arrays["masks/object"], inputs.arrays["masks/person"]
        note_tracking(tracker, inputs, self.config.prompt, self.config.person_box)
        length = min(clip_frames_min16(inputs), window.final.stop if window.last else 16)
        views = None
        if self.config.through_views:
            views = {name: inputs.arrays[view_name(name)] for name in (NAME, PERSON)}
        shown = read_segment(segment, masks.shape[1], masks.shape[2], size)
        frames = exactly(shown, window.final.frames, segment)
        return tracker.score(frames, masks, persons, length, views)


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
