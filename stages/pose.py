"""Keypoints and foot contacts of one person, by DWPose through rtmlib and ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages import bounds
from stages.base import Array, Inputs, Json, Output, Port, Read, State, Window
from stages.poses.contact import Ground, foot_contacts, no_ground
from stages.poses.follow import AGE, HEIGHT, begin, choose, followed_box, no_tracks, one_frame_on, update
from stages.poses.likest import likest, torso_look
from stages.poses.models import SEEN, SEEN_BODY_JOINTS, PoseModels, PosingStage
from stages.poses.place import prompt_box
from stages.poses.skeleton import BODY, JOINTS
from stages.poses.smooth import Filter, no_filter, one_euro
from stages.prompts import Box, ObjectPrompt, check_box, check_box_inside
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import UsageError

SMOOTH = ("none", "one-euro")


@dataclass(frozen=True)
class PoseConfig:
    """What the pose stage needs to know.

    Attributes:
        pose_path, detector_path: local `.onnx` files.
        prompt: the object; its place on its frame tells whose pose is wanted.
        person_box: a box of the person on the prompt frame; it decides alone.
        device: "cpu" or "cuda".
        detect_every: the detector runs on frames whose absolute index it divides, and on every frame where the person
            is not in sight. Between detections the box moves on at the person's speed and widens.
        smooth: "none" or "one-euro".
        on_cut: with "reset" and "split" a hard scene cut ends smoothing and following, and the person is chosen anew
            behind it, by the look (`stages.poses.likest`), for nothing tells where the object is; up to and on the
            prompt frame the prompt says it.
        score_threshold: detections at or below it are dropped.
        pose_input, detector_input: (width, height) where a model leaves its input size open.
        batch: crops a run; None = by device.
        threads: threads inside one operator; 0 = one a core.
        max_pixels: width times height of the largest mask that is read.
    """

    pose_path: str
    detector_path: str
    prompt: ObjectPrompt
    person_box: Box | None = None
    device: str = "cpu"
    detect_every: int = 1
    smooth: str = "none"
    on_cut: str = "ignore"
    score_threshold: float = 0.3
    pose_input: tuple[int, int] | None = None
    detector_input: tuple[int, int] | None = None
    batch: int | None = None
    threads: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        if self.smooth not in SMOOTH:
            raise UsageError(f"--smooth {self.smooth}: choose one of {', '.join(SMOOTH)}")
        bounds.DETECT_EVERY.check("--detect-every", self.detect_every)
        self.models  # noqa: B018 (validates)
        if self.person_box is not None:
            check_box("--person-box", self.person_box)

    @property
    def models(self) -> PoseModels:
        """Both models."""
        return PoseModels(
            self.pose_path, self.detector_path, self.device, self.score_threshold, self.pose_input,
            self.detector_input, self.batch, self.threads,
        )  # fmt: skip


@dataclass
class PoseState(State):
    """What pose carries; of fixed size.

    Attributes:
        tracks: [8, 8] float64, the chosen person and the strangers beside them (`stages.poses.follow`): boxes, speeds,
            heights, frames since seen.
        points, speeds, known: the One-Euro filter's (`stages.poses.smooth.Filter`).
        feet, foot_speeds, contacts: the foot contact's (`stages.poses.contact.Ground`).
        clocks: [3] float64: time of the filter's last frame, of the contact's, and the ground's level (NaN: unknown).
        cut: whether one was met behind the prompt frame.
        look: [256] float32 of the chosen person, as last detected (`torso_look`); empty before.
    """

    version: ClassVar[int] = 4

    tracks: Array = field(default_factory=no_tracks)
    points: Array = field(default_factory=lambda: no_filter(JOINTS).points)
    speeds: Array = field(default_factory=lambda: no_filter(JOINTS).speeds)
    known: Array = field(default_factory=lambda: no_filter(JOINTS).known)
    feet: Array = field(default_factory=lambda: no_ground().feet)
    foot_speeds: Array = field(default_factory=lambda: no_ground().speeds)
    contacts: Array = field(default_factory=lambda: no_ground().contacts)
    clocks: Array = field(default_factory=lambda: np.array([0.0, 0.0, np.nan]))
    cut: bool = False
    look: Array = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Sight:
    """Where the person is believed to be on one frame.

    Attributes:
        box: [4] float32 x1, y1, x2, y2, or None where nobody is followed.
        detected: whether the detector saw the person on this very frame.
        height: the person's height in pixels.
    """

    box: Array | None
    detected: bool
    height: float


NOBODY = Sight(None, False, 0.0)


class PoseStage(PosingStage):
    """The pose of one person, window by window: `keypoints` [n, 133, 3] float32 and `contacts` [n, 2] bool.

    Keypoints are x, y in pixels and a score 0..1; score 0 (and x = y = 0) = not seen. Nobody is followed before the
    prompt frame. No detection, no pose: a frame without the person has scores 0 everywhere.

    Info: `person`: `{"frame": F, "box": [x1, y1, x2, y2]}` in the window in which the person was chosen, else None;
    `again`: the same of each later choice in one window, behind a cut; `persons_seen`: frames of this window on which
    the person was seen.
    """

    reads = (Read("frames", "new"), Read("times", "new"))
    facts = ("decode",)
    writes = (Port("keypoints/person", "new", (133, 3), "float32"), Port("contacts/person", "new", (2,), "bool"))

    def __init__(self, config: PoseConfig) -> None:
        super().__init__(config.models)
        self.config = config
        self._object: Box | None = None
        self._tracks = no_tracks()
        self._filter = no_filter(JOINTS)
        self._ground = no_ground()
        self._cut = False
        self._look_before = np.empty(0, np.float32)

    def open(self) -> None:
        """Open both models.

        Raises:
            InputError: the object's mask cannot be read.
        """
        self._object = prompt_box(self.config.prompt, self.config.max_pixels)
        super().open()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Find the person on every new frame, and the keypoints in all of them together."""
        frames, times = inputs.arrays["frames"], inputs.arrays["times"]
        if self.config.person_box is not None:
            check_box_inside("--person-box", self.config.person_box, frames.shape[2], frames.shape[1])
        sights: list[Sight] = []
        chosen: list[Json] = []
        known = inputs.info.get("decode", {}).get("cuts", ()) if self.config.on_cut in ("reset", "split") else ()
        cuts = {cut - window.new.start for cut in known}
        for index, image in enumerate(frames):
            if index in cuts:
                self._meet_cut(window.new.start + index)
            followed_before = bool(self._tracks[0, AGE] >= 0)
            sights.append(self._look(window.new.start + index, image))
            box = sights[-1].box
            if box is not None and not followed_before:
                chosen.append({"frame": window.new.start + index, "box": [float(v) for v in box]})
        keypoints = self._estimate(frames, sights)
        contacts = np.zeros((len(frames), 2), bool)
        for index, (sight, seconds) in enumerate(zip(sights, times, strict=True)):
            if index in cuts:
                self._filter, self._ground = no_filter(JOINTS), no_ground()
            self._settle(keypoints[index], float(seconds), sight.height)
            contacts[index] = self._ground.contacts
        seen = int((keypoints[:, :, 2].max(axis=1, initial=0.0) > 0).sum())
        info = {"person": chosen[0] if chosen else None, "again": chosen[1:], "persons_seen": seen}
        return Output({"keypoints/person": keypoints, "contacts/person": contacts}, info)

    def get_state(self) -> PoseState:
        """A copy of what is carried."""
        moving, ground = self._filter, self._ground
        return PoseState(
            tracks=self._tracks.copy(),
            points=moving.points.copy(),
            speeds=moving.speeds.copy(),
            known=moving.known.copy(),
            feet=ground.feet.copy(),
            foot_speeds=ground.speeds.copy(),
            contacts=ground.contacts.copy(),
            clocks=np.array([moving.seconds, ground.seconds, ground.level]),
            cut=self._cut,
            look=self._look_before.copy(),
        )

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        state = PoseState.from_parts(values, arrays)
        clocks = [float(value) for value in state.clocks]
        self._tracks, self._cut = state.tracks.copy(), state.cut
        self._look_before = state.look.copy()
        self._filter = Filter(state.points.copy(), state.speeds.copy(), state.known.astype(bool), clocks[0])
        self._ground = Ground(
            state.feet.copy(), state.foot_speeds.copy(), clocks[2], state.contacts.astype(bool), clocks[1]
        )

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames, both models, and what they work in."""
        return self.config.models.peak_bytes(height, width, window_frames)

    def _meet_cut(self, frame: int) -> None:
        """A hard cut lies before this frame: nobody is followed any more."""
        self._tracks = no_tracks()
        # Up to the prompt frame the prompt still says where the object is.
        self._cut = self._cut or frame > self.config.prompt.frame

    def _look(self, frame: int, image: Array) -> Sight:
        """Where the person is on this frame; runs the detector where it is due or the person is not in sight."""
        assert self._detector is not None, "open() comes first"
        if frame < self.config.prompt.frame:
            return NOBODY
        self._tracks = one_frame_on(self._tracks)
        every, age = self.config.detect_every, int(self._tracks[0, AGE])
        # The detection due last found them, if it does not lie after the frame on which they were seen last.
        in_sight = age >= 0 and (frame - 1) // every * every <= frame - age
        if (frame % every == 0 or not in_sight) and not self._find(image, self._detector(image)):
            return NOBODY
        person = self._tracks[0]
        if person[AGE] == 0 and self.config.on_cut in ("reset", "split"):
            look = torso_look(image, followed_box(self._tracks))
            self._look_before = look if look.size else self._look_before
        return Sight(followed_box(self._tracks), bool(person[AGE] == 0), float(person[HEIGHT]))

    def _find(self, image: Array, boxes: Array) -> bool:
        """Choose or follow the person among detections; whether one of them is the person."""
        assert self._object is not None, "open() comes first"
        if self._tracks[0, AGE] >= 0:
            self._tracks, mine = update(self._tracks, boxes)
            return mine is not None
        if len(boxes) == 0:
            return False
        given = self._object, self.config.person_box
        chosen = likest(image, boxes, self._look_before) if self._cut else choose(boxes, *given)
        self._tracks = begin(boxes, chosen)
        return True

    def _estimate(self, frames: Array, sights: list[Sight]) -> Array:
        """[n, 133, 3] keypoints, as the model gives them; zeros where nobody is."""
        assert self._estimator is not None, "open() comes first"
        keypoints = np.zeros((len(frames), JOINTS, 3), np.float32)
        where = [(index, sight.box) for index, sight in enumerate(sights) if sight.box is not None]
        keypoints[[index for index, _ in where]] = self._estimator(
            [frames[index] for index, _ in where], [box for _, box in where]
        )
        for index, sight in enumerate(sights):
            if not sight.detected and (keypoints[index, BODY, 2] >= SEEN).sum() < SEEN_BODY_JOINTS:
                keypoints[index] = 0.0  # they left between two detections
        return keypoints

    def _settle(self, keypoints: Array, seconds: float, height: float) -> None:
        """Smooth one frame's keypoints in place, and tell which feet are in contact."""
        height = max(height, 1.0)  # 0 where nobody is: then every score is 0, and nothing is divided by it
        if self.config.smooth == "one-euro":
            self._filter, keypoints[:] = one_euro(self._filter, keypoints, seconds, height)
        self._ground = foot_contacts(self._ground, keypoints, seconds, height)
