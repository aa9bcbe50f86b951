"""Puts figures on the picture: painted at twice its size at several moments of the exposure, and averaged."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from stream.demo.board import BoardPose, draw_board
from stream.demo.look import Look
from stream.demo.painter import (
    ANCHOR_RADIUS,
    OWNER_ANCHOR,
    OWNER_BOARD,
    OWNER_BODY,
    OWNER_HEAD,
    OWNERS,
    Brush,
    PuppetPainter,
    part_owners,
)
from stream.demo.puppet import ANCHOR_JOINTS, JOINTS, Array

SUPERSAMPLE = 2
_FULL = 252  # full coverage: divisible by the 4 samples of a pixel, so that a half is never rounded up to more
_PART_OWNERS = part_owners()
Region = tuple[int, int, int, int]
#: ("board" | "skater", number)
Subject = tuple[str, int]


@dataclass(frozen=True)
class Figure:
    """A skater, a board or both at one moment, in picture pixels.

    Attributes:
        index: number of both.
        look: of both.
        board: pose, None without a board; anchors: `[17, 2]`, None without a skater.
        shadows: x, y, height above the ground in the rider's pixels, half the width.
        scale: picture pixels per pixel of the rider.
    """

    index: int
    look: Look
    board: BoardPose | None
    anchors: Array | None
    shadows: tuple[tuple[float, ...], ...]
    scale: float

    def subjects(self) -> list[Subject]:
        """What there is of board and skater."""
        board: list[Subject] = [] if self.board is None else [("board", self.index)]
        return board if self.anchors is None else [*board, ("skater", self.index)]

    def only(self, kind: str) -> "Figure":
        """The board or the skater alone."""
        return replace(self, anchors=None) if kind == "board" else replace(self, board=None)

    def spans(self) -> list[tuple[Array, Array]]:
        """Corners of the boxes that hold skater and board."""
        found = []
        if self.anchors is not None:
            margin = 0.16 * self.look.body.height_px * self.scale + 2
            found.append((self.anchors.min(0) - margin, self.anchors.max(0) + margin))
        if self.board is not None:
            reach = (self.look.board.length / 2 + 6.0) * self.scale + 2
            centre = np.array([self.board.x, self.board.y])
            found.append((centre - reach, centre + reach))
        return found

    def moved(self, other: "Figure") -> float:
        """Pixels that the fastest part of the figure goes to become `other`."""
        ways = [0.0]
        if self.anchors is not None and other.anchors is not None:
            ways.append(float(np.abs(self.anchors - other.anchors).max()))
        if self.board is not None and other.board is not None:
            one, two = self.board, other.board
            ways.append(max(abs(one.x - two.x), abs(one.y - two.y)))
            turned = abs(one.pitch - two.pitch) + 0.3 * abs(one.roll - two.roll) + abs(one.yaw - two.yaw)
            ways.append(turned * self.look.board.length / 2 * self.scale)
        return max(ways)


@dataclass(frozen=True)
class Exposed:
    """The figures of one exposure in a region of the picture.

    Attributes:
        region: x0, y0, x1, y1.
        colour: `[h, w, 3]` float32, premultiplied.
        covers: `[h, w]` float32 0..1 of every subject, what is nearer taken off.
        owners: `[2h, 2w]` uint8 of the middle of the exposure.
    """

    region: Region
    colour: Array
    covers: dict[Subject, Array]
    owners: Array

    def mask(self, subject: Subject, width: int, height: int) -> Array:
        """`[H, W]` bool: where the subject covers more than half of a pixel."""
        x0, y0, x1, y1 = self.region
        found = np.zeros((height, width), bool)
        if subject in self.covers:
            found[y0:y1, x0:x1] = self.covers[subject] > 0.5
        return found

    def over(self, picture: Array) -> None:
        """Lay the figures over `[H, W, 3]` uint8."""
        x0, y0, x1, y1 = self.region
        if x1 > x0 and y1 > y0:
            under, free = picture[y0:y1, x0:x1].astype(np.float32), np.ones((y1 - y0, x1 - x0), np.float32)
            for cover in self.covers.values():
                free = free - cover
            under *= free[..., None]
            picture[y0:y1, x0:x1] = np.clip(under + self.colour + 0.5, 0, 255).astype(np.uint8)


def region_of(figures: list[Figure], width: int, height: int) -> Region:
    """The part of the picture that the figures may touch."""
    spans = [span for figure in figures for span in figure.spans()]
    inside = [(a, b) for a, b in spans if (b > 0).all() and (a < (width, height)).all()]
    if not inside:
        return 0, 0, 0, 0
    low, high = np.min([a for a, _ in inside], 0), np.max([b for _, b in inside], 0)
    x0, y0 = (max(0, math.floor(v)) for v in low)
    x1, y1 = min(width, math.ceil(high[0])), min(height, math.ceil(high[1]))
    return x0, y0, max(x0, x1), max(y0, y1)


def _tables(subjects: list[Subject]) -> list[Array]:
    """For every subject `[256]` uint8: `_FULL` for its owners."""
    tables = []
    for kind, index in subjects:
        table = np.zeros(256, np.uint8)
        first = OWNER_BOARD + index if kind == "board" else OWNER_BODY + OWNERS * index
        table[first : first + (1 if kind == "board" else OWNERS)] = _FULL
        tables.append(table)
    return tables


def expose(moments: list[list[Figure]], region: Region) -> Exposed:
    """Average the moments of an exposure; figures stand from far to near."""
    x0, y0, x1, y1 = region
    size = (x1 - x0, y1 - y0)
    subjects = [subject for figure in moments[0] for subject in figure.subjects()]
    colour = np.zeros((size[1], size[0], 3), np.float32)
    covers = np.zeros((len(subjects), size[1], size[0]), np.float32)
    owners = np.zeros((SUPERSAMPLE * size[1], SUPERSAMPLE * size[0]), np.uint8)
    if min(size) == 0:
        return Exposed(region, colour, {}, owners)
    tables = _tables(subjects)
    for i, figures in enumerate(moments):
        canvas = np.zeros((*owners.shape, 4), np.uint8)
        for figure in figures:
            _paint(canvas, figure, (x0, y0))
        owner = np.ascontiguousarray(canvas[..., 3])
        if i == len(moments) // 2:
            owners = owner
        colour += cv2.resize(canvas[..., :3], size, interpolation=cv2.INTER_AREA)
        for cover, table in zip(covers, tables, strict=True):
            cover += cv2.resize(cv2.LUT(owner, table), size, interpolation=cv2.INTER_AREA)
    covers /= _FULL * len(moments)
    return Exposed(region, colour / len(moments), dict(zip(subjects, covers, strict=True)), owners)


def _paint(canvas: Array, figure: Figure, origin: tuple[int, int]) -> None:
    """Board, then puppet: `canvas` is `SUPERSAMPLE` times finer than the picture and begins at `origin`."""

    def place(points: Array) -> Array:  # pixel centres at whole coordinates, on both grids
        return np.asarray(SUPERSAMPLE * (points - origin) + (SUPERSAMPLE - 1) / 2)

    scale, look = figure.scale * SUPERSAMPLE, figure.look
    if figure.board is not None:
        centre = place(np.array([figure.board.x, figure.board.y]))
        draw_board(Brush(canvas, figure.index), look.board, figure.board, centre, scale)
    if figure.anchors is not None:
        brush = Brush(canvas, OWNERS * figure.index)
        height = look.body.height_px * scale
        PuppetPainter(brush, place(figure.anchors), height, look.body_rgb, look.body.limb_width, look.coded).draw()


def joints_visible(joints: Array, figure: Figure, exposed: Exposed, width: int, height: int) -> Array:
    """`[133]` bool: inside the frame, and half of its disc (a painted joint) or its own part (the others) shows."""
    owners, first = exposed.owners, OWNERS * figure.index
    x, y = np.round(joints).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x0, y0, x1, y1 = exposed.region
    drawn = inside & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    visible = np.zeros(JOINTS, bool)
    rows, columns = ((SUPERSAMPLE * (v[drawn] - o)) for v, o in ((y, y0), (x, x0)))
    found = owners[rows, columns].astype(int) - first
    # A joint on the rim of its part may round to a neighbour: the part's own discs count as the part.
    own = _PART_OWNERS[drawn]
    disc = (found >= OWNER_ANCHOR) & (found < OWNER_ANCHOR + len(ANCHOR_JOINTS))
    visible[drawn] = (found == own) | (disc & (own >= OWNER_HEAD))
    counts = np.bincount(owners.ravel(), minlength=256)
    tall = figure.look.body.height_px * figure.scale * SUPERSAMPLE
    for i, joint in enumerate(ANCHOR_JOINTS):
        whole = math.pi * (ANCHOR_RADIUS[i] * tall) ** 2
        visible[joint] = bool(inside[joint]) and counts[first + OWNER_ANCHOR + i] > 0.5 * whole
    return visible


def cast_shadow(picture: Array, figure: Figure) -> None:
    """Darken the floor under board and rider, fainter the higher they are."""
    for x, y, lift, half in figure.shadows:
        faint = 1.0 / (1.0 + lift / 45.0)
        radius = (half * (0.75 + 0.25 * faint), 9.0 * figure.scale)
        x0, x1 = max(0, math.floor(x - 1.4 * radius[0])), min(picture.shape[1], math.ceil(x + 1.4 * radius[0]))
        y0, y1 = max(0, math.floor(y - 2 * radius[1])), min(picture.shape[0], math.ceil(y + 2 * radius[1]))
        if x1 <= x0 or y1 <= y0:
            continue
        across = (np.arange(x0, x1, dtype=np.float32) - x) / radius[0]
        down = (np.arange(y0, y1, dtype=np.float32) - y) / radius[1]
        dark = 1 - 0.45 * faint * np.exp(-1.4 * (down[:, None] ** 2 + across[None] ** 4))
        part = picture[y0:y1, x0:x1]
        part[:] = (part * dark[..., None]).astype(np.uint8)
