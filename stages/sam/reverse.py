"""Reverse tracking: object and person followed in generated frames with the source's prompts, and measured by masks."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from stages.base import Array, Inputs, Json, State
from stages.metrics import boundary_f, change_picture, clipping, containment, iou, region_change, seam_facts
from stages.prompts import Box, ObjectPrompt
from stages.sam.frames import feed
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule, SamPrompt
from stages.sam.tracker import Tracker

NAME, PERSON = "object", "person"


@dataclass
class ReverseState(State):
    """What reverse tracking carries.

    Attributes:
        next_frame: the first frame not scored yet.
        size: H, W of the masks, None before the first frame.
        clip_frames_min16: `min(T, 16)` of the clip, as the first call gave it.
        untracked, person_untracked: half-open spans, from `next_frame` on, in which the source's object and person were
            untracked.
        persons: `[frame, x1, y1, x2, y2]` each: where the person is prompted, from `next_frame` on.
        banks, tensors: the reverse tracker's memory, as in `TrackState`.
        picture: `[h, w, 4] uint8` reduced last frame and region, for the seam.
    """

    version: ClassVar[int] = 2

    next_frame: int = 0
    size: list[int] | None = None
    clip_frames_min16: int = 16
    untracked: list[list[int]] = field(default_factory=list)
    person_untracked: list[list[int]] = field(default_factory=list)
    persons: list[list[float]] = field(default_factory=list)
    banks: dict[str, Json] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    picture: Array | None = None


@dataclass
class FrameScores:
    """Scores of consecutive frames; NaN on untracked frames.

    Attributes:
        start: absolute index of the first.
        iou, boundary_f, containment, clipping: of the object, see `stages.metrics`.
        person_iou: of the person.
        visible: SAM 2.1's object score > 0 in the generated frames.
        found, found_person: `[H, W]` bool each: where the two were found, empty on untracked frames.
        change: mean change of the regenerated region since the frame before; None on the first frame, or without one.
    """

    start: int
    iou: list[float] = field(default_factory=list)
    person_iou: list[float] = field(default_factory=list)
    boundary_f: list[float] = field(default_factory=list)
    containment: list[float] = field(default_factory=list)
    clipping: list[float] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)
    found: list[Array] = field(default_factory=list)
    found_person: list[Array] = field(default_factory=list)
    change: list[float | None] = field(default_factory=list)

    def seam(self, fade: tuple[int, int] = (0, 0), cut: bool = False) -> dict[str, Json]:
        """What `seam_ratio` needs of this window, whose frames of the clip from `fade[0]` to `fade[1]` are crossfaded;
        behind a `cut` nothing leads onto its first frame."""
        changes = [None, *self.change[1:]] if cut else self.change
        return seam_facts(changes, (fade[0] - self.start, fade[1] - self.start))


class ReverseTracker:
    """Scores generated frames in order, any number at a time, carrying its own SAM 2.1 memory.

    The same prompts and corrections are given on the same frames as in the source. Where the source's object or person
    was untracked (before the prompt, or after a cut's reset) its memory is dropped and the frame is not scored.
    """

    def __init__(self, model: SamModel, schedule: PromptSchedule, viewed: bool = False) -> None:
        """
        Args:
            viewed: whether it looks through the views that the source was tracked through.
        """
        self._model = model
        self._schedule = schedule
        self._viewed = viewed
        self._state = ReverseState()
        self._tracker: Tracker | None = None

    def add_untracked(self, spans: Iterable[Iterable[int]]) -> None:
        """Note half-open spans, at or after the next frame, in which the source's object is untracked."""
        self._state.untracked += [[int(value) for value in span] for span in spans]

    def add_person(self, prompts: Iterable[Iterable[float]], untracked: Iterable[Iterable[int]]) -> None:
        """Note where the source's person is prompted (`[frame, x1, y1, x2, y2]`) and untracked, as `add_untracked`."""
        self._state.persons += [[float(value) for value in prompt] for prompt in prompts]
        self._state.person_untracked += [[int(value) for value in span] for span in untracked]

    def score(
        self,
        frames: Iterable[Array],
        object_masks: Iterable[Array],
        person_masks: Iterable[Array] | None = None,
        clip_frames_min16: int = 16,
        views: Mapping[str, Array] | None = None,
    ) -> FrameScores:
        """Score the next frames of the clip.

        Args:
            frames: `[H, W, 3] uint8 RGB` generated frames, decoded one at a time.
            object_masks: `[H, W] bool`, the object in the source, one a frame.
            person_masks: `[H, W] bool`, the person in the source; without it `clipping` is NaN.
            clip_frames_min16: `min(T, 16)` of a clip of T frames; the clip's first call decides.
            views: by "object" and "person", `[n, 2, 3]` float64 of these frames, where it looks through views.

        Raises:
            ValueError: when there are not as many frames as masks.
            InputError: when a prompt does not fit the frames.
        """
        state = self._state
        scores = FrameScores(state.next_frame)
        if state.next_frame == 0:
            state.clip_frames_min16 = clip_frames_min16
        persons: Iterable[Array | None] = repeat(None) if person_masks is None else person_masks
        masks = zip(object_masks, persons, strict=person_masks is not None)
        self._model.to_device()
        shown = feed(self._model, frames, self._viewed)
        for at, ((frame, image), (source, person)) in enumerate(zip(shown, masks, strict=True)):
            tracker = self._begin(*source.shape)
            index = state.next_frame
            prompts = self._prompts(index, tracker, *source.shape)
            looks = {name: each[at] for name, each in (views or {}).items()}
            seen = tracker.see(index, frame, image, looks, prompts, state.clip_frames_min16)
            known = None if person is None or PERSON not in seen else iou(person, seen[PERSON].mask)
            scores.person_iou.append(math.nan if known is None else known)
            nothing = np.zeros(source.shape, bool)
            scores.found.append(seen[NAME].mask if NAME in seen else nothing)
            scores.found_person.append(seen[PERSON].mask if PERSON in seen else nothing)
            if NAME not in seen:
                self._add(scores, frame, source, person, None, False)
            else:
                self._add(scores, frame, source, person, seen[NAME].mask, bool(seen[NAME].tracked.visible))
            state.next_frame = index + 1
        state.untracked = [span for span in state.untracked if span[1] > state.next_frame]
        state.person_untracked = [span for span in state.person_untracked if span[1] > state.next_frame]
        state.persons = [prompt for prompt in state.persons if prompt[0] >= state.next_frame]
        return scores

    def _prompts(self, index: int, tracker: Tracker, height: int, width: int) -> dict[str, SamPrompt]:
        """What is prompted on this frame; what was untracked in the source is dropped."""
        prompts = {}
        if self._is_untracked(index):
            tracker.drop(NAME)
        elif (prompt := self._schedule.at(index, height, width)) is not None:
            prompts[NAME] = prompt
        if any(start <= index < stop for start, stop in self._state.person_untracked):
            tracker.drop(PERSON)
        elif PERSON not in tracker:
            chosen = [SamPrompt(box=(x1, y1, x2, y2)) for at, x1, y1, x2, y2 in self._state.persons if at == index]
            if chosen:
                prompts[PERSON] = chosen[-1]
        return prompts

    def _add(
        self, scores: FrameScores, frame: Array, source: Array, person: Array | None, found: Array | None, visible: bool
    ) -> None:
        scores.iou.append(math.nan if found is None else iou(source, found))
        scores.boundary_f.append(math.nan if found is None else boundary_f(source, found))
        scores.containment.append(math.nan if found is None else containment(source, found))
        scores.clipping.append(math.nan if found is None or person is None else clipping(source, found, person))
        scores.visible.append(visible)
        picture = change_picture(frame, source if person is None else source | person)
        before = self._state.picture
        scores.change.append(None if before is None else region_change(before, picture))
        self._state.picture = picture

    def _begin(self, height: int, width: int) -> Tracker:
        if self._tracker is None:
            self._schedule.check_inside(height, width)
            self._tracker = self._new_tracker(height, width)
            self._state.size = [height, width]
        return self._tracker

    def _new_tracker(self, height: int, width: int) -> Tracker:
        return Tracker(self._model, height, width, self._viewed)

    def _is_untracked(self, frame: int) -> bool:
        return frame < self._schedule.prompt.frame or any(a <= frame < b for a, b in self._state.untracked)

    def close(self) -> None:
        """Let the memories go."""
        self._tracker = None

    def get_state(self) -> ReverseState:
        """The state after the last frame; a copy."""
        banks, tensors = self._tracker.banks() if self._tracker is not None else ({}, {})
        state = self._state
        return dataclasses.replace(
            state,
            untracked=[list(span) for span in state.untracked],
            person_untracked=[list(span) for span in state.person_untracked],
            persons=[list(prompt) for prompt in state.persons],
            banks=banks,
            tensors=tensors,
        )

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take a state back."""
        self._state = state = ReverseState.from_parts(values, arrays)
        self._tracker = None
        if state.size is not None:
            self._tracker = self._new_tracker(state.size[0], state.size[1])
            self._tracker.restore(state.banks, state.tensors)
            state.banks, state.tensors = {}, {}  # the tracker holds them now


def note_tracking(tracker: ReverseTracker, inputs: Inputs, prompt: ObjectPrompt, person_box: Box | None) -> None:
    """Tell a reverse tracker what the source's tracking told of this window's new frames, which run ahead of its final
    ones: where nothing was tracked, and where a person may have been begun with."""
    untracked: Mapping[str, Any] = inputs.info.get("track", {}).get("untracked", {})
    pose = inputs.info.get("pose", {})
    chosen = [found for found in (pose.get("person"), *pose.get("again", ())) if found is not None]
    persons = {int(found["frame"]): found["box"] for found in chosen}
    if person_box is not None:
        persons[prompt.frame] = person_box
    tracker.add_untracked(untracked.get("object", []))
    tracker.add_person([[frame, *box] for frame, box in persons.items()], untracked.get("person", []))
