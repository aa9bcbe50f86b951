"""The tricks: what board, rider and feet do at a moment of an action, as offsets from the riding position.

Flight is ballistic and contact is by construction. An action has at most two flights, each a parabola under the one
gravity of the scene; outside them board or rider rest on a level (ground, deck, rail). A foot that touches the board
has no offset from its place on the deck; a foot that touches the ground moves as the ground does.

    level    ___/\\___      ollie, flips, shove-it          ____/\\___
             0     0                                       0    rail \\__ 0     grind
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stream.demo.puppet import Point

TRICK_SECONDS = 44 / 24
LEAVE_SECONDS = 66 / 24
GRAVITY = 9.81 * 202.0 / 1.75  # reference px/s^2: the rider is 202 px and 1.75 m tall
DECK_ABOVE_GROUND = 20.0  # how much lower an ankle is that stands on the ground beside the board
RAIL_HEIGHT = 40.0
STEPS_PER_SECOND = 2.4  # of one foot, running
TRICKS = ("ollie", "kickflip", "heelflip", "push", "manual", "shove-it", "grind", "ride")
DEPARTURES = ("leave", "bail")
#: Length along the ground that the rider has covered by a time, reference pixels.
Covered = Callable[[float], float]


@dataclass(frozen=True)
class Action:
    """One trick or departure.

    Attributes:
        kind: one of `TRICKS`, "leave" (with the board), "bail" (the board alone) or "run" (without a board).
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

    Attributes:
        board_dx, board_lift: of the board's centre; `pitch`, `flip`, `yaw`: its turns.
        rider_dx, rider_lift: of the rider; -`DECK_ABOVE_GROUND` stands on the ground.
        foot_pitch: rotation of the line the feet stand on.
        crouch: 0 upright .. 1 deep.
        feet_dx, feet_lift: of left and right foot from their places.
        on_board, on_ground: what each foot touches.
        support: what carries the board: "ground", "rail" or "air".
        rider_airborne: neither foot touches ground or a carried board.
    """

    board_dx: float = 0.0
    board_lift: float = 0.0
    pitch: float = 0.0
    flip: float = 0.0
    yaw: float = 0.0
    rider_dx: float = 0.0
    rider_lift: float = 0.0
    foot_pitch: float = 0.0
    crouch: float = 0.15
    feet_dx: Point = (0.0, 0.0)
    feet_lift: Point = (0.0, 0.0)
    on_board: tuple[bool, bool] = (True, True)
    on_ground: tuple[bool, bool] = (False, False)
    support: str = "ground"
    rider_airborne: bool = False
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


@dataclass(frozen=True)
class Flight:
    """A parabola from height `low` at second `start` of an action to height `high` at `end`."""

    start: float
    end: float
    low: float
    high: float

    @classmethod
    def over(cls, start: float, low: float, top: float, high: float) -> "Flight":
        """The flight from `low` over the height `top` to `high`."""
        seconds = math.sqrt(2 * (top - low) / GRAVITY) + math.sqrt(2 * (top - high) / GRAVITY)
        return cls(start, start + seconds, low, high)

    def share(self, seconds: float) -> float:
        """0 at take-off, 1 at landing."""
        return min(max((seconds - self.start) / (self.end - self.start), 0.0), 1.0)

    def height(self, seconds: float) -> float:
        """The height at a time within the flight; before and after it that of its ends."""
        whole = self.end - self.start
        tau = min(max(seconds - self.start, 0.0), whole)
        return self.low + (self.high - self.low) * tau / whole + GRAVITY / 2 * tau * (whole - tau)


def _within(flight: Flight, seconds: float) -> bool:
    return flight.start < seconds < flight.end


def jump_flight(action: Action) -> Flight:
    """The flight of an ollie, flip or shove-it: in the middle of the action, 38 to 58 px high."""
    height = 38.0 + 20.0 * action.size
    half = math.sqrt(2 * height / GRAVITY)
    return Flight.over(action.seconds / 2 - half, 0.0, height, 0.0)


def _jump(seconds: float, action: Action) -> Controls:
    """Ollie, kickflip, heelflip and shove-it: crouch, pop, fly, land."""
    flips = action.kind != "ollie"
    flight = jump_flight(action)
    u, flies = flight.share(seconds), _within(flight, seconds)
    lift, air = flight.height(seconds), math.sin(math.pi * u)
    nose_up = math.sin(math.pi * min(u / 0.62, 1.0)) * (0.32 if flips else 0.55)
    settle = -0.12 * math.sin(math.pi * min(max((u - 0.62) / 0.38, 0.0), 1.0))
    pitch = -action.side * (nose_up + settle)
    turn = 2 * math.pi * ramp(u, 0.1, 0.88) * (-1 if action.kind == "heelflip" else 1)
    rear = 0 if action.side < 0 else 1
    tuck, touching = [22.0 * air, 25.0 * air], not flies
    if not flips:  # the front foot stays on the deck
        tuck = [5.0 * air if k == rear else 0.0 for k in (0, 1)]
    take, land = flight.start, flight.end
    return Controls(
        board_lift=lift, rider_lift=lift, pitch=pitch, foot_pitch=pitch,
        flip=turn if action.kind in ("kickflip", "heelflip") else 0.0,
        yaw=turn * action.side if action.kind == "shove-it" else 0.0,
        # In the air the hip keeps its place over the parabola: only the legs draw in.
        crouch=0.15 + 0.35 * (ramp(seconds, take - 0.4, take) - ramp(seconds, land, land + 0.4))
        + 0.45 * (bump(seconds, take - 0.45, take) + bump(seconds, land, land + 0.45)),
        feet_lift=(tuck[0], tuck[1]),
        on_board=(touching, touching) if flips else (touching or rear == 1, touching or rear == 0),
        support="air" if flies else "ground", rider_airborne=flies,
        arms=0.9 * bump(seconds, take - 0.15, land + 0.15),
        lean=action.side * (0.16 * bump(seconds, take - 0.45, take + 0.3) - 0.1 * bump(seconds, land, land + 0.5)),
    )  # fmt: skip


def grind_flights(action: Action) -> tuple[Flight, Flight]:
    """Up onto the rail, and off its end."""
    up = Flight.over(0.40, 0.0, RAIL_HEIGHT + 8.0, RAIL_HEIGHT)
    off = Flight.over(1.20 + 0.12 * action.size, RAIL_HEIGHT, RAIL_HEIGHT, 0.0)
    return up, off


def _grind(seconds: float, action: Action) -> Controls:
    """Onto a rail, along it on the trucks, off its end; the feet stay on the deck."""
    up, off = grind_flights(action)
    lift = up.height(seconds) if seconds < up.end else off.height(seconds)
    flies = _within(up, seconds) or _within(off, seconds)
    nose = math.sin(math.pi * up.share(seconds)) * 0.4 + math.sin(math.pi * off.share(seconds)) * 0.08
    held = ramp(seconds, up.start, up.end) - ramp(seconds, off.start, off.end)
    low = ramp(seconds, up.start - 0.3, up.start) - ramp(seconds, off.end, off.end + 0.25)
    dip = bump(seconds, up.start - 0.35, up.start) + bump(seconds, off.end, off.end + 0.26)
    return Controls(
        board_lift=lift, rider_lift=lift, pitch=-action.side * nose, foot_pitch=-action.side * nose,
        crouch=0.15 + 0.25 * low + 0.4 * dip, arms=0.7 * held + 0.12 * math.sin(17.0 * seconds) * held,
        support="air" if flies else "rail" if up.end <= seconds <= off.start else "ground", rider_airborne=flies,
        lean=action.side * 0.08 * math.sin(9.0 * seconds) * held,
    )  # fmt: skip


def _stroke(u: float, contact: tuple[float, float]) -> tuple[float, bool]:
    """How far down (0..1) the pushing foot is at share `u` of a stroke, and whether it touches the ground."""
    down, up = contact
    return ramp(u, down - 0.22, down) - ramp(u, up, up + 0.22), down <= u <= up


def _push(seconds: float, action: Action, covered: Covered) -> Controls:
    """One foot goes down beside the board, stays where it touches the ground, and returns; twice at larger sizes."""
    strokes = 2 if action.size > 0.5 else 1
    begin, length = 0.08 * action.seconds, 0.84 * action.seconds / strokes
    stroke = min(max(int((seconds - begin) / length), 0), strokes - 1)
    first = begin + stroke * length
    u = min(max((seconds - first) / length, 0.0), 1.0)
    half = 0.13 / length  # contact of a quarter of a second
    contact = (0.5 - half, 0.5 + half)
    down, touches = _stroke(u, contact)
    held = first + length * min(max(u, contact[0]), contact[1])
    sweep = (covered(first + 0.5 * length) - covered(held)) * down
    over = 10.0 * (bump(u, contact[0] - 0.22, contact[0] - 0.02) + bump(u, contact[1] + 0.02, contact[1] + 0.22))
    rear = 0 if action.side < 0 else 1
    dx, lift, on_board, on_ground = [0.0, 0.0], [0.0, 0.0], [True, True], [False, False]
    dx[rear], lift[rear] = sweep + 12.0 * action.side * down, over - DECK_ABOVE_GROUND * down
    on_board[rear], on_ground[rear] = down == 0.0, touches
    return Controls(
        crouch=0.15 + 0.35 * down, feet_dx=(dx[0], dx[1]), feet_lift=(lift[0], lift[1]),
        on_board=(on_board[0], on_board[1]), on_ground=(on_ground[0], on_ground[1]),
        lean=action.side * 0.14 * down, arms=0.25 * down,
    )  # fmt: skip


def _manual(seconds: float, action: Action) -> Controls:
    """Riding on the rear wheels."""
    p = seconds / action.seconds
    held = ramp(p, 0.12, 0.3) - ramp(p, 0.7, 0.86)
    pitch = -action.side * (0.22 + 0.12 * action.size + 0.04 * math.sin(26.0 * p)) * held
    return Controls(
        pitch=pitch, foot_pitch=pitch, board_lift=9.0 * held, rider_lift=9.0 * held, crouch=0.15 + 0.3 * held,
        arms=0.55 * held + 0.1 * math.sin(19.0 * p) * held, lean=-action.side * 0.12 * held,
    )  # fmt: skip


def _ride(seconds: float, action: Action) -> Controls:
    """Rolling along, down in the knees and up again."""
    p = seconds / action.seconds
    low = bump(p, 0.0, 1.0)
    return Controls(crouch=0.15 + (0.15 + 0.4 * action.size) * low, arms=0.3 * low, lean=action.side * 0.08 * low)


def _away(seconds: float, total: float, delay: float, gain_seconds: float, speed: float, back: int) -> float:
    """Distance of a departure: after `delay` it speeds up for `gain_seconds`, runs on at `speed`, and comes back
    mirrored in time. `back` -1 comes back from the other side: it changes over at half time, outside the picture.
    """
    moving = max(min(seconds, total - seconds) - delay, 0.0)
    gained = min(moving, gain_seconds)
    distance = speed * (gained * gained / (2 * gain_seconds) + (moving - gained))
    return distance * (back if seconds > total / 2 else 1)


def _leave(seconds: float, action: Action, half_view: float) -> Controls:
    """The rider rides out of the picture and back in."""
    p, stretch = seconds / action.seconds, half_view / 320.0
    dx = _away(seconds, action.seconds, 0.20 - 0.04 * action.size, 0.5, 640.0 * stretch, action.back)
    fast = bump(p, 0.0, 0.5) + bump(p, 0.5, 1.0)
    return Controls(board_dx=action.side * dx, rider_dx=action.side * dx, crouch=0.15 + 0.45 * fast, arms=0.2 * fast,
                    lean=action.side * 0.1 * (bump(p, 0.0, 0.5) - action.back * bump(p, 0.5, 1.0)))  # fmt: skip


def gait(seconds: float, covered: Covered) -> tuple[Point, Point, tuple[bool, bool]]:
    """Running over the ground: `dx` and lift of both feet, and which touches the ground.

    Each foot stands for half of its step, where it stays on its spot of the ground, and swings for the other half.
    """
    dx, lift, touches = [0.0, 0.0], [0.0, 0.0], [False, False]
    for k in (0, 1):
        phase = STEPS_PER_SECOND * seconds + 0.5 * k
        step, u = math.floor(phase), phase - math.floor(phase)
        begin = (step - 0.5 * k) / STEPS_PER_SECOND
        quarter = 0.25 / STEPS_PER_SECOND

        def spot(stood: float, begin: float = begin, quarter: float = quarter) -> float:
            return covered(begin + quarter) - covered(begin + stood)

        if u <= 0.5:
            dx[k], touches[k] = spot(u / STEPS_PER_SECOND), True
        else:
            next_mid = begin + 5 * quarter
            landing = covered(next_mid) - covered(begin + 4 * quarter)
            swing = ramp(u, 0.5, 1.0)
            dx[k] = spot(2 * quarter) * (1 - swing) + landing * swing
            lift[k] = 17.0 * math.sin(math.pi * (2 * u - 1))
    return (dx[0], dx[1]), (lift[0], lift[1]), (touches[0], touches[1])


def bail_flights(action: Action) -> tuple[Flight, Flight]:
    """The rider's hop off the board onto the ground, and back."""
    take, back = 0.08 * action.seconds, 0.78 * action.seconds
    return Flight(take, take + 0.44, 0.0, -DECK_ABOVE_GROUND), Flight(back, back + 0.44, -DECK_ABOVE_GROUND, 0.0)


def _bail(seconds: float, action: Action, half_view: float, covered: Covered) -> Controls:
    """The board shoots away alone, the rider runs on beside the place where it was, and it comes back to his feet."""
    stretch = half_view / 320.0
    dx = _away(seconds, action.seconds, 0.46 - 0.04 * action.size, 0.3, 880.0 * stretch, action.back)
    hop, back = bail_flights(action)
    flies = _within(hop, seconds) or _within(back, seconds)
    off = ramp(seconds, hop.start, hop.end) - ramp(seconds, back.start, back.end)
    runs = hop.end <= seconds <= back.start
    offset = action.start  # the gait goes by the clip's clock
    steps, lifts, touches = gait(offset + min(max(seconds, hop.end), back.start), lambda s: covered(s - offset))
    low = ramp(seconds, 0.0, hop.start) - ramp(seconds, back.end, action.seconds)
    riding = seconds <= hop.start or seconds >= back.end
    sway = 0.05 * math.sin(2 * math.pi * STEPS_PER_SECOND * seconds) * off
    return Controls(
        board_dx=action.side * dx, pitch=-action.side * 0.10 * bump(seconds, hop.start, hop.start + 0.6),
        rider_lift=hop.height(seconds) if seconds < hop.end else back.height(seconds), crouch=0.15 + 0.15 * low,
        feet_dx=(-15.0 * off + off * steps[0], 15.0 * off + off * steps[1]),
        feet_lift=(off * lifts[0], off * lifts[1]), on_board=(riding, riding),
        on_ground=touches if runs else (False, False), rider_airborne=flies,
        arms=0.4 * bump(seconds, hop.start, hop.end) + 0.4 * bump(seconds, back.start, back.end) + sway, lean=sway,
    )  # fmt: skip


def _run(seconds: float, action: Action, covered: Covered) -> Controls:
    """On foot, without a board."""
    offset = action.start
    steps, lifts, touches = gait(offset + seconds, lambda s: covered(s - offset))
    sway = math.sin(2 * math.pi * STEPS_PER_SECOND * (offset + seconds))
    return Controls(rider_lift=-DECK_ABOVE_GROUND, crouch=0.25, feet_dx=(steps[0] - 15.0, steps[1] + 15.0),
                    feet_lift=lifts, on_board=(False, False), on_ground=touches,
                    arms=0.2 + 0.1 * sway, lean=0.04 * sway)  # fmt: skip


def controls(action: Action, seconds: float, half_view: float, covered: Covered) -> Controls:
    """The offsets at second `seconds` of an action (clipped to it).

    Args:
        action: what goes on.
        seconds: since its start.
        half_view: half the picture's width in the rider's reference pixels: departures end beyond it.
        covered: ground covered by a second of the action.
    """
    at = float(np.clip(seconds, 0.0, action.seconds))
    if action.kind == "leave":
        return _leave(at, action, half_view)
    if action.kind == "bail":
        return _bail(at, action, half_view, covered)
    if action.kind == "push":
        return _push(at, action, covered)
    if action.kind == "run":
        return _run(at, action, covered)
    plain = {"manual": _manual, "grind": _grind, "ride": _ride}
    return plain.get(action.kind, _jump)(at, action)
