"""The skateboard: a rigid slab with two faces, seen orthographically while it rolls about its long axis.

             v (across)            looking along the board: the slab is `width` wide and `thickness` thick, turned
  top face  /                      by `roll`. Its outline on the picture is width*|cos| + thickness*|sin| high:
n ^  ______/_                      30 px flat, 8 px (and the wheels: 10 px) when seen edge-on.
  | /_______/  wheels below
"""

import math
from dataclasses import dataclass, field

import numpy as np

from stream.demo.painter import OWNER_BOARD, Brush
from stream.demo.puppet import Array

THICKNESS = 7.5  # reference pixels
WHEEL_RADIUS = 3.0
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class BoardLook:
    """Colours and measures of a board, reference pixels.

    Attributes:
        length: nose to tail.
        width: across the deck.
        top: RGB of the grip face; `top_art`: RGB of its motif.
        bottom: RGB of the lower face; `bottom_art`: RGB of its motif.
        edge: RGB of the plies.
        wheel: RGB.
        motif: which pattern both faces carry, 0 stripes, 1 chevrons, 2 dots.
    """

    length: float = 120.0
    width: float = 29.0
    top: Rgb = (44, 44, 48)
    top_art: Rgb = (150, 150, 140)
    bottom: Rgb = (190, 160, 110)
    bottom_art: Rgb = (110, 60, 50)
    edge: Rgb = (176, 140, 100)
    wheel: Rgb = (220, 216, 200)
    motif: int = 0


@dataclass(frozen=True)
class BoardPose:
    """Centre (reference pixels, y down), `pitch` in the picture plane and `roll` about the long axis (radians).

    roll 0 shows the whole top face, pi the whole bottom face; `yaw` turns the board about the normal of its deck.
    """

    x: float
    y: float
    pitch: float
    roll: float
    yaw: float = 0.0


@dataclass(frozen=True)
class Slab:
    """The board's axes on the canvas."""

    centre: Array
    along: Array
    across: Array
    roll: float
    yaw: float
    scale: float
    outline: Array = field(repr=False)

    def point(self, along: Array | float, across: Array | float, normal: float) -> Array:
        """Board coordinates (reference pixels) -> canvas `[..., 2]`."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        along, across = np.asarray(along, float)[..., None], np.asarray(across, float)[..., None]
        u = c * along - s * across
        q = (s * along + c * across) * math.cos(self.roll) - normal * math.sin(self.roll)
        return np.asarray(self.centre + self.scale * (u * self.along + q * self.across))


def _outline(length: float, width: float) -> Array:
    """`[n, 2]` a stadium with slightly pointed ends: along, across."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 9)
    cap = np.stack([length / 2 - 0.55 * width * (1 - np.cos(angles)), width / 2 * np.sin(angles)], 1)
    return np.vstack([cap, -cap])


def _art(look: BoardLook) -> list[Array]:
    """The motif as convex polygons in board coordinates."""
    half, reach = look.width / 2 * 0.86, look.length / 2
    if look.motif == 0:
        spans = ((-0.62, -0.46), (-0.08, 0.16), (0.5, 0.6))
        return [
            np.array([(a * reach, -half), (b * reach, -half), (b * reach, half), (a * reach, half)]) for a, b in spans
        ]
    if look.motif == 1:
        shapes = []
        for start in (-0.55, -0.1, 0.35):
            x, w = start * reach, 0.16 * reach
            shapes.append(np.array([(x, -half), (x + w, -half), (x + 2 * w, 0), (x + w, 0)]))
            shapes.append(np.array([(x, half), (x + w, half), (x + 2 * w, 0), (x + w, 0)]))
        return shapes
    angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    return [ring * (half * 0.75) + (x * reach, 0.0) for x in (-0.5, 0.0, 0.5)]


def board_slab(look: BoardLook, pose: BoardPose, centre: Array, scale: float) -> Slab:
    """The board at `centre`, `scale` canvas pixels per reference pixel."""
    c, s = math.cos(pose.pitch), math.sin(pose.pitch)
    outline = _outline(look.length, look.width)
    return Slab(centre, np.array([c, s]), np.array([-s, c]), pose.roll, pose.yaw, scale, outline)


def draw_board(brush: Brush, look: BoardLook, pose: BoardPose, centre: Array, scale: float) -> None:
    """Draw the board at `centre` (canvas pixels), `scale` canvas pixels per reference pixel."""
    slab = board_slab(look, pose, centre, scale)
    top_seen = math.cos(pose.roll) >= 0
    if top_seen:
        _wheels(brush, slab, look)
    _deck(brush, slab, look, top_seen)
    if not top_seen:
        _wheels(brush, slab, look)


def _deck(brush: Brush, slab: Slab, look: BoardLook, top_seen: bool) -> None:
    half = THICKNESS / 2
    upper = slab.point(slab.outline[:, 0], slab.outline[:, 1], half)
    lower = slab.point(slab.outline[:, 0], slab.outline[:, 1], -half)
    brush.polygon(np.vstack([upper, lower]), look.edge, OWNER_BOARD)
    # A ply line along the edge keeps the two faces apart where it is thin.
    tilt = abs(math.cos(slab.roll))
    gain = 0.72 + 0.28 * tilt  # a face turned away from the light is darker
    face, art = (look.top, look.top_art) if top_seen else (look.bottom, look.bottom_art)
    if tilt < 0.04:
        return
    lit = tuple(round(v * gain) for v in face)
    drawn = tuple(round(v * gain) for v in art)
    level = half if top_seen else -half
    brush.polygon(upper if top_seen else lower, lit, OWNER_BOARD)
    for shape in _art(look):
        brush.polygon(slab.point(shape[:, 0], shape[:, 1], level), drawn, OWNER_BOARD)


def _wheels(brush: Brush, slab: Slab, look: BoardLook) -> None:
    rgb = look.wheel
    for along in (-0.32, 0.32):
        for across in (-0.36, 0.36):
            at = slab.point(along * look.length, across * look.width, -THICKNESS / 2 - 0.4 * WHEEL_RADIUS)
            brush.disc(at, WHEEL_RADIUS * slab.scale, rgb, OWNER_BOARD)
            brush.disc(at, 0.45 * WHEEL_RADIUS * slab.scale, tuple(v // 2 for v in rgb), OWNER_BOARD)
