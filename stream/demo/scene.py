"""The synthetic skate clip: every frame with its exact board mask, person mask and joints.

    reference picture 640x360 --camera (pan, zoom)--> picture of any size, drawn at twice the size and averaged

Truth under motion blur: the exposure is symmetric about the frame's time and is sampled at an odd number of moments.
A pixel belongs to the board (or the person) where that covers more than half of the pixel, averaged over the exposure:
where the picture shows more of it than of anything else. Joints are those of the middle of the exposure. The first
frame is exposed for no time: it is unblurred.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from storage.errors import UsageError
from stream.demo.background import Background, Camera
from stream.demo.board import BoardPose, draw_board
from stream.demo.look import Look
from stream.demo.motion import Moment, Timeline
from stream.demo.puppet import (
    ANCHOR_JOINTS,
    ANCHOR_RADIUS,
    JOINTS,
    OWNER_ANCHOR,
    OWNER_BOARD,
    OWNER_BODY,
    Array,
    Brush,
    PuppetPainter,
    joints_from_anchors,
    part_owners,
)

#: Seeds below are for people, the demo and tests; clips for training use this one and above, so that no model that
#: ships has seen a clip it is judged on. They are also drawn from a wider range of colours and sizes (`look.py`).
TRAINING_SEED_BASE = 1_000_000
SHUTTER = 0.25  # of the time between two frames
SUPERSAMPLE = 2
_MIN_SIZE = 64
_MAX_MOMENTS = 7
_PIXELS_PER_MOMENT = 1.5
_NOISE_LEVELS = 1.6
_FULL = 252  # full coverage: divisible by the 4 samples of a pixel, so that a half is never rounded up to more


@dataclass(frozen=True)
class DemoConfig:
    """A clip: `frames` at `fps`, `width` x `height` pixels (at least 64), drawn from `seed` (>= 0).

    Raises:
        UsageError: when a value is out of range.
    """

    frames: int = 201
    width: int = 640
    height: int = 360
    fps: int = 24
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("frames", self.frames, 1),
            ("width", self.width, _MIN_SIZE),
            ("height", self.height, _MIN_SIZE),
            ("fps", self.fps, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"demo clip: {name} is {value}, give at least {least}")


@dataclass(frozen=True)
class DemoFrame:
    """One frame and its truth.

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
class _Shot:
    """One moment through the camera: picture pixels."""

    board: BoardPose
    board_centre: Array
    anchors: Array
    shadow: Array
    scale: float


class Scene:
    """Renders the clip of a config. Every frame is a function of its number and the seed alone.

    Args:
        config: the clip.
        look: colours and measures; by default those that the seed gives.
    """

    def __init__(self, config: DemoConfig, look: Look | None = None) -> None:
        self.config = config
        self.look = look or Look.from_seed(config.seed, wide=config.seed >= TRAINING_SEED_BASE)
        self.scale = min(config.width / 640.0, config.height / 360.0)
        self._timeline = Timeline(config.seed, self.look.body, config.width / self.scale)
        self._background = Background(config.seed, config.width, config.height, self.scale, self.look.background_tint)
        rng = np.random.default_rng([config.seed, 31])
        self._speed = float(rng.uniform(110, 210)) * -self._timeline.front
        self._phases = rng.uniform(0, 2 * math.pi, 4)
        self._rates = 2 * math.pi * np.array([0.21, 0.13, 0.17, 0.09]) * rng.uniform(0.85, 1.15, 4)
        shape = (config.height + 61, config.width + 67, 3)
        self._noise = (rng.standard_normal(shape, np.float32) * _NOISE_LEVELS).round().astype(np.int8)
        self._owners = part_owners()

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[DemoFrame]:
        return (self.frame(t) for t in range(self.config.frames))

    def frame(self, t: int) -> DemoFrame:
        """Frame `t`.

        Raises:
            UsageError: when the clip has no such frame.
        """
        if not 0 <= t < self.config.frames:
            raise UsageError(f"demo clip: frame {t} asked for, it has frames 0 to {self.config.frames - 1}")
        seconds = t / self.config.fps
        exposure = 0.0 if t == 0 else SHUTTER / self.config.fps
        first, middle, last = (self._shot(seconds + k * exposure / 2) for k in (-1, 0, 1))
        times = self._times(seconds, exposure, first, last)
        shots = [self._shot(at) for at in times]
        roi = self._roi([first, last, *shots])
        colour, person, board, owners = self._expose(shots, roi)
        camera = self._camera(seconds)
        blur = abs(self._camera(seconds + exposure).travel - camera.travel) * self.scale
        image = self._background.draw(camera, blur)
        self._cast_shadow(image, middle)
        x0, y0, x1, y1 = roi
        if x1 > x0 and y1 > y0:
            under = image[y0:y1, x0:x1].astype(np.float32)
            under *= (1.0 - person - board)[..., None]
            image[y0:y1, x0:x1] = np.clip(under + colour + 0.5, 0, 255).astype(np.uint8)
        joints = joints_from_anchors(middle.anchors)
        masks = [np.zeros(image.shape[:2], bool) for _ in range(2)]
        for mask, cover in zip(masks, (board, person), strict=True):
            mask[y0:y1, x0:x1] = cover > 0.5
        visible = self._visible(joints, middle, owners, roi)
        return DemoFrame(self._grain(image, t), masks[0], masks[1], joints.astype(np.float32), visible)

    def _camera(self, seconds: float) -> Camera:
        wave = np.sin(self._rates * seconds + self._phases)
        return Camera(26.0 * wave[0], 5.0 * wave[1], 1.0 + 0.035 * wave[2], self._speed * (seconds + 0.5 * wave[3]))

    def _shot(self, seconds: float) -> _Shot:
        camera = self._camera(seconds)
        moment: Moment = self._timeline.moment(seconds)
        scale = self.scale * camera.zoom
        middle = np.array([self.config.width / 2, self.config.height / 2])
        shift = np.array([camera.pan_x - 320.0, camera.pan_y - 180.0])

        def view(points: Array) -> Array:
            return np.asarray(middle + scale * (points + shift))

        centre = view(np.array([moment.board.x, moment.board.y]))
        shadow = np.array([(*view(np.array([x, 316.0])), lift) for x, lift in moment.shadow])
        return _Shot(moment.board, centre, view(moment.anchors), shadow, scale)

    def _times(self, seconds: float, exposure: float, first: _Shot, last: _Shot) -> list[float]:
        """The sampled moments: as many as the fastest point moves, an odd number, the middle one at `seconds`."""
        moved = [np.abs(first.anchors - last.anchors).max(), np.abs(first.board_centre - last.board_centre).max()]
        turned = abs(first.board.pitch - last.board.pitch) + 0.3 * abs(first.board.roll - last.board.roll)
        moved.append(turned * self.look.board.length / 2 * self.scale)
        count = min(max(2 * math.ceil(max(moved) / _PIXELS_PER_MOMENT / 2) - 1, 1), _MAX_MOMENTS)
        return [seconds + exposure * ((i + 0.5) / count - 0.5) for i in range(count)]

    def _roi(self, shots: list[_Shot]) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of the part of the picture that puppet or board may touch."""
        margin = 0.16 * self.look.body.height_px * shots[0].scale + 2
        reach = (self.look.board.length / 2 + 6.0) * shots[0].scale + 2
        spans = [(shot.anchors.min(0) - margin, shot.anchors.max(0) + margin) for shot in shots]
        spans += [(shot.board_centre - reach, shot.board_centre + reach) for shot in shots]
        inside = [(a, b) for a, b in spans if (b > 0).all() and (a < (self.config.width, self.config.height)).all()]
        if not inside:
            return 0, 0, 0, 0
        low, high = np.min([a for a, _ in inside], 0), np.max([b for _, b in inside], 0)
        x0, y0 = (max(0, math.floor(v)) for v in low)
        x1, y1 = min(self.config.width, math.ceil(high[0])), min(self.config.height, math.ceil(high[1]))
        return x0, y0, max(x0, x1), max(y0, y1)

    def _expose(self, shots: list[_Shot], roi: tuple[int, int, int, int]) -> tuple[Array, Array, Array, Array]:
        """Premultiplied colour `[h, w, 3]`, person and board coverage `[h, w]` float32 over the exposure, and the
        owners `[2h, 2w]` uint8 of its middle."""
        x0, y0, x1, y1 = roi
        size = (x1 - x0, y1 - y0)
        total = np.zeros((size[1], size[0], 5), np.float32)
        owners = np.zeros((SUPERSAMPLE * size[1], SUPERSAMPLE * size[0]), np.uint8)
        if min(size) == 0:
            return total[..., :3], total[..., 3], total[..., 4], owners
        for i, shot in enumerate(shots):
            canvas = np.zeros((*owners.shape, 4), np.uint8)
            self._paint(canvas, shot, (x0, y0))
            owner = canvas[..., 3]
            if i == len(shots) // 2:
                owners = owner.copy()
            covered = np.dstack([(owner >= OWNER_BODY).view(np.uint8), (owner == OWNER_BOARD).view(np.uint8)]) * _FULL
            total[..., :3] += cv2.resize(canvas[..., :3], size, interpolation=cv2.INTER_AREA)
            total[..., 3:] += cv2.resize(covered, size, interpolation=cv2.INTER_AREA)
        total /= len(shots)
        total[..., 3:] /= _FULL
        return total[..., :3], total[..., 3], total[..., 4], owners

    def _paint(self, canvas: Array, shot: _Shot, origin: tuple[int, int]) -> None:
        """Board, then puppet: `canvas` is `SUPERSAMPLE` times finer than the picture and begins at `origin`."""

        def place(points: Array) -> Array:  # pixel centres at whole coordinates, on both grids
            return SUPERSAMPLE * (points - origin) + (SUPERSAMPLE - 1) / 2

        brush = Brush(canvas)
        scale = shot.scale * SUPERSAMPLE
        draw_board(brush, self.look.board, shot.board, place(shot.board_centre), scale)
        body = self.look.body
        PuppetPainter(
            brush, place(shot.anchors), body.height_px * scale, self.look.body_rgb, body.limb_width, self.look.coded
        ).draw()

    def _visible(self, joints: Array, shot: _Shot, owners: Array, roi: tuple[int, int, int, int]) -> Array:
        """`[133]` bool: inside the frame, and half of its disc (a painted joint) or its own part (the others) shows."""
        x, y = np.round(joints).astype(int).T
        inside = (x >= 0) & (x < self.config.width) & (y >= 0) & (y < self.config.height)
        x0, y0, x1, y1 = roi
        drawn = inside & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        visible = np.zeros(JOINTS, bool)
        rows, columns = ((SUPERSAMPLE * (v[drawn] - o)) for v, o in ((y, y0), (x, x0)))
        found = owners[rows, columns]
        # A joint on the rim of its part may round to a neighbour: the part's own discs count as the part.
        own = self._owners[drawn]
        same = (found == own) | ((found >= OWNER_ANCHOR) & (found < OWNER_ANCHOR + len(ANCHOR_JOINTS)) & (own >= 130))
        visible[drawn] = same
        counts = np.bincount(owners.ravel(), minlength=256)
        height = self.look.body.height_px * shot.scale * SUPERSAMPLE
        for i, joint in enumerate(ANCHOR_JOINTS):
            whole = math.pi * (ANCHOR_RADIUS[i] * height) ** 2
            visible[joint] = bool(inside[joint]) and counts[OWNER_ANCHOR + i] > 0.5 * whole
        return visible

    def _cast_shadow(self, image: Array, shot: _Shot) -> None:
        """Darken the floor under board and rider, fainter the higher they are."""
        for (x, y, lift), half in zip(shot.shadow, (62.0, 34.0), strict=True):
            faint = 1.0 / (1.0 + lift / 45.0)
            radius = (half * shot.scale * (0.75 + 0.25 * faint), 9.0 * shot.scale)
            x0, x1 = max(0, math.floor(x - 1.4 * radius[0])), min(image.shape[1], math.ceil(x + 1.4 * radius[0]))
            y0, y1 = max(0, math.floor(y - 2 * radius[1])), min(image.shape[0], math.ceil(y + 2 * radius[1]))
            if x1 <= x0 or y1 <= y0:
                continue
            across = (np.arange(x0, x1, dtype=np.float32) - x) / radius[0]
            down = (np.arange(y0, y1, dtype=np.float32) - y) / radius[1]
            dark = 1 - 0.45 * faint * np.exp(-1.4 * (down[:, None] ** 2 + across[None] ** 4))
            region = image[y0:y1, x0:x1]
            region[:] = (region * dark[..., None]).astype(np.uint8)

    def _grain(self, image: Array, t: int) -> Array:
        """Slight noise: one field, taken from another place on every frame."""
        dy, dx = (int(v) for v in np.random.default_rng([self.config.seed, 32, t]).integers(0, (61, 67)))
        noise = self._noise[dy : dy + image.shape[0], dx : dx + image.shape[1]]
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U))
