"""What happens when: the rider's tricks as an analytic function of time, so that any frame can be computed alone.

Time is cut into blocks, each with its own random numbers (seed, block): three tricks and one departure from the
picture in random order. Every one begins and ends in the same riding position, so they join without a jump.

    block (8.25 s)   | trick 1.83 s | leave 2.75 s | trick | trick |     the first of a clip is never the departure
"""

import math
from dataclasses import dataclass, field

import numpy as np

from stream.demo.board import BoardPose
from stream.demo.puppet import Array, Point, Proportions, RiderPose, solve

TRICK_SECONDS = 44 / 24
LEAVE_SECONDS = 66 / 24
BLOCK_SECONDS = 3 * TRICK_SECONDS + LEAVE_SECONDS
DECK_Y = 300.0  # reference picture: 640x360
GROUND_ANKLE_Y = 307.0
REST_ROLL = 0.55  # the camera looks down on the deck a little
TRICKS = ("ollie", "kickflip", "heelflip", "push", "manual")
_STANCE = 27.0  # ankles from the board's middle
_ANKLE_ABOVE_DECK = 13.0
_CACHED_BLOCKS = 4


@dataclass(frozen=True)
class Action:
    """One trick or departure.

    Attributes:
        kind: one of `TRICKS`, "leave" (with the board) or "bail" (the board alone).
        start: seconds.
        seconds: its length.
        size: 0..1, how high or far.
        side: +-1, towards the picture's right or left.
        back: +-1, from which side it comes back.
    """

    kind: str
    start: float
    seconds: float
    size: float
    side: int
    back: int


@dataclass(frozen=True)
class Controls:
    """Offsets from the riding position (reference pixels, up positive for `*_lift`; radians).

    `on_board` 1: the feet follow the deck; 0: they are at the ground position.
    """

    board_dx: float = 0.0
    board_lift: float = 0.0
    pitch: float = 0.0
    flip: float = 0.0
    rider_dx: float = 0.0
    rider_lift: float = 0.0
    crouch: float = 0.15
    feet_dx: Point = (0.0, 0.0)
    feet_lift: Point = (0.0, 0.0)
    on_board: float = 1.0
    arms: float = 0.0
    lean: float = 0.0


def ramp(p: float, start: float, end: float) -> float:
    """Smooth step from 0 at `start` to 1 at `end`."""
    u = min(max((p - start) / (end - start), 0.0), 1.0)
    return u * u * (3 - 2 * u)


def bump(p: float, start: float, end: float) -> float:
    """0 outside `[start, end]`, 1 in its middle, smooth."""
    u = min(max((p - start) / (end - start), 0.0), 1.0)
    return math.sin(math.pi * u) ** 2


def _jump(p: float, action: Action) -> Controls:
    """Ollie, kickflip and heelflip: crouch, pop, fly, land."""
    flips = action.kind != "ollie"
    take, land = 0.34, 0.66
    u = min(max((p - take) / (land - take), 0.0), 1.0)
    lift = (38.0 + 20.0 * action.size) * 4 * u * (1 - u)
    air = math.sin(math.pi * u)
    nose_up = math.sin(math.pi * min(u / 0.62, 1.0)) * (0.32 if flips else 0.55)
    settle = -0.12 * math.sin(math.pi * min(max((u - 0.62) / 0.38, 0.0), 1.0))
    turn = 2 * math.pi * ramp(u, 0.1, 0.88) * (-1 if action.kind == "heelflip" else 1)
    tuck = (22.0 * air if flips else 0.0, (25.0 if flips else 5.0) * air)
    return Controls(
        board_lift=lift,
        rider_lift=lift,
        pitch=-action.side * (nose_up + settle),
        flip=turn if flips else 0.0,
        crouch=0.15 + 0.7 * bump(p, 0.1, 0.4) + 0.25 * air + 0.6 * bump(p, 0.62, 0.9),
        feet_lift=tuck,
        arms=0.9 * bump(p, 0.26, 0.74),
        lean=action.side * (0.16 * bump(p, 0.1, 0.5) - 0.1 * bump(p, 0.6, 0.95)),
    )


def _push(p: float, action: Action) -> Controls:
    """One foot goes down beside the board, sweeps back and returns, twice at the larger sizes."""
    strokes = 2 if action.size > 0.5 else 1
    u = min(max((p - 0.08) / 0.84, 0.0), 1.0) * strokes % 1.0 if 0.08 < p < 0.92 else 0.0
    down = bump(u, 0.0, 1.0)
    sweep = -math.sin(2 * math.pi * u) * 16.0 - 20.0 * down
    back = 0 if action.side < 0 else 1  # the rear foot pushes
    dx, lift = [0.0, 0.0], [0.0, 0.0]
    dx[back] = action.side * sweep
    lift[back] = -26.0 * down + 20.0 * (bump(u, 0.0, 0.3) + bump(u, 0.7, 1.0))
    swing = 0.10 * math.sin(2 * math.pi * u)
    return Controls(
        crouch=0.15 + 0.35 * down, feet_dx=(dx[0], dx[1]), feet_lift=(lift[0], lift[1]),
        lean=action.side * (0.14 * down + swing), arms=0.25 * down,
    )  # fmt: skip


def _manual(p: float, action: Action) -> Controls:
    """Riding on the rear wheels."""
    held = ramp(p, 0.12, 0.3) - ramp(p, 0.7, 0.86)
    wobble = 0.04 * math.sin(26.0 * p)
    return Controls(
        pitch=-action.side * (0.22 + 0.12 * action.size + wobble) * held,
        board_lift=9.0 * held,
        rider_lift=9.0 * held,
        crouch=0.15 + 0.3 * held,
        arms=0.55 * held + 0.1 * math.sin(19.0 * p) * held,
        lean=-action.side * 0.12 * held,
    )


def _away(seconds: float, total: float, delay: float, gain_seconds: float, speed: float, back: int) -> float:
    """Distance of a departure: after `delay` it speeds up for `gain_seconds`, runs on at `speed`, and comes back
    mirrored in time. `back` -1 comes back from the other side: it changes over at half time, outside the picture.
    """
    moving = max(min(seconds, total - seconds) - delay, 0.0)
    gained = min(moving, gain_seconds)
    distance = speed * (gained * gained / (2 * gain_seconds) + (moving - gained))
    return distance * (back if seconds > total / 2 else 1)


def _leave(p: float, action: Action, half_view: float) -> Controls:
    """The rider rides out of the picture and back in."""
    stretch = half_view / 320.0
    dx = _away(p * action.seconds, action.seconds, 0.20 - 0.04 * action.size, 0.5, 640.0 * stretch, action.back)
    fast = bump(p, 0.0, 0.5) + bump(p, 0.5, 1.0)
    return Controls(board_dx=action.side * dx, rider_dx=action.side * dx, crouch=0.15 + 0.45 * fast, arms=0.2 * fast,
                    lean=action.side * 0.1 * (bump(p, 0.0, 0.5) - action.back * bump(p, 0.5, 1.0)))  # fmt: skip


def _bail(p: float, action: Action, half_view: float) -> Controls:
    """The board shoots away alone, the rider runs on beside the place where it was, and it comes back to his feet."""
    stretch = half_view / 320.0
    seconds = p * action.seconds
    dx = _away(seconds, action.seconds, 0.46 - 0.04 * action.size, 0.3, 880.0 * stretch, action.back)
    off = ramp(p, 0.10, 0.22) - ramp(p, 0.80, 0.92)
    hop = bump(p, 0.08, 0.24) + bump(p, 0.78, 0.94)
    phase = 2 * math.pi * 2.4 * seconds
    stride = (max(0.0, math.sin(phase)), max(0.0, -math.sin(phase)))
    return Controls(
        board_dx=action.side * dx,
        pitch=-action.side * 0.10 * bump(p, 0.05, 0.3),
        rider_lift=30.0 * hop,
        crouch=0.15 + 0.3 * hop + 0.1 * off,
        feet_lift=(17.0 * stride[0] * off, 17.0 * stride[1] * off),
        feet_dx=(-7.0 * off, 7.0 * off),
        on_board=1.0 - off,
        arms=0.5 * hop + 0.12 * math.sin(phase) * off,
        lean=0.05 * math.sin(phase) * off,
    )


def _waves(rng: np.random.Generator, frequencies: tuple[float, ...]) -> Array:
    """`[n, 2]`: angular frequency, phase; frequencies jittered so that no two clips share a period."""
    omega = 2 * math.pi * np.array(frequencies) * rng.uniform(0.85, 1.15, len(frequencies))
    return np.stack([omega, rng.uniform(0, 2 * math.pi, len(frequencies))], 1)


def _wave(waves: Array, seconds: float) -> float:
    """-1..1."""
    return float(np.sin(waves[:, 0] * seconds + waves[:, 1]).mean())


@dataclass(frozen=True)
class Moment:
    """Everything that moves, at one instant, in reference pixels before the camera.

    Attributes:
        board: its pose.
        anchors: `[17, 2]` the puppet's painted joints.
        shadow: x of board and rider and their heights above the ground.
    """

    board: BoardPose
    anchors: Array
    shadow: tuple[Point, Point]


@dataclass
class Timeline:
    """The motion of one clip.

    Attributes:
        seed: of the clip.
        body: the rider's proportions.
        view_width: of the picture, in reference pixels.
    """

    seed: int
    body: Proportions
    view_width: float
    _blocks: dict[int, tuple[Action, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 11])
        self.front = int(rng.choice((-1, 1)))
        self._drift = _waves(rng, (0.11, 0.23))
        self._sway = _waves(rng, (0.37, 0.71))
        self._arm_waves = (_waves(rng, (0.43, 0.83)), _waves(rng, (0.47, 0.77)))
        self._look = _waves(rng, (0.31, 0.59))

    def block(self, index: int) -> tuple[Action, ...]:
        """The actions of block `index`, in order of time. The last few blocks are kept."""
        if index not in self._blocks:
            while len(self._blocks) >= _CACHED_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[index] = self._plan(index)
        return self._blocks[index]

    def _plan(self, index: int) -> tuple[Action, ...]:
        rng = np.random.default_rng([self.seed, 12, index])
        kinds = [str(rng.choice(("kickflip", "heelflip"))), "ollie", str(rng.choice(TRICKS))]
        kinds = [kinds[i] for i in rng.permutation(3)]
        kinds.insert(int(rng.integers(1, 3 if index == 0 else 4)), str(rng.choice(("leave", "bail"))))
        actions, start = [], index * BLOCK_SECONDS
        for kind in kinds:
            seconds = LEAVE_SECONDS if kind in ("leave", "bail") else TRICK_SECONDS
            side = self.front if kind not in ("leave", "bail") else int(rng.choice((-1, 1)))
            actions.append(Action(kind, start, seconds, float(rng.random()), side, int(rng.choice((-1, 1)))))
            start += seconds
        return tuple(actions)

    def action(self, seconds: float) -> Action:
        """What is going on at this time; what comes before 0 belongs to the first action."""
        at = max(seconds, 0.0)
        actions = self.block(int(at // BLOCK_SECONDS))
        return next((a for a in reversed(actions) if a.start <= at), actions[0])

    def controls(self, seconds: float) -> Controls:
        """The offsets of the action at this time."""
        action = self.action(seconds)
        p = min(max((seconds - action.start) / action.seconds, 0.0), 1.0)
        half_view = self.view_width / 2
        if action.kind == "leave":
            return _leave(p, action, half_view)
        if action.kind == "bail":
            return _bail(p, action, half_view)
        if action.kind == "push":
            return _push(p, action)
        return _manual(p, action) if action.kind == "manual" else _jump(p, action)

    def moment(self, seconds: float) -> Moment:
        """The scene at this time."""
        control = self.controls(seconds)
        middle = 320.0 + 34.0 * _wave(self._drift, seconds)
        roll = REST_ROLL + 0.10 * _wave(self._sway, seconds) + control.flip
        board = BoardPose(middle + control.board_dx, DECK_Y - control.board_lift, control.pitch, roll)
        rider = self._rider(control, middle, seconds)
        shadow = ((board.x, control.board_lift), (middle + control.rider_dx, control.rider_lift))
        return Moment(board, solve(rider, self.body), shadow)

    def _rider(self, control: Controls, middle: float, seconds: float) -> RiderPose:
        height = self.body.height_px
        x = middle + control.rider_dx
        c, s = math.cos(control.pitch), math.sin(control.pitch)
        ankles = []
        for k, side in enumerate((1, -1)):
            on = (side * _STANCE * c + _ANKLE_ABOVE_DECK * s, DECK_Y + side * _STANCE * s - _ANKLE_ABOVE_DECK * c)
            ground = (side * _STANCE, GROUND_ANKLE_Y)
            mixed = [control.on_board * a + (1 - control.on_board) * b for a, b in zip(on, ground, strict=True)]
            ankles.append((x + mixed[0] + control.feet_dx[k], mixed[1] - control.rider_lift - control.feet_lift[k]))
        standing = (self.body.thigh + self.body.shin) * height
        foot_y = DECK_Y - _ANKLE_ABOVE_DECK - control.rider_lift + (1 - control.on_board) * 18.0
        hip = (
            x + 20.0 * control.lean + 4.0 * _wave(self._sway, seconds),
            foot_y - standing * (0.93 - 0.30 * control.crouch),
        )
        return RiderPose(
            ankles=(ankles[0], ankles[1]),
            foot_angle=control.pitch * control.on_board,
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
