"""Reverse tracking: subjects followed in generated frames with the source's prompts, and measured by masks."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from stages.base import Array, Inputs, Json, State
from stages.metrics import boundary_f, change_picture, clipping, containment, iou, region_change, seam_facts
from stages.sam.apart import apart
from stages.sam.frames import feed
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule, SamPrompt
from stages.sam.tracker import Tracker
from stages.subjects import PERSON, Subject


@dataclass
class ReverseState(State):
    """What reverse tracking carries.

    Attributes:
        next_frame: the first frame not scored yet.
        size: H, W of the masks, None before the first frame.
        clip_frames_min16: `min(T, 16)` of the clip, as the first call gave it.
        untracked: by subject, half-open spans, from `next_frame` on, in which the source's was untracked.
        persons: `[frame, x1, y1, x2, y2]` each: where the chosen person is prompted, from `next_frame` on.
        banks, tensors: the reverse tracker's memory, as in `TrackState`.
        picture: `[h, w, 4] uint8` reduced last frame and region, for the seam.
    """

    version: ClassVar[int] = 3

    next_frame: int = 0
    size: list[int] | None = None
    clip_frames_min16: int = 16
    untracked: dict[str, list[list[int]]] = field(default_factory=dict)
    persons: list[list[float]] = field(default_factory=list)
    banks: dict[str, Json] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    picture: Array | None = None


@dataclass
class SubjectScores:
    """Scores of a subject on consecutive frames; NaN on untracked frames.

    Attributes:
        iou, boundary_f, containment, clipping: see `stages.metrics`; the last three of judged subjects alone.
        visible: SAM 2.1's object score > 0 in the generated frames.
        found: `[H, W]` bool each: where it was found, empty on untracked frames.
    """

    iou: list[float] = field(default_factory=list)
    boundary_f: list[float] = field(default_factory=list)
    containment: list[float] = field(default_factory=list)
    clipping: list[float] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)
    found: list[Array] = field(default_factory=list)


@dataclass
class FrameScores:
    """Scores of consecutive frames.

    Attributes:
        start: absolute index of the first.
        subjects: by name. judged: whose scores count.
        change: mean change of the regenerated region since the frame before; None on the first frame, or without one.
    """

    start: int
    subjects: dict[str, SubjectScores]
    judged: Sequence[str] = ()
    change: list[float | None] = field(default_factory=list)

    @property
    def iou(self) -> list[float]:
        """Of each frame that of the worst judged subject; NaN where none is tracked."""
        return self.worst("iou")

    @property
    def visible(self) -> list[bool]:
        """Whether all judged subjects are to be seen in the generated frames."""
        columns = [self.subjects[name].visible for name in self.judged]
        return [all(flags) for flags in zip(*columns, strict=True)] if columns else [False] * len(self.change)

    def worst(self, metric: str, high: bool = False) -> list[float]:
        """Of each frame the lowest (`high`: the highest) value of a metric among the judged subjects; NaN where there
        is none."""
        columns = [getattr(self.subjects[name], metric) for name in self.judged]
        if not columns:
            return [math.nan] * len(self.change)
        rows = ([value for value in row if not math.isnan(value)] for row in zip(*columns, strict=True))
        return [(max(row) if high else min(row)) if row else math.nan for row in rows]

    def seam(self, fade: tuple[int, int] = (0, 0), cut: bool = False) -> dict[str, Json]:
        """What `seam_ratio` needs of this window, whose frames of the clip from `fade[0]` to `fade[1]` are crossfaded;
        behind a `cut` nothing leads onto its first frame."""
        changes = [None, *self.change[1:]] if cut else self.change
        return seam_facts(changes, (fade[0] - self.start, fade[1] - self.start))


class ReverseTracker:
    """Scores generated frames in order, any number at a time, carrying its own SAM 2.1 memory.

    The same prompts and corrections are given on the same frames as in the source. Where a subject was untracked in the
    source (before the prompt, or after a cut's reset) its memory is dropped and the frame is not scored.
    """

    def __init__(
        self,
        model: SamModel,
        subjects: Sequence[Subject],
        judged: Sequence[str],
        viewed: bool = False,
        chosen: str | None = None,
        apart: bool = False,
    ) -> None:
        """
        Args:
            subjects: who is followed. judged: the names of those whose scores count.
            viewed: whether it looks through the views that the source was tracked through.
            chosen: the person whom the pose stage chose in the source, where it did.
            apart: whether a pixel belongs to one subject alone, as in the source.
        """
        self._model = model
        self._schedules = {subject.name: PromptSchedule.of(subject) for subject in subjects}
        self._persons = [subject.name for subject in subjects if subject.kind == PERSON]
        self._judged = tuple(judged)
        self._viewed = viewed
        self._chosen = chosen
        self._apart = apart
        self._state = ReverseState()
        self._tracker: Tracker | None = None

    def add_untracked(self, spans: Mapping[str, Iterable[Iterable[int]]]) -> None:
        """Note half-open spans by subject, at or after the next frame, in which it is untracked in the source."""
        for name, each in spans.items():
            own = self._state.untracked.setdefault(name, [])
            own += [[int(value) for value in span] for span in each]

    def add_chosen(self, prompts: Iterable[Iterable[float]]) -> None:
        """Note where the chosen person is prompted in the source: `[frame, x1, y1, x2, y2]` each."""
        self._state.persons += [[float(value) for value in prompt] for prompt in prompts]

    def score(
        self,
        frames: Iterable[Array],
        masks: Mapping[str, Iterable[Array]],
        clip_frames_min16: int = 16,
        views: Mapping[str, Array] | None = None,
    ) -> FrameScores:
        """Score the next frames of the clip.

        Args:
            frames: `[H, W, 3] uint8 RGB` generated frames, decoded one at a time.
            masks: by subject `[H, W] bool`, where it is in the source, one a frame; without those of a person
                `clipping` is NaN.
            clip_frames_min16: `min(T, 16)` of a clip of T frames; the clip's first call decides.
            views: by subject, `[n, 2, 3]` float64 of these frames, where it looks through views.

        Raises:
            ValueError: when there are not as many frames as masks.
            InputError: when a prompt does not fit the frames.
        """
        state = self._state
        scores = FrameScores(state.next_frame, {name: SubjectScores() for name in masks}, self._judged)
        if state.next_frame == 0:
            state.clip_frames_min16 = clip_frames_min16
        self._model.to_device()
        shown = feed(self._model, frames, self._viewed)
        for at, ((frame, image), *each) in enumerate(zip(shown, *masks.values(), strict=True)):
            sources = dict(zip(masks, each, strict=True))
            shape = each[0].shape
            tracker = self._begin(*shape)
            index = state.next_frame
            prompts = self._prompts(index, tracker, *shape)
            looks = {name: view[at] for name, view in (views or {}).items()}
            seen = tracker.see(index, frame, image, looks, prompts, state.clip_frames_min16)
            seen = apart(seen) if self._apart else seen
            for name, source in sources.items():
                found = seen.get(name)
                self._add(scores, name, sources, None if found is None else found.mask)
                scores.subjects[name].visible.append(found is not None and bool(found.tracked.visible))
                scores.subjects[name].found.append(np.zeros(source.shape, bool) if found is None else found.mask)
            picture = change_picture(frame, np.logical_or.reduce(each))
            scores.change.append(None if state.picture is None else region_change(state.picture, picture))
            state.picture = picture
            state.next_frame = index + 1
        state.untracked = {
            name: [span for span in spans if span[1] > state.next_frame] for name, spans in state.untracked.items()
        }
        state.persons = [prompt for prompt in state.persons if prompt[0] >= state.next_frame]
        return scores

    def _prompts(self, index: int, tracker: Tracker, height: int, width: int) -> dict[str, SamPrompt]:
        """What is prompted on this frame; what was untracked in the source is dropped."""
        prompts = {}
        for name, schedule in self._schedules.items():
            if self._is_untracked(name, index):
                tracker.drop(name)
                continue
            own = None if schedule is None else schedule.at(index, height, width)
            if own is None and name == self._chosen and name not in tracker:
                chosen = [SamPrompt(box=(x1, y1, x2, y2)) for at, x1, y1, x2, y2 in self._state.persons if at == index]
                own = chosen[-1] if chosen else None
            if own is not None:
                prompts[name] = own
        return prompts

    def _add(self, scores: FrameScores, name: str, sources: Mapping[str, Array], found: Array | None) -> None:
        """Compare a subject's mask of a frame with the source's."""
        own, source = scores.subjects[name], sources[name]
        own.iou.append(math.nan if found is None else iou(source, found))
        if name not in self._judged:
            return
        others = [sources[person] for person in self._persons if person in sources and person != name]
        own.boundary_f.append(math.nan if found is None else boundary_f(source, found))
        own.containment.append(math.nan if found is None else containment(source, found))
        beside = None if found is None or not others else clipping(source, found, np.logical_or.reduce(others))
        own.clipping.append(math.nan if beside is None else beside)

    def _begin(self, height: int, width: int) -> Tracker:
        if self._tracker is None:
            for schedule in self._schedules.values():
                if schedule is not None:
                    schedule.check_inside(height, width)
            self._tracker = self._new_tracker(height, width)
            self._state.size = [height, width]
        return self._tracker

    def _new_tracker(self, height: int, width: int) -> Tracker:
        return Tracker(self._model, height, width, self._viewed)

    def _is_untracked(self, name: str, frame: int) -> bool:
        schedule = self._schedules[name]
        before = schedule is not None and frame < schedule.prompt.frame
        return before or any(a <= frame < b for a, b in self._state.untracked.get(name, ()))

    def close(self) -> None:
        """Let the memories go."""
        self._tracker = None

    def get_state(self) -> ReverseState:
        """The state after the last frame; a copy."""
        banks, tensors = self._tracker.banks() if self._tracker is not None else ({}, {})
        state = self._state
        return dataclasses.replace(
            state,
            untracked={name: [list(span) for span in spans] for name, spans in state.untracked.items()},
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


def note_tracking(tracker: ReverseTracker, inputs: Inputs) -> None:
    """Tell a reverse tracker what the source's tracking told of this window's new frames, which run ahead of its final
    ones: where nothing was tracked, and where a chosen person may have been begun with."""
    untracked: Mapping[str, Any] = inputs.info.get("track", {}).get("untracked", {})
    pose = inputs.info.get("pose", {})
    chosen = [found for found in (pose.get("person"), *pose.get("again", ())) if found is not None]
    persons = {int(found["frame"]): found["box"] for found in chosen}
    tracker.add_untracked(untracked)
    tracker.add_chosen([[frame, *box] for frame, box in persons.items()])
