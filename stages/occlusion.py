"""Which subjects others hide, frame by frame, and all of each: hidden or not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from stages.amodal import body, shape
from stages.base import MASK, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.metrics import flag_spans

OCCLUDED = 0.7  # IoU of what shows and of all of it, below which a subject counts as occluded


@dataclass(frozen=True)
class Hidden:
    """A subject in the new frames of a window, for a `Completion`.

    Attributes:
        name: of the subject. window: which.
        frames: [n, H, W, 3] uint8 RGB.
        visible: [n, H, W] bool, what shows of it. others: [n, H, W] bool, all others that are followed.
        estimate: [n, H, W] bool, all of it as far as motion and joints tell.
        keypoints: [n, 133, 3] float32 of a person; None of an object.
    """

    name: str
    window: Window
    frames: Array
    visible: Array
    others: Array
    estimate: Array
    keypoints: Array | None


class Completion(Protocol):
    """Gives all of a subject, [n, H, W] bool, in place of the estimate: where a generative model goes.

    It is asked once a subject and window, in order; what it returns depends on what it is given alone.
    """

    def __call__(self, hidden: Hidden, /) -> Array: ...


@dataclass(frozen=True)
class OcclusionConfig:
    """Whom it is about.

    Attributes:
        subjects: names of all that are followed: each may hide the others.
        posed: of the persons among them whose joints are known; the others are carried as objects are.
        reset_on_cut: whether a hard cut ends what is known of shapes.
        prompted: by name, the frame of the prompt: before it the subject is untracked, and hidden by nobody. Whoever is
            not in it is known from the first frame on.
    """

    subjects: tuple[str, ...]
    posed: tuple[str, ...] = ()
    reset_on_cut: bool = False
    prompted: Mapping[str, int] = field(default_factory=dict)


@dataclass
class OcclusionState(State):
    """What is carried: a shape an object, joints a person.

    Attributes:
        masks: by object, [h, w] uint8, no larger than the frame.
        places: by object, [9] float64: middle, place, step, frames unseen.
        joints: by person, [133, 4] float64: x, y, whether known, whether seen.
        steps: by person, [3] float64: step, frames unseen.
    """

    masks: dict[str, Array] = field(default_factory=dict)
    places: dict[str, Array] = field(default_factory=dict)
    joints: dict[str, Array] = field(default_factory=dict)
    steps: dict[str, Array] = field(default_factory=dict)


class OcclusionStage(Stage):
    """Tells of every subject whether others hide it: `occluded/NAME` `[n] bool`.

    Reads `masks/NAME` of all, `keypoints/NAME` of persons, and `frames` where a completion is given; then all of each
    is kept, `amodal/NAME` `[n, H, W] bool`. Nothing but another subject hides one. Of an object that is what the shapes
    tell that it showed before and, within the window, shows later. Info: `occluded`: absolute half-open spans by name.

    Args:
        completion: asked for what hides in place of the estimate's last word; None: that is it.
    """

    name: ClassVar[str] = "occlusion"
    scales = "pixels"

    def __init__(self, config: OcclusionConfig, completion: Completion | None = None) -> None:
        self.config = config
        self._completion = completion
        self.reads = (
            *(Read(f"masks/{name}", "new") for name in config.subjects),
            *(Read(f"keypoints/{name}", "new") for name in config.posed),
            *((Read("frames", "new"),) if completion is not None else ()),
        )
        flags = (Port(f"occluded/{name}", "new", (), "bool") for name in config.subjects)
        kept = config.subjects if completion is not None else ()
        self.writes = (*flags, *(Port(f"amodal/{name}", "new", MASK, "bool") for name in kept))
        self.facts = ("decode",) if config.reset_on_cut else ()
        self._shapes = {name: shape.Shape() for name in config.subjects if name not in config.posed}
        self._bodies = {name: body.Body() for name in config.posed}

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Flag the window's new frames."""
        every = self.amodal(window, inputs)
        flags = {name: occluded(inputs.arrays[f"masks/{name}"], all_of) for name, all_of in every.items()}
        spans = {name: flag_spans(each, window.new.start) for name, each in flags.items()}
        arrays = {f"occluded/{name}": each for name, each in flags.items()}
        if self._completion is not None:
            arrays |= {f"amodal/{name}": each for name, each in every.items()}
        return Output(arrays, {"occluded": spans})

    def amodal(self, window: Window, inputs: Inputs) -> dict[str, Array]:
        """All of each subject, hidden or not, `[n, H, W] bool` by name; carries on as `process` does."""
        cuts = set(inputs.info["decode"]["cuts"]) if self.config.reset_on_cut else set[int]()
        masks = {name: inputs.arrays[f"masks/{name}"] for name in self.config.subjects}
        count: Array = np.add.reduce([mask.view(np.uint8) for mask in masks.values()])
        found = {}
        for name, visible in masks.items():
            others, estimate = count > visible, np.empty(count.shape, bool)
            keypoints = inputs.arrays.get(f"keypoints/{name}") if name in self.config.posed else None
            for index in range(len(count)):
                if window.new.start + index in cuts:
                    self._forget(name)
                points = None if keypoints is None else keypoints[index]
                estimate[index] = self._see(name, visible[index], others[index], points)
            if name in self._shapes:
                estimate |= _by_later_frames(visible, others, {cut - window.new.start for cut in cuts})
            untracked = max(self.config.prompted.get(name, 0) - window.new.start, 0)
            estimate[:untracked] = visible[:untracked]
            if self._completion is not None:
                frames = inputs.arrays["frames"]
                hidden = Hidden(name, window, frames, visible, others, estimate, keypoints)
                estimate = self._completion(hidden)
            found[name] = estimate
        return found

    def _see(self, name: str, visible: Array, others: Array, keypoints: Array | None) -> Array:
        if keypoints is None:
            self._shapes[name], found = shape.follow(self._shapes[name], visible, others)
        else:
            self._bodies[name], found = body.follow(self._bodies[name], visible, others, keypoints)
        return found

    def _forget(self, name: str) -> None:
        if name in self._shapes:
            self._shapes[name] = shape.Shape()
        else:
            self._bodies[name] = body.Body()

    def get_state(self) -> OcclusionState:
        """What is carried; nothing writes to it afterwards."""
        return OcclusionState(
            masks={name: each.mask for name, each in self._shapes.items()},
            places={
                name: np.array([*each.middle, *each.place, *each.step, each.unseen])
                for name, each in self._shapes.items()
            },
            joints={name: np.column_stack([each.points, each.known, each.seen]) for name, each in self._bodies.items()},
            steps={name: np.array([*each.step, each.unseen]) for name, each in self._bodies.items()},
        )

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        state = OcclusionState.from_parts(values, arrays)
        for name, row in state.places.items():
            self._shapes[name] = shape.Shape(state.masks[name], row[0:2], row[2:5], row[5:8], int(row[8]))
        for name, row in state.steps.items():
            joints = state.joints[name]
            known, seen = joints[:, 2].astype(bool), joints[:, 3].astype(bool)
            self._bodies[name] = body.Body(joints[:, :2].copy(), known, seen, row[:2], int(row[2]))

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's masks, their count, what hides one, and all of each, of one both
        ways; a shape an object."""
        subjects, pixels = len(self.config.subjects), height * width
        frames = 3 if self._completion is not None else 0
        return window_frames * pixels * (2 * subjects + 3 + frames) + pixels * (len(self._shapes) + 8), 0


def _by_later_frames(visible: Array, others: Array, cuts: Collection[int]) -> Array:
    """[n, H, W] bool: all of a thing, by the shapes that later frames of a window show."""
    later, found = shape.Shape(), np.empty(visible.shape, bool)
    for index in reversed(range(len(visible))):
        later, found[index] = shape.follow(later, visible[index], others[index])
        if index in cuts:
            later = shape.Shape()
    return found


def occluded(visible: Array, amodal: Array) -> Array:
    """[n] bool of `[n, H, W]` masks: on which frames what shows is so much less than all of it."""
    shared, union = (np.count_nonzero(each, axis=(1, 2)) for each in (visible & amodal, visible | amodal))
    found: Array = shared < OCCLUDED * union
    return found
