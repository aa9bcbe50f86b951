"""Following the source's subjects once more, in something that was made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages import bounds
from stages.base import Array, Inputs, Read, Stage, Window
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import FrameScores, ReverseTracker, note_tracking
from stages.sam.session import clip_frames_min16
from stages.subjects import OBJECT, PERSON, Subject
from stages.video.segment import read_segment
from stages.views.names import view_name
from storage.errors import RunDirectoryError


@dataclass(frozen=True)
class ScoreConfig:
    """What is scored.

    Attributes:
        subjects: with their prompts as tracking had them, given again on the same frames.
        gated: the names of those whose IoU a frame passes by.
        iou_threshold: a frame passes when it is above it (0..1).
        chosen: the person whom the pose stage chooses; None: there is none.
        through_views: whether it looks through the views (`views/track-NAME`), as tracking did.
        apart: whether a pixel belongs to one subject alone, as in tracking.
    """

    subjects: tuple[Subject, ...]
    gated: tuple[str, ...] = (OBJECT,)
    iou_threshold: float = 0.90
    chosen: str | None = PERSON
    through_views: bool = False
    apart: bool = False

    def __post_init__(self) -> None:
        for subject in self.subjects:
            PromptSchedule.of(subject)
        bounds.IOU.check("--iou-threshold", self.iou_threshold)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the subjects."""
        return tuple(subject.name for subject in self.subjects)

    @property
    def masks(self) -> tuple[Read, ...]:
        """What is read of tracking: masks, and views where it looks through them."""
        views = [view_name(name) for name in self.names] if self.through_views else []
        return tuple(Read(name, "final") for name in (*(f"masks/{name}" for name in self.names), *views))

    def reverse(self, model: SamModel) -> ReverseTracker:
        """What follows them in the result."""
        return ReverseTracker(model, self.subjects, self.gated, self.through_views, self.chosen, self.apart)

    def sources(self, inputs: Inputs) -> tuple[dict[str, Array], dict[str, Array] | None]:
        """By subject its masks, and its views where it looks through them."""
        views = {name: inputs.arrays[view_name(name)] for name in self.names} if self.through_views else None
        return {name: inputs.arrays[f"masks/{name}"] for name in self.names}, views


class JudgingStage(Stage):
    """What follows the source's subjects once more in something made of them. The SAM 2.1 is shared with tracking."""

    lane = "gpu"
    facts: tuple[str, ...] = ("decode", "pose", "track")
    weights = "sam"

    def __init__(self, config: ScoreConfig, model: SamModel) -> None:
        self.config = config
        self.model = model
        self.reads = (*self.reads, *config.masks)

    def open(self) -> None:
        """Load the model, unless a stage that shares it has."""
        self.model.load()

    def leave_gpu(self) -> None:
        """Move the shared model's weights off the GPU."""
        self.model.to_cpu()

    def release(self) -> None:
        """Close the shared model."""
        self.model.close()

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
        masks, views = self.config.sources(inputs)
        height, width = next(iter(masks.values())).shape[1:]
        note_tracking(tracker, inputs)
        length = min(clip_frames_min16(inputs), window.final.stop if window.last else 16)
        shown = read_segment(segment, height, width, size)
        frames = exactly(shown, window.final.frames, segment)
        return tracker.score(frames, masks, length, views)


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
