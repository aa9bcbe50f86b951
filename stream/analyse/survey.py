"""One pass over a clip: its shots, its persons, how the camera moves, its rate. Bounded memory, whatever its length."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage, VideoProperties
from stages.poses.everyone import Everyone, Trace
from stages.poses.models import PoseModels
from stages.views.motion import background, small_grey, step
from storage.spans import Span

AT_ONCE = 8  # frames decoded at a time
EVEN = 1.1  # the longest time from a frame to the next against the shortest, within which a rate is even
STILL = 0.0005  # of the longer side a frame: a camera that moves less stands
LEAST_ZOOM = 0.02  # share a second
LEAST_FOLLOWED = 0.5  # share of the looks at a shot in which the background has to be followed
LEAST_SIGHTS = 3  # of a person; fewer may be a mistake of the detector


@dataclass
class Camera:
    """How the background moves in a shot, from looks at pairs of consecutive frames.

    Attributes:
        moves: `[2]` each: pixels that the picture's middle moves from a frame to the next. scales: by what it grows.
        lost: looks in which the background could not be followed.
    """

    moves: list[Array] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    lost: int = 0

    def see(self, before: Array, after: Array, boxes: Array, size: tuple[int, int]) -> None:
        """Look at two frames, as `small_grey` gives them; boxes `[n, 4]` of persons, size: (width, height), pixels."""
        taken = np.zeros((size[1], size[0]), bool)
        for left, top, right, bottom in boxes.round().astype(int).clip(0):
            taken[top:bottom, left:right] = True
        free = background(taken, (before.shape[0], before.shape[1]))
        found = step(before, after, free, free, size)
        if found.inliers == 0:
            self.lost += 1
            return
        middle = np.array([size[0] / 2, size[1] / 2, 1.0])
        self.moves.append(found.matrix @ middle - middle[:2])
        self.scales.append(float(np.hypot(found.matrix[0, 0], found.matrix[1, 0])))

    def told(self, size: tuple[int, int], fps: float) -> "Movement | None":
        """What it does; None where too little background could be followed."""
        looks = len(self.moves) + self.lost
        if not self.moves or len(self.moves) < LEAST_FOLLOWED * looks:
            return None
        moves = np.array(self.moves)
        drift = -np.median(moves, axis=0)  # the camera goes where the picture comes from
        # From a look to the next a pan changes little: what differs is shake, in both looks.
        shake = float(np.sqrt(np.square(np.diff(moves, axis=0)).sum(axis=1).mean() / 2)) if len(moves) > 1 else 0.0
        zoom = float(np.median(self.scales)) ** fps - 1
        still = STILL * max(size)
        return Movement((float(drift[0] * fps), float(drift[1] * fps)), shake, zoom, still * fps, still)


@dataclass(frozen=True)
class Movement:
    """Of the camera in a shot.

    Attributes:
        drift: where it pans, pixels a second, right and down. shake: pixels from frame to frame, RMS.
        zoom: by what share the picture grows in a second.
        least_drift, least_shake: below which it stands.
    """

    drift: tuple[float, float]
    shake: float
    zoom: float
    least_drift: float
    least_shake: float

    def __str__(self) -> str:
        right, down = self.drift
        parts = [
            f"pans {way} by {abs(value):.0f} px/s"
            for value, way in ((right, "right" if right > 0 else "left"), (down, "down" if down > 0 else "up"))
            if abs(value) > self.least_drift
        ]
        parts += [f"zooms {'in' if self.zoom > 0 else 'out'} by {abs(self.zoom):.0%} a second"] * (
            abs(self.zoom) > LEAST_ZOOM
        )
        parts += [f"shakes by {self.shake:.1f} px from frame to frame"] * (self.shake > self.least_shake)
        return ", ".join(parts) or "stands still"


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        properties: of the video. frames: how many there are. fps: of their times; even: whether they come evenly.
        shots: half-open spans; cameras: of each, None where it could not be told.
        persons: as they were met. brief: seen fewer than `LEAST_SIGHTS` times.
        every: frames from one detection to the next.
    """

    properties: VideoProperties
    frames: int
    fps: float
    even: bool
    shots: list[tuple[int, int]]
    cameras: list[Movement | None]
    persons: list[Trace]
    brief: list[Trace]
    every: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.properties.width, self.properties.height

    @property
    def cuts(self) -> tuple[int, ...]:
        """First frames of the shots behind the first."""
        return tuple(start for start, _ in self.shots[1:])


def survey(config: DecodeConfig, models: PoseModels, every: int, seen: Callable[[int], None]) -> Survey:
    """Look through a whole clip, detecting persons on every `every`-th frame and on each shot's first.

    Args:
        config: of decoding, which splits at cuts.
        seen: told how many frames were looked at.

    Raises:
        InputError: the video cannot be used. EnvironmentFault: the detector cannot.
    """
    detector = models.open_detector()
    decode = DecodeStage(config)
    everyone, shots, cameras = Everyone(), list[tuple[int, int]](), [Camera()]
    times = Times()
    try:
        decode.open()
        properties = decode.properties
        size, frame, shot_start = (properties.width, properties.height), 0, 0
        before: Array | None = None
        while True:
            found = decode.next(Span(frame, frame + AT_ONCE), shot_start)
            for picture, seconds in zip(found.frames, found.times, strict=True):
                times.see(float(seconds))
                due = frame % every == 0 or frame == shot_start
                grey = small_grey(picture) if due or (frame + 1) % every == 0 else None
                if due:
                    boxes = detector(picture)
                    everyone.see(frame, picture, boxes)
                    if before is not None and grey is not None:
                        cameras[-1].see(before, grey, boxes, size)
                before, frame = grey, frame + 1
            seen(len(found.times))
            if found.cut or found.last:
                shots.append((shot_start, frame))
                everyone.end_shot()
                before, shot_start = None, frame
            if found.last:
                break
            cameras += [Camera()] * found.cut
    finally:
        decode.close()
    fps = times.rate(properties.claimed_fps)
    return Survey(
        properties, frame, fps, times.even, shots, [camera.told(size, fps) for camera in cameras],
        [each for each in everyone.persons if len(each.seen) >= LEAST_SIGHTS],
        [each for each in everyone.persons if len(each.seen) < LEAST_SIGHTS], every,
    )  # fmt: skip


class Times:
    """What the times of frames say of the rate."""

    def __init__(self) -> None:
        self._count, self._first, self._last = 0, 0.0, 0.0
        self._steps = (float("inf"), 0.0)

    def see(self, seconds: float) -> None:
        """The next frame's."""
        if self._count:
            step = seconds - self._last
            self._steps = min(self._steps[0], step), max(self._steps[1], step)
        else:
            self._first = seconds
        self._count, self._last = self._count + 1, seconds

    @property
    def even(self) -> bool:
        """Whether frames come evenly."""
        return self._steps[1] <= EVEN * self._steps[0]

    def rate(self, claimed: float) -> float:
        """Frames a second; as claimed where there is one frame alone."""
        took = self._last - self._first
        return (self._count - 1) / took if took > 0 else claimed
