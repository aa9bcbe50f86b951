"""What tracking is told, and what it carries from window to window."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from stages.base import MASK, Array, Json, Port, State
from stages.sam.prompts import PromptSchedule
from stages.subjects import PERSON, Subject
from storage.errors import UsageError

ON_CUT = ("ignore", "stop", "reset", "split")


@dataclass(frozen=True)
class TrackConfig:
    """What is tracked.

    Attributes:
        subjects: each from its prompt on. On frames before it is untracked: an empty mask, not visible; frames before
            every prompt are never shown to the model.
        chosen: the one whom the pose stage chooses, where nobody points at it or a cut has ended that; None: pose works
            behind tracking and chooses nobody.
        on_cut: what a hard scene cut does. `ignore`: nothing. `split`: SAM 2.1 goes on, and what it finds behind the
            cut is believed where it looks like the subject (`stages.likeness`). `reset`: from the cut on, all are
            untracked until their next prompt or correction, or until the pose stage chooses anew at or after the cut; a
            prompt on the cut's own frame is applied after the reset. `stop`: from the first cut on nothing is tracked
            any more, corrections included, and `info["stop"]` holds the cut's frame: the rest of the clip has empty
            masks, so it passes through the chain as the source has it, unless the pipeline ends the clip there.
        look: "frames": at the whole frames; "first": at some of them (`stages.views.pace`), and what is found only
            tells a second pass where to look; "views": at each subject through its view, which is that second pass;
            "chase": at each through a view round where it was on the frame before (`stages.views.chase`).
        apart: whether a pixel belongs to one subject alone (`stages.sam.apart`); in a chase it always does.
    """

    subjects: tuple[Subject, ...]
    on_cut: str = "ignore"
    look: str = "frames"
    chosen: str | None = PERSON
    apart: bool = False

    def __post_init__(self) -> None:
        for subject in self.subjects:
            PromptSchedule.of(subject)
        if self.on_cut not in ON_CUT:
            raise UsageError(f"--on-cut {self.on_cut}: choose one of {', '.join(ON_CUT)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the subjects."""
        return tuple(subject.name for subject in self.subjects)


def track_ports(names: Sequence[str]) -> tuple[Port, ...]:
    """What tracking writes of these subjects."""
    masks = (Port(f"masks/{name}", "new", MASK, "bool") for name in names)
    return (*masks, *(Port(f"visible/{name}", "new", (), "bool") for name in names))


@dataclass
class TrackState(State):
    """What tracking carries: bounded by 1 + corrections conditioning frames, 6 memories and 15 pointers an object.

    Attributes:
        next_frame: the first frame not tracked yet.
        pace, last: of a first pass, its `Pace`.
        size: H, W of the frames, None before the first window.
        clip_frames_min16: `min(T, 16)` of the clip, as the first window gave it.
        stop: the cut that ended tracking with `on_cut="stop"`.
        banks: by object, frame indices and dtypes (`stages.sam.session.MemoryBank`).
        tensors: by `object.name`, the memories themselves; bfloat16 as uint16 bits.
        known, looks: with `on_cut="split"`, by object, its `Likeness`.
        places, own: of a chase, its `Whose`.
    """

    version: ClassVar[int] = 6

    next_frame: int = 0
    pace: dict[str, Json] = field(default_factory=dict)
    last: dict[str, Array] = field(default_factory=dict)
    size: list[int] | None = None
    clip_frames_min16: int = 16
    stop: int | None = None
    banks: dict[str, Json] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    known: dict[str, Json] = field(default_factory=dict)
    looks: dict[str, Array] = field(default_factory=dict)
    places: dict[str, Json] = field(default_factory=dict)
    own: dict[str, Array] = field(default_factory=dict)
