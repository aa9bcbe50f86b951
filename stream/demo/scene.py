"""The synthetic skate clip: every frame with its exact masks, joints and all that its renderer knows.

    reference picture 640x360 --camera (affine)--> picture of any size, drawn at twice the size and averaged

Truth under motion blur: the exposure is symmetric about the frame's time and is sampled at an odd number of moments.
A pixel belongs to a subject where that covers more than half of the pixel, averaged over the exposure: where the
picture shows more of it than of anything else. Joints are those of the middle of the exposure. The first frame is
exposed for no time: it is unblurred.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.affine import apply, compose, invert
from storage.errors import UsageError
from stream.demo.background import Background
from stream.demo.camera import CAMERAS, Camera, Shot, plan_shots
from stream.demo.cast import MOST, PATH_REACH, cast, subject_name
from stream.demo.exposure import Exposed, Figure, Subject, cast_shadow, expose, joints_visible, region_of
from stream.demo.motion import Timeline
from stream.demo.puppet import Array, Proportions, joints_from_anchors
from stream.demo.truth import BoardTruth, PersonTruth, Truth, face_of

#: Seeds below are for people, the demo and tests; clips for training use this one and above, so that no model that
#: ships has seen a clip it is judged on. They are also drawn from a wider range of colours and sizes (`look.py`).
TRAINING_SEED_BASE = 1_000_000
SHUTTER = 0.25  # of the time between two frames
_MIN_SIZE = 64
_MAX_MOMENTS = 7
_PIXELS_PER_MOMENT = 1.5
_NOISE_LEVELS = 1.6
_FLASH = 0.8  # how far a flash takes every colour to white
_CACHED_PLACES = 2


@dataclass(frozen=True)
class DemoConfig:
    """A clip: `frames` at `fps`, `width` x `height` pixels (at least 64), drawn from `seed` (>= 0).

    Attributes:
        camera: one of `camera.CAMERAS`; shots: how many, with "cuts" (default 5, each of at least 30 frames).
        skaters, boards: how many, 1 to 5.
        size: of everything that is filmed: 2 shows the board twice as large.
        tricks: what every rider does, in turn; empty: what the seed gives.

    Raises:
        UsageError: when a value is out of range.
    """

    frames: int = 201
    width: int = 640
    height: int = 360
    fps: int = 24
    seed: int = 1
    camera: str = "steady"
    skaters: int = 1
    boards: int = 1
    shots: int | None = None
    size: float = 1.0
    tricks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, least in (
            ("frames", self.frames, 1),
            ("width", self.width, _MIN_SIZE),
            ("height", self.height, _MIN_SIZE),
            ("fps", self.fps, 1),
            ("seed", self.seed, 0),
            ("skaters", self.skaters, 1),
            ("boards", self.boards, 1),
            ("shots", 1 if self.shots is None else self.shots, 1),
        ):
            if value < least:
                raise UsageError(f"demo clip: {name} is {value}, give at least {least}")
        for name, value in (("skaters", self.skaters), ("boards", self.boards)):
            if value > MOST:
                raise UsageError(f"demo clip: {name} is {value}, give at most {MOST}")
        if self.camera not in CAMERAS:
            raise UsageError(f"demo clip: camera is {self.camera!r}, give one of {', '.join(CAMERAS)}")
        if self.shots is not None and self.camera != "cuts":
            raise UsageError(f"demo clip: shots is {self.shots}, but only the camera 'cuts' has several: --camera cuts")
        if not 0.05 <= self.size <= 10:
            raise UsageError(f"demo clip: size is {self.size:g}, give 0.05 to 10")


@dataclass(frozen=True)
class DemoFrame:
    """One frame and the truth of its first board and skater; `Scene.truth` has all of it.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        object_mask: [H, W] bool, the visible pixels of the board.
        person_mask: [H, W] bool, the visible pixels of the puppet.
        joints: [133, 2] float32 pixels, COCO-WholeBody order; pixel centres have whole coordinates.
        joints_visible: [133] bool: inside the frame and not hidden.
    """

    image: Array
    object_mask: Array
    person_mask: Array
    joints: Array
    joints_visible: Array


@dataclass(frozen=True)
class _Rendered:
    """One frame with what it was made of; `middle`: the figures at the middle of the exposure, far to near."""

    image: Array
    plate: Array
    exposed: Exposed
    moments: list[list[Figure]]
    middle: list[Figure]


class Scene:
    """Renders the clip of a config. Every frame is a function of its number and the seed alone.

    Args:
        config: the clip.
        wide: looks of any colour, for training; by default from `TRAINING_SEED_BASE` on.

    Attributes:
        look: of the first skater and board.
        shots: of the clip.
        skaters, boards: their names.
    """

    def __init__(self, config: DemoConfig, wide: bool | None = None) -> None:
        self.config = config
        wide = config.seed >= TRAINING_SEED_BASE if wide is None else wide
        self.shots = plan_shots(config.camera, config.frames, config.shots, config.seed)
        front = Timeline(config.seed, Proportions(), 640.0).front
        self._camera = Camera(config.seed, config.width, config.height, config.size, front)
        view_width = config.width / min(self._camera.scale(shot) for shot in self.shots)
        self._cast = cast(config.seed, config.skaters, config.boards, wide, self._camera, view_width, config.tricks)
        self.look = self._cast[0].look
        self.skaters = tuple(subject_name("skater", k) for k in range(config.skaters))
        self.boards = tuple(subject_name("board", k) for k in range(config.boards))
        self._places: dict[int, Background] = {}
        self._latest: tuple[int, _Rendered] | None = None
        self._only: Subject | None = None
        rng = np.random.default_rng([config.seed, 33])
        shape = (config.height + 61, config.width + 67, 3)
        self._noise = (rng.standard_normal(shape, np.float32) * _NOISE_LEVELS).round().astype(np.int8)

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[DemoFrame]:
        return (self.frame(t) for t in range(self.config.frames))

    def alone(self, name: str) -> "Scene":
        """The same clip with one of its subjects alone: `picture`, `masks` and `shot` tell of it."""
        found = copy.copy(self)
        kinds = {subject_name(kind, k): (kind, k) for kind in ("board", "skater") for k in range(MOST)}
        found._only, found._latest = kinds[name], None
        return found

    def picture(self, t: int) -> Array:
        """Frame `t` `[H, W, 3]` uint8 RGB, without its truth."""
        return self._render(t).image

    def shot(self, t: int) -> Shot:
        """The shot of frame `t`."""
        return next(shot for shot in self.shots if shot.start <= t < shot.stop)

    def frame(self, t: int) -> DemoFrame:
        """Frame `t`.

        Raises:
            UsageError: when the clip has no such frame.
        """
        made = self._render(t)
        person = self._person(made, 0)
        board, skater = (self._mask(made, kind, 0) for kind in ("board", "skater"))
        return DemoFrame(made.image, board, skater, *person)

    def board_scale(self, t: int) -> float:
        """Size of the first board on frame `t`, relative to that of the default clip; the camera's drift left out."""
        return self._camera.scale(self.shot(t)) * self._cast[0].size

    def masks(self, t: int) -> dict[str, Array]:
        """Visible masks [H, W] bool of every subject by name.

        Raises:
            UsageError: when the clip has no such frame.
        """
        made = self._render(t)
        boards = {name: self._mask(made, "board", k) for k, name in enumerate(self.boards)}
        return boards | {name: self._mask(made, "skater", k) for k, name in enumerate(self.skaters)}

    def truth(self, t: int) -> Truth:
        """All that is known of frame `t`.

        Raises:
            UsageError: when the clip has no such frame.
        """
        made, shot = self._render(t), self.shot(t)
        seconds, first = t / self.config.fps, t == shot.start
        ground = self._camera.ground(shot, seconds)
        motion = np.eye(2, 3)
        if not first:
            motion = compose(ground, invert(self._camera.ground(shot, (t - 1) / self.config.fps)))
        by_index = sorted(made.middle, key=lambda figure: figure.index)
        skaters = tuple(self._skater_truth(made, figure, seconds) for figure in by_index if figure.anchors is not None)
        boards = tuple(self._board_truth(made, figure, seconds) for figure in by_index if figure.board is not None)
        order = tuple(subject_name(*subject) for figure in made.middle for subject in figure.subjects())
        camera = self._camera.matrix(shot, seconds)
        cut = first and t > 0
        return Truth(t, skaters, boards, order, made.plate, motion, camera, shot.index, cut, shot.flashes(t))

    def _render(self, t: int) -> _Rendered:
        """Frame `t`; the latest one is kept."""
        if not 0 <= t < self.config.frames:
            raise UsageError(f"demo clip: frame {t} asked for, it has frames 0 to {self.config.frames - 1}")
        if self._latest is None or self._latest[0] != t:
            self._latest = (t, self._made(t))
        return self._latest[1]

    def _made(self, t: int) -> _Rendered:
        config, shot = self.config, self.shot(t)
        seconds = t / config.fps
        exposure = 0.0 if t == 0 else SHUTTER / config.fps
        first, middle, last = (self._figures(shot, seconds + k * exposure / 2) for k in (-1, 0, 1))
        moments = [self._figures(shot, at) for at in _times(seconds, exposure, first, last)]
        region = region_of([figure for figures in (first, last, *moments) for figure in figures], *self._size)
        exposed = expose(moments, region)
        plate = self._plate(shot, seconds, exposure)
        image = plate.copy()
        for figure in middle:
            cast_shadow(image, figure)
        exposed.over(image)
        if shot.flashes(t):
            image = np.asarray(cv2.addWeighted(image, 1 - _FLASH, image, 0.0, 255 * _FLASH))
        return _Rendered(self._grain(image, t), plate, exposed, moments, middle)

    @property
    def _size(self) -> tuple[int, int]:
        return self.config.width, self.config.height

    def _figures(self, shot: Shot, seconds: float) -> list[Figure]:
        """Everybody at one moment, from far to near, in picture pixels."""
        matrix = self._camera.matrix(shot, seconds)
        angle, scale = math.atan2(matrix[1, 0], matrix[0, 0]), math.hypot(matrix[0, 0], matrix[1, 0])
        figures = []
        for performer in sorted(self._cast, key=lambda performer: -performer.depth):
            pose = performer.pose(seconds)
            board = pose.board
            if board is not None:
                x, y = apply(matrix, np.array([board.x, board.y]))
                board = replace(board, x=float(x), y=float(y), pitch=board.pitch + angle)
            anchors = None if pose.anchors is None else apply(matrix, pose.anchors)
            shadows = tuple(
                (*(float(v) for v in apply(matrix, np.array([x, y]))), lift / performer.size, half * scale)
                for x, y, lift, half in pose.shadows
            )
            size = scale * performer.size
            figures.append(Figure(performer.index, performer.look, board, anchors, shadows, size))
        if self._only is not None:
            kind, index = self._only
            return [figure.only(kind) for figure in figures if figure.index == index]
        return figures

    def _plate(self, shot: Shot, seconds: float, exposure: float) -> Array:
        """The park without anybody."""
        if shot.index not in self._places:
            while len(self._places) >= _CACHED_PLACES:
                del self._places[next(iter(self._places))]
            seed = (self.config.seed, shot.index) if shot.index else (self.config.seed,)
            camera, tint = self._camera, self.look.background_tint
            self._places[shot.index] = Background(seed, *self._size, camera.scale(shot), camera.middle_y(shot), tint)
        ground, later = (self._camera.ground(shot, at) for at in (seconds, seconds + exposure))
        centre = apply(invert(ground), np.array(self._size) / 2)
        # Seconds in which the park goes by from the picture's edge to any place of a skater.
        reach = (0.5 * self.config.width / self._camera.scale(shot) + PATH_REACH) / self._camera.slowest + 1.0
        rails = [rail for performer in self._cast for rail in performer.rails(seconds - reach, seconds + reach)]
        return self._places[shot.index].draw(ground, rails, apply(later, centre) - apply(ground, centre))

    def _mask(self, made: _Rendered, kind: str, index: int) -> Array:
        return made.exposed.mask((kind, index), *self._size)

    def _alone(self, made: _Rendered, kind: str, index: int) -> Array:
        """`[H, W]` bool: all of a subject, as if nothing were in front of it."""
        moments = [[f.only(kind) for f in figures if f.index == index] for figures in made.moments]
        region = region_of([figure for figures in moments for figure in figures], *self._size)
        return expose(moments, region).mask((kind, index), *self._size)

    def _person(self, made: _Rendered, index: int) -> tuple[Array, Array]:
        """Joints `[133, 2]` float32 and which are visible `[133]` bool."""
        figure = next(figure for figure in made.middle if figure.index == index)
        assert figure.anchors is not None
        joints = joints_from_anchors(figure.anchors)
        return joints.astype(np.float32), joints_visible(joints, figure, made.exposed, *self._size)

    def _skater_truth(self, made: _Rendered, figure: Figure, seconds: float) -> PersonTruth:
        k = figure.index
        moment = self._cast[k].pose(seconds).moment
        joints, visible = self._person(made, k)
        control, board = moment.controls, figure.board is not None
        return PersonTruth(
            self.skaters[k], self._mask(made, "skater", k), self._alone(made, "skater", k), joints, visible,
            control.on_board, control.on_ground, control.rider_airborne, self.boards[k] if board else None,
            figure.scale, moment.action.kind,
        )  # fmt: skip

    def _board_truth(self, made: _Rendered, figure: Figure, seconds: float) -> BoardTruth:
        k, pose = figure.index, figure.board
        assert pose is not None
        control = self._cast[k].pose(seconds).moment.controls
        look, scale = figure.look.board, figure.scale
        return BoardTruth(
            self.boards[k], self._mask(made, "board", k), self._alone(made, "board", k), pose.x, pose.y, pose.pitch,
            pose.roll, pose.yaw, face_of(pose.roll), look.length * scale, look.width * scale, control.support,
            None if figure.anchors is None else self.skaters[k],
        )  # fmt: skip

    def _grain(self, image: Array, t: int) -> Array:
        """Slight noise: one field, taken from another place on every frame."""
        dy, dx = (int(v) for v in np.random.default_rng([self.config.seed, 32, t]).integers(0, (61, 67)))
        noise = self._noise[dy : dy + image.shape[0], dx : dx + image.shape[1]]
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U))


def _times(seconds: float, exposure: float, first: list[Figure], last: list[Figure]) -> list[float]:
    """The sampled moments: as many as the fastest point moves, an odd number, the middle one at `seconds`."""
    moved = max(one.moved(two) for one, two in zip(first, last, strict=True))
    count = min(max(2 * math.ceil(moved / _PIXELS_PER_MOMENT / 2) - 1, 1), _MAX_MOMENTS)
    return [seconds + exposure * ((i + 0.5) / count - 0.5) for i in range(count)]
