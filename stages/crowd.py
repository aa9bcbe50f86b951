"""Keypoints and foot contacts of several persons, each known by its mask: detections are assigned to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages import bounds
from stages.base import Array, Inputs, Json, Output, Port, Read, State, Window
from stages.poses.assign import NOWHERE, affinities, assign, disown
from stages.poses.contact import Ground, foot_contacts, no_ground
from stages.poses.models import SEEN, SEEN_BODY_JOINTS, PoseModels, PosingStage
from stages.poses.skeleton import BODY, JOINTS
from stages.poses.smooth import Filter, no_filter, one_euro
from stages.region import part_box

HORIZON = 12  # frames for which a person who is hidden is still believed to be where the last detection was


@dataclass(frozen=True)
class CrowdConfig:
    """Whose poses are wanted, and how they are found.

    Attributes:
        models: both.
        persons: names.
        detect_every: the detector runs on frames whose absolute index it divides, and wherever a person is to be seen
            who has not been detected yet. Between detections a person's box moves as the mask does.
        smooth: "none" or "one-euro".
        reset_on_cut: whether a hard cut ends smoothing and what is believed of places.
    """

    models: PoseModels
    persons: tuple[str, ...]
    detect_every: int = 1
    smooth: str = "none"
    reset_on_cut: bool = False

    def __post_init__(self) -> None:
        bounds.DETECT_EVERY.check("--detect-every", self.detect_every)


@dataclass
class Person:
    """What is carried of one person.

    Attributes:
        box: [4] float64, of the last detection, moved since as the mask moved; NaN: not detected yet.
        mask_box: [4] float64, around the mask on the last frame; NaN: it was empty.
        age: frames since the last detection.
        filter, ground: of smoothing and of foot contact.
    """

    box: Array = field(default_factory=NOWHERE.copy)
    mask_box: Array = field(default_factory=NOWHERE.copy)
    age: float = 0.0
    filter: Filter = field(default_factory=lambda: no_filter(JOINTS))
    ground: Ground = field(default_factory=no_ground)


@dataclass
class CrowdState(State):
    """What is carried of all, P persons in the config's order: fields as in `Person`, `Filter` and `Ground`.

    Attributes:
        places: [P, 9] float64: box, box of the mask, age.
        points, speeds: [P, 133, 2]; known: [P, 133].
        feet: [P, 3, 2]; foot_speeds: [P, 4]; contacts: [P, 2].
        clocks: [P, 3]: time of the filter's last frame, of the contact's, and the ground's level.
    """

    places: Array
    points: Array
    speeds: Array
    known: Array
    feet: Array
    foot_speeds: Array
    contacts: Array
    clocks: Array


@dataclass(frozen=True)
class Sight:
    """A person on a frame: which one, offset of the frame, [4] float32 box, and whether it was detected there."""

    person: int
    offset: int
    box: Array
    detected: bool


def crowd_ports(names: Sequence[str]) -> tuple[Port, ...]:
    """What is written of these persons."""
    keypoints = (Port(f"keypoints/{name}", "new", (JOINTS, 3), "float32") for name in names)
    return (*keypoints, *(Port(f"contacts/{name}", "new", (2,), "bool") for name in names))


class CrowdPoseStage(PosingStage):
    """The poses of several persons: `keypoints/NAME` [n, 133, 3] float32 and `contacts/NAME` [n, 2] bool of each.

    Reads `frames`, `times` and the persons' masks, which tell who is who; where cuts count, `info["decode"]["cuts"]`.
    Keypoints are as those of `PoseStage`; a frame on which a person is neither detected nor has a mask has scores 0,
    and so has what is another's by the masks (`disown`).

    Info: `person`: `{"frame", "box"}` of the first person seen in this window, or None; `persons_seen`: frames of this
    window on which anybody was; `seen`: the same by name.
    """

    def __init__(self, config: CrowdConfig) -> None:
        super().__init__(config.models)
        self.config = config
        self.reads = (
            Read("frames", "new"),
            Read("times", "new"),
            *(Read(f"masks/{name}", "new") for name in config.persons),
        )
        self.writes = crowd_ports(config.persons)
        self.facts = ("decode",) if config.reset_on_cut else ()
        self._persons = [Person() for _ in config.persons]

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Find everybody on every new frame, and the keypoints of all of them together."""
        frames, times = inputs.arrays["frames"], inputs.arrays["times"]
        masks = [inputs.arrays[f"masks/{name}"] for name in self.config.persons]
        cuts = set(inputs.info["decode"]["cuts"]) if self.config.reset_on_cut else set()
        sights: list[Sight] = []
        for offset, frame in enumerate(frames):
            if window.new.start + offset in cuts:
                for person in self._persons:
                    person.box, person.mask_box = NOWHERE.copy(), NOWHERE.copy()
            sights += self._look(window.new.start + offset, offset, frame, [mask[offset] for mask in masks])
        keypoints = self._estimate(frames, sights)
        for offset in range(len(frames)):
            disown(keypoints[:, offset], [mask[offset] for mask in masks])
        contacts = np.zeros((len(masks), len(frames), 2), bool)
        boxes = {(sight.person, sight.offset): sight.box for sight in sights}
        for index, person in enumerate(self._persons):
            for offset, seconds in enumerate(times):
                if window.new.start + offset in cuts:
                    person.filter, person.ground = no_filter(JOINTS), no_ground()
                box = boxes.get((index, offset))
                height = 1.0 if box is None else max(1.0, float(box[3] - box[1]))
                self._settle(person, keypoints[index, offset], float(seconds), height)
                contacts[index, offset] = person.ground.contacts
        arrays = {f"keypoints/{name}": keypoints[index] for index, name in enumerate(self.config.persons)}
        arrays |= {f"contacts/{name}": contacts[index] for index, name in enumerate(self.config.persons)}
        return Output(arrays, self._facts(window, keypoints, sights))

    def _facts(self, window: Window, keypoints: Array, sights: list[Sight]) -> dict[str, Json]:
        present = keypoints[..., 2].max(axis=2, initial=0.0) > 0
        first = next((sight for sight in sights if present[sight.person, sight.offset]), None)
        person = None if first is None else {
            "frame": window.new.start + first.offset, "box": [float(value) for value in first.box],
        }  # fmt: skip
        seen = {name: int(present[index].sum()) for index, name in enumerate(self.config.persons)}
        return {"person": person, "persons_seen": int(present.any(axis=0).sum()), "seen": seen}

    def _look(self, index: int, offset: int, frame: Array, masks: list[Array]) -> list[Sight]:
        """Where each person is on this frame."""
        assert self._detector is not None, "open() comes first"
        for person, mask in zip(self._persons, masks, strict=True):
            _move(person, part_box(mask))
        unknown = [np.isnan(person.box).any() and not np.isnan(person.mask_box).any() for person in self._persons]
        found: dict[int, int] = {}
        if index % self.config.detect_every == 0 or any(unknown):
            boxes = self._detector(frame)
            believed = np.array([person.box for person in self._persons])
            found = assign(affinities(masks, believed, boxes))
            for at, detection in found.items():
                self._persons[at].box, self._persons[at].age = boxes[detection].astype(np.float64), 0.0
        sights = []
        for at, person in enumerate(self._persons):
            box = person.mask_box if np.isnan(person.box).any() else person.box
            if at in found or not np.isnan(person.mask_box).any():
                sights.append(Sight(at, offset, box.astype(np.float32), at in found))
        return sights

    def _estimate(self, frames: Array, sights: list[Sight]) -> Array:
        """[P, n, 133, 3] keypoints, as the model gives them; zeros where a person is not."""
        assert self._estimator is not None, "open() comes first"
        keypoints = np.zeros((len(self._persons), len(frames), JOINTS, 3), np.float32)
        found = self._estimator([frames[sight.offset] for sight in sights], [sight.box for sight in sights])
        for sight, points in zip(sights, found, strict=True):
            if sight.detected or (points[BODY, 2] >= SEEN).sum() >= SEEN_BODY_JOINTS:
                keypoints[sight.person, sight.offset] = points
        return keypoints

    def _settle(self, person: Person, keypoints: Array, seconds: float, height: float) -> None:
        """Smooth one frame's keypoints in place, and tell which feet are in contact."""
        if self.config.smooth == "one-euro":
            person.filter, keypoints[:] = one_euro(person.filter, keypoints, seconds, height)
        person.ground = foot_contacts(person.ground, keypoints, seconds, height)

    def get_state(self) -> CrowdState:
        """A copy of what is carried."""
        persons = self._persons
        return CrowdState(
            places=np.array([[*person.box, *person.mask_box, person.age] for person in persons]),
            points=np.array([person.filter.points for person in persons]),
            speeds=np.array([person.filter.speeds for person in persons]),
            known=np.array([person.filter.known for person in persons]),
            feet=np.array([person.ground.feet for person in persons]),
            foot_speeds=np.array([person.ground.speeds for person in persons]),
            contacts=np.array([person.ground.contacts for person in persons]),
            clocks=np.array([[p.filter.seconds, p.ground.seconds, p.ground.level] for p in persons]),
        )

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        state = CrowdState.from_parts(values, arrays)
        self._persons = [
            Person(
                place[0:4].copy(),
                place[4:8].copy(),
                float(place[8]),
                Filter(state.points[at].copy(), state.speeds[at].copy(), state.known[at].astype(bool), float(clock[0])),
                Ground(
                    state.feet[at].copy(), state.foot_speeds[at].copy(), float(clock[2]),
                    state.contacts[at].astype(bool), float(clock[1]),
                ),
            )
            for at, (place, clock) in enumerate(zip(state.places, state.clocks, strict=True))
        ]  # fmt: skip

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames and masks, both models, and what they work in."""
        persons = len(self.config.persons)
        ram, vram = self.config.models.peak_bytes(height, width, window_frames, persons)
        return ram + window_frames * height * width * persons, vram


def _move(person: Person, mask_box: Array) -> None:
    """One frame on: the box moves as the middle of the mask's box did; what was hidden for long is anywhere."""
    if not (np.isnan(mask_box).any() or np.isnan(person.mask_box).any()):
        step = (mask_box[:2] + mask_box[2:] - person.mask_box[:2] - person.mask_box[2:]) / 2
        person.box = person.box + np.tile(step, 2)
    person.mask_box = mask_box
    person.age += 1
    if person.age > HORIZON:
        person.box = NOWHERE.copy()
