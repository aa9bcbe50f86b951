"""Masks of every subject on every frame, by SAM 2.1, bit-identical to the stock predictor over the whole clip."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from stages.base import Array, Inputs, Json, Output, Read, Stage, Window
from stages.likeness import Likeness
from stages.metrics import flag_spans
from stages.prompts import Box
from stages.sam.apart import apart
from stages.sam.footprint import sam_peak_bytes
from stages.sam.frames import feed
from stages.sam.hindsight import Changes, Hindsight
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule, SamPrompt
from stages.sam.session import Tracked, clip_frames_min16
from stages.sam.tracker import Seen, Tracker
from stages.sam.tracking import ON_CUT, TrackConfig, TrackState, track_ports
from stages.sam.whose import Whose
from stages.subjects import most_prompts
from stages.views.look import box_of
from stages.views.names import FIRST, LOOKED, first_ports, view_name, view_ports
from stages.views.pace import Pace
from stages.views.path import whole

__all__ = ["ON_CUT", "LogitsObserver", "TrackConfig", "TrackStage", "TrackState", "decoded_cuts", "track_ports"]


class LogitsObserver(Protocol):
    """Called with every frame's result, for tests and benches: the frame, the object's name, what the step gave."""

    def __call__(self, frame: int, name: str, tracked: Tracked, /) -> None: ...


class TrackStage(Stage):
    """Follows every subject through the new frames of each window, in the whole frame or through views.

    Reads `frames` `[n, H, W, 3] uint8 RGB`; `info["pose"]["person"]` = `{"frame": F, "box": [x1, y1, x2, y2]}` in the
    window where the person was chosen, and `info["pose"]["again"]`, a list of such choices behind cuts;
    `info["decode"]["cuts"]`, the new frames before which a cut lies; `info["decode"]["clip_frames_min16"]` = min(clip's
    length, 16), needed where a window is shorter than 16 frames: SAM 2 encodes pointers differently in a clip shorter
    than that. Through views also `views/track-NAME` `[n, 2, 3]`; a chase writes them.

    Writes `masks/NAME` `[n, H, W] bool` (video-resolution logits > 0) and `visible/NAME` `[n] bool` (object score > 0)
    of each. Masks of several may overlap, as SAM 2.1 gives them, but `apart`; then who is left no pixel is lost. A lost
    object has an empty mask. The committed info holds, in absolute half-open spans of this window's new frames: `stop`
    (frame or None), and `untracked`, `lost` and `unlike` (something was found behind a cut that does not look like it:
    its mask is empty, SAM's memory goes on) by name.

    A first pass writes `first/NAME` `[n, 4] float64` instead, the box of each (`box_of`; NaN where it did not look, or
    saw nothing), and `looked` `[n] bool`. To its SAM 2.1 the frames it looks at are the clip, one after the other. It
    looks where its pace asks for it, at every frame with a prompt, and at both sides of a cut or of a shot's end.

    Raises:
        InputError: a prompt outside the frame, past the clip's end, or an unusable mask.
        EnvironmentFault: weights that cannot be used.
    """

    name: ClassVar[str] = "track"
    lane = "gpu"
    reads: tuple[Read, ...] = (Read("frames", "new"),)
    weights = "sam"

    def __init__(self, config: TrackConfig, model: SamModel, observer: LogitsObserver | None = None) -> None:
        self.config = config
        self._model = model
        self._observer = observer
        self._schedules = {subject.name: PromptSchedule.of(subject) for subject in config.subjects}
        self.facts = ("decode", "pose") if config.chosen is not None else ("decode",)
        self._state = TrackState()
        self._known = {name: Likeness() for name in config.names}
        self._pace = Pace()
        self._tracker: Tracker | None = None
        self._whose: Whose | None = None
        self.writes = first_ports(config.names) if config.look == "first" else track_ports(config.names)
        if config.look == "chase":
            self.writes += view_ports(config.names)
        if config.look == "views":
            self.reads = (Read("frames", "new"), *(Read(view_name(name), "new") for name in config.names))

    def open(self) -> None:
        """Load the model, unless the other stage that shares it has."""
        self._model.load()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Track the window's new frames."""
        if window.new.start != self._state.next_frame:
            raise ValueError(
                f"track got frames from {window.new.start} on, its state stands at {self._state.next_frame}"
            )
        self._check_prompts(window, inputs)
        self._model.to_device()
        found = self._glance(window, inputs) if self.config.look == "first" else self._follow(window, inputs)
        self._state.next_frame = window.new.stop
        return found

    def _follow(self, window: Window, inputs: Inputs) -> Output:
        """The masks of the window's new frames."""
        frames, span, names = inputs.arrays["frames"], window.new, self.config.names
        masks = {name: np.zeros(frames.shape[:3], dtype=bool) for name in names}
        visible = {name: np.zeros(span.frames, dtype=bool) for name in names}
        followed = {name: np.zeros(span.frames, dtype=bool) for name in names}
        views = self._views(inputs)
        shared_out = self.config.apart or self.config.look == "chase"  # who is left no pixel is not seen
        prompted = set[tuple[str, int]]()
        for offset, seen, prompts in self._seen(window, inputs, views):
            for name, found in seen.items():
                masks[name][offset] = found.mask
                visible[name][offset] = bool(found.tracked.visible) and (not shared_out or bool(found.mask.any()))
                followed[name][offset] = True
                if self._observer is not None:
                    self._observer(span.start + offset, name, found.tracked)
            prompted |= {(name, span.start + offset) for name in prompts}
        if self._whose is not None:
            for (name, offset), mask in self._whose.withheld.take().items():
                masks[name][offset], visible[name][offset] = mask, True
            missing = {name: followed[name] & ~visible[name] for name in names}
            for (name, offset), change in self._looked_back(window, inputs, masks, missing, prompted).items():
                masks[name][offset], views[name][offset] = change.mask, change.view
                visible[name][offset] = change.mask.any()
        lost = {name: followed[name] & ~visible[name] for name in names}
        unlike = {name: np.zeros(span.frames, dtype=bool) for name in names}
        for name, likeness in self._known.items() if self.config.on_cut == "split" else ():
            own = {index for subject, index in prompted if subject == name}
            cuts = decoded_cuts(inputs)
            unlike[name] = likeness.unlike(frames, masks[name], visible[name], span.start, cuts, own)
            masks[name][unlike[name]], visible[name][unlike[name]] = False, False
        arrays = {f"masks/{name}": masks[name] for name in names} | {f"visible/{name}": visible[name] for name in names}
        return Output(
            arrays | ({view_name(name): each for name, each in views.items()} if self._whose is not None else {}),
            {
                "stop": self._state.stop,
                "untracked": {name: flag_spans(~followed[name], span.start) for name in names},
                "lost": {name: flag_spans(lost[name], span.start) for name in names},
                "unlike": {name: flag_spans(unlike[name], span.start) for name in names},
            },
        )

    def _looked_back(
        self,
        window: Window,
        inputs: Inputs,
        masks: dict[str, Array],
        missing: dict[str, Array],
        prompted: set[tuple[str, int]],
    ) -> Changes:
        """What going back through a chase's window tells of those who were lost and found again.

        Args:
            prompted: name and frame, absolute.
        """
        assert self._whose is not None
        frames, start = inputs.arrays["frames"], window.new.start
        pointed = {(name, frame - start) for name, frame in prompted}
        hindsight = Hindsight(self._new_tracker(*frames.shape[1:3]), self._whose, masks, pointed)
        return hindsight.look_back(frames, missing, {cut - start for cut in decoded_cuts(inputs)})

    def _glance(self, window: Window, inputs: Inputs) -> Output:
        """Where each is on those of the window's new frames that are looked at."""
        span = window.new
        boxes = {name: np.full((span.frames, 4), np.nan) for name in self.config.names}
        looked = np.zeros(span.frames, dtype=bool)
        for offset, seen, _ in self._seen(window, inputs, {}):
            looked[offset] = True
            for name, found in seen.items():
                boxes[name][offset] = box_of(found.mask)
                if self._observer is not None:
                    self._observer(span.start + offset, name, found.tracked)
            if seen:
                self._pace.saw(span.start + offset, {name: boxes[name][offset] for name in seen})
        return Output({f"{FIRST}{name}": found for name, found in boxes.items()} | {LOOKED: looked})

    def _seen(
        self, window: Window, inputs: Inputs, views: dict[str, Array]
    ) -> Iterator[tuple[int, dict[str, Seen], Mapping[str, SamPrompt]]]:
        """Look at the window's new frames, or at those that a first pass looks at: yields the frame's number in the
        window, what is tracked on it, and what was prompted on it. A chase notes its `views`."""
        frames, span, state, first = inputs.arrays["frames"], window.new, self._state, self.config.look == "first"
        if self._tracker is None:
            self._tracker, self._whose = self._new_tracker(*frames.shape[1:3]), self._new_whose(*frames.shape[1:3])
        tracker = self._tracker
        persons, cuts = self._person_prompts(window, inputs), decoded_cuts(inputs)
        ends = cuts | ({span.stop} if window.ends_shot else set())
        for offset, (frame, image) in enumerate(feed(self._model, frames, bool(views) or first)):
            index = span.start + offset
            if index in cuts:
                self._meet_cut(index, tracker)
            prompts = self._prompts(index, frame, tracker, persons)
            if first and not (prompts or index >= self._pace.due or index in cuts or index + 1 in ends):
                continue
            if self._whose is not None:
                for name in self.config.names:
                    if name in prompts or name in tracker:
                        views[name][offset] = self._whose.view(name, prompts.get(name), frame)
            looks = {name: each[offset] for name, each in views.items()}
            number = self._pace.looks if first else index
            seen = tracker.see(number, frame, image, looks, prompts, state.clip_frames_min16)
            if self._whose is not None:
                seen = self._whose.settle(frame, seen, prompts)
            yield offset, apart(seen) if self.config.apart else seen, prompts

    def _views(self, inputs: Inputs) -> dict[str, Array]:
        """By name, `[n, 2, 3]`: the views that it is looked at through; of a chase, where nothing is, of all."""
        if self.config.look == "views":
            return {name: inputs.arrays[view_name(name)] for name in self.config.names}
        if self.config.look != "chase":
            return {}
        count, height, width = inputs.arrays["frames"].shape[:3]
        every = whole((width, height), (self._model.image_size,) * 2)
        return {name: np.repeat(every[None], count, 0) for name in self.config.names}

    def _new_tracker(self, height: int, width: int) -> Tracker:
        return Tracker(self._model, height, width, self.config.look in ("views", "chase"))

    def _new_whose(self, height: int, width: int) -> Whose | None:
        if self.config.look != "chase":
            return None
        return Whose.of(self.config.subjects, (width, height), self._model.image_size)

    def _check_prompts(self, window: Window, inputs: Inputs) -> None:
        height, width = inputs.arrays["frames"].shape[1:3]
        if self._state.size is None:
            for schedule in self._given():
                schedule.check_inside(height, width)
            self._state.size = [height, width]
            self._state.clip_frames_min16 = min(clip_frames_min16(inputs), window.new.stop if window.last else 16)
        if [height, width] != self._state.size:
            raise ValueError(
                f"track got {width}x{height} frames after {self._state.size[1]}x{self._state.size[0]} ones"
            )
        if window.last:
            for schedule in self._given():
                schedule.check_length(window.new.stop)

    def _given(self) -> list[PromptSchedule]:
        return [schedule for schedule in self._schedules.values() if schedule is not None]

    def _meet_cut(self, index: int, tracker: Tracker) -> None:
        """Act on a cut before this frame."""
        self._pace.forget()
        if self._whose is not None:
            self._whose.forget()
        if self.config.on_cut == "stop" and self._state.stop is None:
            self._state.stop = index
        if self.config.on_cut in ("stop", "reset"):
            for name in self.config.names:
                tracker.drop(name)

    def _prompts(self, index: int, frame: Array, tracker: Tracker, persons: Mapping[int, Box]) -> dict[str, SamPrompt]:
        """What is prompted on this frame, by name."""
        if self._state.stop is not None:
            return {}
        prompts: dict[str, SamPrompt] = {}
        for name, schedule in self._schedules.items():
            own = None if schedule is None else schedule.at(index, *frame.shape[:2])
            if own is None and name == self.config.chosen and index in persons and name not in tracker:
                own = SamPrompt(box=persons[index])
            if own is not None:
                prompts[name] = own
        return prompts

    def _person_prompts(self, window: Window, inputs: Inputs) -> dict[int, Box]:
        """Boxes by frame from which the chosen person can be followed in this window, while nobody is."""
        pose = inputs.info.get("pose", {})
        chosen = [found for found in (pose.get("person"), *pose.get("again", ())) if found is not None]
        outside = [found["frame"] for found in chosen if not window.new.start <= found["frame"] < window.new.stop]
        if outside:
            raise ValueError(
                f"pose chose the person on frame {outside[0]}, outside this window's new frames {tuple(window.new)}"
            )
        return {int(found["frame"]): _as_box(found["box"]) for found in chosen}

    def leave_gpu(self) -> None:
        """Move the shared model's weights off the GPU."""
        self._model.to_cpu()

    def release(self) -> None:
        """Close the shared model."""
        self._model.close()

    def close(self) -> None:
        """Let the memories go. The model belongs to whoever made it."""
        self._tracker = self._whose = None

    def get_state(self) -> TrackState:
        """The state after the last window; a copy."""
        state = self._state
        banks, tensors = self._tracker.banks() if self._tracker is not None else ({}, {})
        known = {name: likeness.values() for name, likeness in self._known.items()}
        looks = {name: likeness.look for name, likeness in self._known.items() if likeness.look.size}
        pace = {"looks": self._pace.looks, "due": self._pace.due}
        places, own = self._whose.parts() if self._whose is not None else ({}, {})
        found = dataclasses.replace(state, banks=banks, tensors=tensors, known=known, looks=looks)
        return dataclasses.replace(found, pace=pace, last=self._pace.last, places=places, own=own)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take a state back."""
        self._state = state = TrackState.from_parts(values, arrays)
        self._tracker = self._whose = None
        self._pace = Pace(**state.pace, last=state.last)
        blank = Likeness().look
        self._known = {
            name: Likeness(state.looks.get(name, blank), **state.known.get(name, {})) for name in self.config.names
        }
        if state.size is not None:
            self._tracker = self._new_tracker(state.size[0], state.size[1])
            self._tracker.restore(state.banks, state.tensors)
            self._whose = whose = self._new_whose(state.size[0], state.size[1])
            if whose is not None:
                whose.restore(state.places, state.own)
            state.banks, state.tensors, state.places, state.own = {}, {}, {}, {}  # tracker and chase hold them now

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected `(ram_bytes, vram_bytes)`: libraries, weights, activations, and the window's frames and masks."""
        subjects = self.config.subjects
        followed = len(subjects) * (2 if self.config.look == "chase" else 1)  # and their masks: backwards too
        ram, vram = sam_peak_bytes(self._model.config, followed, most_prompts(subjects))
        frame = height * width * 16 if window_frames else 0
        return ram + window_frames * height * width * (3 + followed) + frame, vram


def _as_box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def decoded_cuts(inputs: Inputs) -> frozenset[int]:
    """The window's new frames before which a cut lies, as decode committed them."""
    return frozenset(inputs.info.get("decode", {}).get("cuts", ()))
