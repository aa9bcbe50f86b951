"""Who is in the clip: skaters and boards, each in a lane of the park, with paths that cross.

Skater k rides board k. Skaters beyond the boards run, boards beyond the skaters roll alone. With several, the second
skater is the one who leaves, for two seconds, and the first two boards look alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stream.demo.board import BoardPose
from stream.demo.camera import Camera
from stream.demo.look import Look
from stream.demo.motion import GROUND_Y, Moment, Rail, Script, Timeline
from stream.demo.puppet import Array

MOST = 5  # skaters, boards
LONG_LEAVE_SECONDS = 3.9  # two of them out of the picture
_SIZES = (1.0, 0.8, 0.72, 0.66, 0.62)  # of one among so many
_LANES = (-22.0, 24.0)  # ground lines of the farthest and the nearest, below that of a single skater
PATH_REACH = 205.0  # of the paths to both sides of the middle


def subject_name(kind: str, index: int) -> str:
    """ "board", "board-2", ... and "skater", "skater-2", ..."""
    return kind if index == 0 else f"{kind}-{index + 1}"


@dataclass(frozen=True)
class Pose:
    """One performer at one instant, in reference pixels of the whole scene; a rider's own pixels are `size` of them.

    Attributes:
        board: its pose, None without a board; anchors: `[17, 2]` or None without a skater.
        shadows: x, y and height above the ground, half the width.
        moment: the instant in the rider's own pixels.
    """

    board: BoardPose | None
    anchors: Array | None
    shadows: tuple[tuple[float, float, float, float], ...]
    moment: Moment


@dataclass(frozen=True)
class Performer:
    """A skater, a board, or both.

    Attributes:
        index: k; `skater`, `board`: whether there is one.
        look: of both.
        timeline: in the rider's own reference pixels.
        size: scene pixels of one of them; `down`: where their y = 0 lies.
        depth: 0 is the nearest.
    """

    index: int
    skater: bool
    board: bool
    look: Look
    timeline: Timeline
    size: float
    down: float
    depth: int

    def pose(self, seconds: float) -> Pose:
        """The performer at this time."""
        moment, size = self.timeline.moment(seconds), self.size
        board = replace(moment.board, x=size * moment.board.x, y=self.down + size * moment.board.y)
        anchors = np.array([0.0, self.down]) + size * moment.anchors
        ground = self.down + size * GROUND_Y
        halves = ((62.0, self.board), (34.0, self.skater))
        shadows = tuple(
            (size * x, ground, size * lift, size * half)
            for (x, lift), (half, there) in zip(moment.shadow, halves, strict=True)
            if there
        )
        return Pose(board if self.board else None, anchors if self.skater else None, shadows, moment)

    def rails(self, first: float, last: float) -> list[Rail]:
        """The rails of the grinds between two seconds, in the scene's pixels."""
        if not (self.skater and self.board):
            return []
        size, down = self.size, self.down
        return [
            Rail(size * r.start, size * r.end, down + size * r.top, down + size * r.foot, size * r.thickness)
            for r in self.timeline.rails(first, last)
        ]


def _path(rng: np.random.Generator, place: float, reach: float, direction: int) -> Callable[[float], float]:
    """A slow way to and fro about the middle that begins at share `place` (-1..1) of `reach`."""
    phase, rate = math.asin(place), 2 * math.pi * float(rng.uniform(0.075, 0.115))
    if direction < 0:
        phase = math.pi - phase
    return lambda seconds: 320.0 + reach * math.sin(phase + rate * seconds)


def _script(index: int, group: int, skater: bool, board: bool, tricks: tuple[str, ...]) -> Script:
    if not board:
        return Script(rides=False)
    if not skater:
        return Script(given=("ride",))
    if tricks:
        return Script(given=tricks)
    if group == 1:
        return Script()
    if index == 1:
        return Script(departures=("leave",), departure_seconds=LONG_LEAVE_SECONDS)
    return Script(departures=("bail", "grind", "ride"))


def cast(
    seed: int, skaters: int, boards: int, wide: bool, camera: Camera, view_width: float, tricks: tuple[str, ...]
) -> list[Performer]:
    """The performers of a clip, by number.

    Args:
        seed: of the clip.
        skaters, boards: how many.
        wide: looks of any colour, for training.
        camera: it goes along with them.
        view_width: of the picture, reference pixels.
        tricks: what every rider does in turn; empty: what the seed gives.
    """
    group = max(skaters, boards)
    rng = np.random.default_rng([seed, 61])
    depths = rng.permutation(group)
    looks = [Look.from_seed(seed, wide, who) for who in range(group)]
    if group > 1:
        looks[1] = replace(looks[1], board=looks[0].board)
    found: list[Performer] = []
    for k in range(group):
        nearness = 1 - depths[k] / max(1, group - 1)
        size = _SIZES[group - 1] * (1.0 if group == 1 else 0.94 + 0.12 * nearness)
        lane = GROUND_Y + (0.0 if group == 1 else _LANES[0] * (1 - nearness) + _LANES[1] * nearness)
        place = 0.0 if group == 1 else -0.85 + 1.7 * k / (group - 1)
        path = _path(rng, place, min(PATH_REACH, view_width / 2 - 60.0), int(rng.choice((-1, 1))))
        own: Callable[[float], float] | None = None if group == 1 else _scaled(path, size)
        timeline = Timeline(
            seed, looks[k].body, view_width / size, k, _script(k, group, k < skaters, k < boards, tricks),
            _scaled(camera.travel, size), camera.front, own,
        )  # fmt: skip
        found.append(
            Performer(k, k < skaters, k < boards, looks[k], timeline, size, lane - size * GROUND_Y, int(depths[k]))
        )
    return found


def _scaled(way: Callable[[float], float], size: float) -> Callable[[float], float]:
    """A way in the scene's pixels as one in pixels of `size` of them."""
    return lambda seconds: way(seconds) / size
