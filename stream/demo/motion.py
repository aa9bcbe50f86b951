"""What happens when: one rider's script as an analytic function of time, so that any frame can be computed alone.

Time is cut into blocks, each with its own random numbers (seed, block): three tricks and one departure from the
picture in random order. Every one begins and ends in the same riding position, so they join without a jump.

    block (8.25 s)   | trick 1.83 s | leave 2.75 s | trick | trick |     the first of a clip is never the departure
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stream.demo.board import BoardPose
from stream.demo.puppet import Array, Point, Proportions, RiderPose, solve
from stream.demo.tricks import (
    DECK_ABOVE_GROUND,
    DEPARTURES,
    LEAVE_SECONDS,
    RAIL_HEIGHT,
    TRICK_SECONDS,
    TRICKS,
    Action,
    Controls,
    controls,
    grind_flights,
)

BLOCK_SECONDS = 3 * TRICK_SECONDS + LEAVE_SECONDS
DECK_Y = 300.0  # reference picture: 640x360
GROUND_Y = 316.0  # where shadows fall
REST_ROLL = 0.55  # the camera looks down on the deck a little
STANCE = 27.0  # ankles from the board's middle
ANKLE_ABOVE_DECK = 13.0
_CACHED_BLOCKS = 8


@dataclass(frozen=True)
class Script:
    """What one rider does.

    Attributes:
        tricks: the kinds its blocks draw from; `given`: these in turn, instead of blocks by chance.
        departures: the kinds of the fourth action of a block, and how long that is.
        rides: False: the rider is on foot; then only "run" goes on.
    """

    tricks: tuple[str, ...] = TRICKS
    given: tuple[str, ...] = ()
    departures: tuple[str, ...] = DEPARTURES
    departure_seconds: float = LEAVE_SECONDS
    rides: bool = True


@dataclass(frozen=True)
class Rail:
    """A rail on the ground: from `start` to `end` (covered ground), `top` and `foot` (y); reference pixels."""

    start: float
    end: float
    top: float
    foot: float
    thickness: float


@dataclass(frozen=True)
class Moment:
    """Everything that moves, at one instant, in the rider's reference pixels before the camera.

    Attributes:
        board: its pose.
        anchors: `[17, 2]` the puppet's painted joints.
        shadow: x of board and rider and their heights above the ground.
        controls: the offsets they come from; what touches what stands there.
        action: what goes on.
    """

    board: BoardPose
    anchors: Array
    shadow: tuple[Point, Point]
    controls: Controls
    action: Action


def _waves(rng: np.random.Generator, frequencies: tuple[float, ...]) -> Array:
    """`[n, 2]`: angular frequency, phase; frequencies jittered so that no two clips share a period."""
    omega = 2 * math.pi * np.array(frequencies) * rng.uniform(0.85, 1.15, len(frequencies))
    return np.stack([omega, rng.uniform(0, 2 * math.pi, len(frequencies))], 1)


def _wave(waves: Array, seconds: float) -> float:
    """-1..1."""
    return float(np.sin(waves[:, 0] * seconds + waves[:, 1]).mean())


@dataclass
class Timeline:
    """The motion of one rider of a clip.

    Attributes:
        seed: of the clip.
        body: the rider's proportions.
        view_width: of the picture, in the rider's reference pixels.
        who: number of the rider.
        script: what is done.
        ground: covered by the camera by a second, in the rider's reference pixels; `front`: +-1, where it goes.
        path: the rider's place along the picture by a second; by default a slow drift about the middle.
    """

    seed: int
    body: Proportions
    view_width: float
    who: int = 0
    script: Script = field(default_factory=Script)
    ground: Callable[[float], float] = lambda seconds: 0.0
    front: int = 0
    path: Callable[[float], float] | None = None
    _blocks: dict[int, tuple[Action, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rng = self._random(11)
        front = int(rng.choice((-1, 1)))
        self.front = self.front or front
        self._drift = _waves(rng, (0.11, 0.23))
        self._sway = _waves(rng, (0.37, 0.71))
        self._arm_waves = (_waves(rng, (0.43, 0.83)), _waves(rng, (0.47, 0.77)))
        self._look = _waves(rng, (0.31, 0.59))
        self.block_seconds = 3 * TRICK_SECONDS + self.script.departure_seconds

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream, *([self.who] if self.who else [])])

    def middle(self, seconds: float) -> float:
        """The rider's place along the picture, reference pixels."""
        return self.path(seconds) if self.path else 320.0 + 34.0 * _wave(self._drift, seconds)

    def covered(self, seconds: float) -> float:
        """Ground that the rider has covered by then, reference pixels."""
        return self.middle(seconds) + self.ground(seconds)

    def block(self, index: int) -> tuple[Action, ...]:
        """The actions of block `index`, in order of time. The last few blocks are kept."""
        if index not in self._blocks:
            while len(self._blocks) >= _CACHED_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[index] = self._plan(index)
        return self._blocks[index]

    def _plan(self, index: int) -> tuple[Action, ...]:
        rng, script = self._random(12, index), self.script
        kinds = [str(rng.choice(("kickflip", "heelflip"))), "ollie", str(rng.choice(script.tricks))]
        kinds = [kinds[i] for i in rng.permutation(3)]
        place = int(rng.integers(1, 3 if index == 0 else 4))
        kinds.insert(place, str(rng.choice(script.departures)))
        if script.given:
            kinds = [script.given[(4 * index + i) % len(script.given)] for i in range(4)]
        if not script.rides:
            kinds = ["run"] * 4
        actions, start = [], index * self.block_seconds
        for i, kind in enumerate(kinds):
            seconds = script.departure_seconds if i == place else TRICK_SECONDS
            if script.given or not script.rides:
                seconds = self.block_seconds / 4
            away = kind in DEPARTURES
            side = int(rng.choice((-1, 1))) if away else self.front
            actions.append(Action(kind, start, seconds, float(rng.random()), side, int(rng.choice((-1, 1)))))
            start += seconds
        return tuple(actions)

    def action(self, seconds: float) -> Action:
        """What is going on at this time; what comes before 0 belongs to the first action."""
        at = max(seconds, 0.0)
        actions = self.block(int(at // self.block_seconds))
        return next((a for a in reversed(actions) if a.start <= at), actions[0])

    def controls(self, seconds: float) -> Controls:
        """The offsets of the action at this time."""
        action = self.action(seconds)
        begin = action.start
        return controls(action, seconds - begin, self.view_width / 2, lambda at: self.covered(begin + at))

    def moment(self, seconds: float) -> Moment:
        """The scene at this time."""
        control = self.controls(seconds)
        middle = self.middle(seconds)
        roll = REST_ROLL + 0.10 * _wave(self._sway, seconds) + control.flip
        board = BoardPose(middle + control.board_dx, DECK_Y - control.board_lift, control.pitch, roll, control.yaw)
        rider = self._rider(control, middle, seconds)
        lift = control.rider_lift + (0.0 if self.script.rides else DECK_ABOVE_GROUND)
        shadow = ((board.x, control.board_lift), (middle + control.rider_dx, max(0.0, lift)))
        return Moment(board, solve(rider, self.body), shadow, control, self.action(seconds))

    def rails(self, first: float, last: float) -> list[Rail]:
        """The rails of the grinds between two seconds."""
        found = []
        blocks = range(max(0, int(first // self.block_seconds)), max(0, int(last // self.block_seconds)) + 1)
        for action in (action for index in blocks for action in self.block(index) if action.kind == "grind"):
            up, off = grind_flights(action)
            ends = sorted(self.covered(action.start + at) for at in (up.end, off.start))
            found.append(Rail(ends[0] - 25.0, ends[1] + 25.0, DECK_Y - RAIL_HEIGHT + 5.0, GROUND_Y, 5.0))
        return found

    def _rider(self, control: Controls, middle: float, seconds: float) -> RiderPose:
        height = self.body.height_px
        x = middle + control.rider_dx
        c, s = math.cos(control.foot_pitch), math.sin(control.foot_pitch)
        ankles = []
        for k, side in enumerate((1, -1)):
            on = (side * STANCE * c + ANKLE_ABOVE_DECK * s, DECK_Y + side * STANCE * s - ANKLE_ABOVE_DECK * c)
            ankles.append((x + on[0] + control.feet_dx[k], on[1] - control.rider_lift - control.feet_lift[k]))
        standing = (self.body.thigh + self.body.shin) * height
        hip = (
            x + 20.0 * control.lean + 4.0 * _wave(self._sway, seconds),
            DECK_Y - ANKLE_ABOVE_DECK - control.rider_lift - standing * (0.93 - 0.30 * control.crouch),
        )
        return RiderPose(
            ankles=(ankles[0], ankles[1]),
            foot_angle=control.foot_pitch,
            hip=hip,
            lean=control.lean + 0.06 * _wave(self._sway, seconds),
            wrists=(self._wrist(control, 0, seconds), self._wrist(control, 1, seconds)),
            head_tilt=0.3 * control.lean + 0.10 * _wave(self._look, seconds),
            head_turn=0.028 * _wave(self._look, seconds + 3.0),
        )

    def _wrist(self, control: Controls, k: int, seconds: float) -> Point:
        """Arms out to the sides, raised by `arms`, swaying: relative to the shoulder."""
        height, side = self.body.height_px, (1, -1)[k]
        angle = 0.62 - 1.25 * control.arms + 0.22 * _wave(self._arm_waves[k], seconds)
        reach = (0.245 + 0.02 * _wave(self._arm_waves[1 - k], seconds)) * height
        return (side * reach * math.cos(angle), reach * math.sin(angle))
