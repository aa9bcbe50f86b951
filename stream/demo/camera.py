"""The camera: one affine map from the rider's reference picture to the picture of the clip, at any instant of any shot.

    steady    goes along with the riders, with a slow drift and zoom      pan    the same, turning slowly to and fro
    handheld  shaken by up to 12 px and turned by up to 0.8 degrees       far    a board of 60 to 80 px in 1280x720
    cuts      several shots, each in another place, of another size; one pans, one is shaken, one has a flash

The park is one plane: what the camera does to it from frame to frame is one affine map as well.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stream.demo.puppet import Array

CAMERAS = ("steady", "handheld", "far", "cuts", "pan")
DEFAULT_SHOTS, LEAST_SHOT = 5, 30  # of the camera "cuts"; frames
FAR_SIZE = 0.287
SHAKE_PIXELS, SHAKE_RADIANS = 12.0, math.radians(0.8)  # at most, in a picture of 640x360
PAN_PIXELS, PAN_SECONDS = 110.0, 12.0
FLASH_FRAMES = 2
_KINDS = ("steady", "steady", "pan", "handheld", "steady")  # of successive shots
_SIZES = (1.0, 0.7, 1.0, 0.85, 1.3)


@dataclass(frozen=True)
class Shot:
    """Frames `[start, stop)` seen by one camera in one place.

    Attributes:
        index: its number.
        start, stop: frames, half-open.
        kind: "steady", "handheld" or "pan".
        size: of everything, relative to the clip's.
        flash: first frame of a flash, None without one.
    """

    index: int
    start: int
    stop: int
    kind: str
    size: float
    flash: int | None = None

    def flashes(self, frame: int) -> bool:
        """Whether a frame is lit by the flash."""
        return self.flash is not None and self.flash <= frame < self.flash + FLASH_FRAMES


def plan_shots(camera: str, frames: int, shots: int | None, seed: int) -> tuple[Shot, ...]:
    """The shots of a clip: one, but for the camera "cuts"."""
    if camera != "cuts":
        size = FAR_SIZE if camera == "far" else 1.0
        return (Shot(0, 0, frames, camera if camera in ("handheld", "pan") else "steady", size),)
    count = max(1, min(shots or DEFAULT_SHOTS, frames // LEAST_SHOT))
    rng = np.random.default_rng([seed, 51])
    spare = frames - count * LEAST_SHOT
    parts = np.diff(np.floor(np.concatenate([[0.0], np.sort(rng.uniform(0, 1, count - 1)), [1.0]]) * max(0, spare)))
    lengths = [LEAST_SHOT + int(part) for part in parts]
    lengths[-1] += frames - sum(lengths)
    planned, start = [], 0
    lit = 1 if count > 1 else 0
    for index, length in enumerate(lengths):
        flash = start + length // 2 if index == lit and length >= 3 * FLASH_FRAMES else None
        kind, size = _KINDS[index % len(_KINDS)], _SIZES[index % len(_SIZES)]
        planned.append(Shot(index, start, start + length, kind, size, flash))
        start += length
    return tuple(planned)


def _sum_of_waves(rng: np.random.Generator, frequencies: tuple[float, ...]) -> Callable[[float], float]:
    """-1..1, faster waves smaller."""
    omega = 2 * math.pi * np.array(frequencies) * rng.uniform(0.85, 1.15, len(frequencies))
    phase, weight = rng.uniform(0, 2 * math.pi, len(frequencies)), 1 / np.sqrt(frequencies)
    weight = weight / weight.sum()
    return lambda seconds: float((weight * np.sin(omega * seconds + phase)).sum())


class Camera:
    """The camera of one clip.

    Args:
        seed: of the clip.
        width, height: of the picture.
        size: of everything, relative to a picture of 640x360 with a board of 122 px.
        front: +-1, towards where the riders go.

    Attributes:
        slowest: its least speed over the ground, reference pixels a second.
    """

    def __init__(self, seed: int, width: int, height: int, size: float, front: int) -> None:
        self.width, self.height, self.size, self.front = width, height, size, front
        self.unit = min(width / 640.0, height / 360.0)
        rng = np.random.default_rng([seed, 31])
        self._speed = float(rng.uniform(110, 210)) * front
        self.slowest = 0.67 * abs(self._speed)
        self._phases = rng.uniform(0, 2 * math.pi, 4)
        self._rates = 2 * math.pi * np.array([0.21, 0.13, 0.17, 0.09]) * rng.uniform(0.85, 1.15, 4)
        shake = np.random.default_rng([seed, 52])
        self._shake = [_sum_of_waves(shake, (0.9, 1.7, 2.9, 4.6)) for _ in range(3)]
        self._pan = float(shake.uniform(0, 2 * math.pi))

    def travel(self, seconds: float) -> float:
        """How far the camera has gone along the ground by then, reference pixels."""
        wave = math.sin(self._rates[3] * seconds + self._phases[3])
        return self._speed * (seconds + 0.5 * wave)

    def scale(self, shot: Shot) -> float:
        """Picture pixels per reference pixel."""
        return self.unit * self.size * shot.size

    def view_height(self, shot: Shot) -> float:
        """Of the picture, in reference pixels."""
        return self.height / self.scale(shot)

    def middle_y(self, shot: Shot) -> float:
        """The reference height that the picture's middle shows: the deck stays low in it, at any size."""
        size = self.size * shot.size
        place = 0.5 + 1 / 3 - 0.25 * max(0.0, 1 - size)
        return 300.0 - (place - 0.5) * 360.0 / size

    def matrix(self, shot: Shot, seconds: float) -> Array:
        """`[2, 3]` float64: reference pixels -> picture pixels."""
        wave = np.sin(self._rates * seconds + self._phases)
        calm = 1 / max(1.0, self.size * shot.size)  # a drift that a close view can bear
        pan = np.array([26.0 * wave[0] * calm, 5.0 * wave[1] * calm])
        if shot.kind == "pan":
            pan[0] += PAN_PIXELS * calm * math.sin(2 * math.pi * seconds / PAN_SECONDS + self._pan)
        scale = self.scale(shot) * (1.0 + 0.035 * wave[2])
        shift, angle = np.zeros(2), 0.0
        if shot.kind == "handheld":
            shift = SHAKE_PIXELS / math.sqrt(2) * self.unit * np.array([s(seconds) for s in self._shake[:2]])
            angle = SHAKE_RADIANS * self._shake[2](seconds)
        linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        centre = np.array([320.0, self.middle_y(shot)]) - pan
        middle = np.array([self.width / 2, self.height / 2])
        return np.column_stack([linear, middle + shift - linear @ centre])

    def ground(self, shot: Shot, seconds: float) -> Array:
        """`[2, 3]` float64: places on the park (reference pixels) -> picture pixels."""
        matrix = self.matrix(shot, seconds)
        return np.column_stack([matrix[:, :2], matrix[:, 2] - matrix[:, 0] * self.travel(seconds)])
