"""The skatepark behind the riders: a wall and a floor of concrete, one wide tile that repeats sideways.

The tile is drawn once at the size it is shown at; a frame takes an affine view of it, so that any moment of any clip
costs the same. It is one plane: from frame to frame it moves by one affine map.
"""

import math

import cv2
import numpy as np

from stages.affine import apply, compose
from stream.demo.motion import Rail
from stream.demo.puppet import Array

PERIOD = 1500.0  # reference pixels until a tile repeats
MARGIN = 48.0  # reference pixels drawn beyond the picture, for zoom and camera motion
_MAX_TILE_SCALE = 3.0


def _octaves(rng: np.random.Generator, height: int, width: int, channels: int) -> Array:
    """`[h, w, c]` float32 in about -1..1: noise at several sizes that joins at its left and right edge."""
    total = np.zeros((height, width, channels), np.float32)
    for cells, weight in ((3, 0.45), (9, 0.35), (34, 0.25), (110, 0.22)):
        wide = max(2, round(cells * width / height))
        grid = rng.normal(size=(cells + 1, wide, channels)).astype(np.float32)
        pad = 2
        grid = np.concatenate([grid[:, -pad:], grid, grid[:, :pad]], 1)
        full = round(width * (wide + 2 * pad) / wide)
        layer = cv2.resize(grid, (full, height), interpolation=cv2.INTER_CUBIC).reshape(height, full, channels)
        start = round(pad * width / wide)
        total += weight * layer[:, start : start + width]
    return total


def _tone(rng: np.random.Generator, low: float, high: float, tint: float) -> tuple[float, ...]:
    """A grey between `low` and `high` with each channel off by up to `tint`."""
    grey = rng.uniform(low, high)
    return tuple(float(np.clip(grey + rng.uniform(-tint, tint), 5, 235)) for _ in range(3))


def _wrapped_polygon(tile: Array, points: Array, rgb: tuple[float, ...]) -> None:
    """Fill a polygon, also where it runs over the tile's left or right edge."""
    for shift in (-tile.shape[1], 0, tile.shape[1]):
        cv2.fillPoly(tile, [np.round(points + np.array([shift, 0])).astype(np.int32)], rgb)


def _box(x: float, y: float, width: float, height: float) -> Array:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def _wall(rng: np.random.Generator, height: int, width: int, scale: float, tint: float) -> Array:
    """`[h, w, 3]` float32: panels, windows, posters, and ramps at its foot."""
    tile = np.empty((height, width, 3), np.float32)
    tile[:] = _tone(rng, 95, 150, tint)
    panels = int(rng.integers(5, 10))
    for i in range(panels):
        x = i * width / panels
        _wrapped_polygon(tile, _box(x, 0, width / panels, height), _tone(rng, 85, 150, tint))
    for _ in range(int(rng.integers(10, 22))):
        w, h = rng.uniform(14, 90) * scale, rng.uniform(12, 70) * scale
        x, y = rng.uniform(0, width), rng.uniform(0.0, 0.85) * height
        _wrapped_polygon(tile, _box(x, y, w, h), _tone(rng, 45, 175, tint * 1.6))
        if rng.random() < 0.5:
            _wrapped_polygon(
                tile, _box(x + 0.12 * w, y + 0.12 * h, 0.76 * w, 0.76 * h), _tone(rng, 40, 170, tint * 1.6)
            )
    for _ in range(int(rng.integers(3, 7))):  # scrawls
        at = np.array([rng.uniform(0, width), rng.uniform(0.2, 0.8) * height])
        steps = rng.normal(0, 16 * scale, (9, 2)).cumsum(0) + at
        for shift in (-width, 0, width):
            points = np.round(steps + np.array([shift, 0])).astype(np.int32)
            cv2.polylines(tile, [points], False, _tone(rng, 40, 180, tint * 1.6), max(1, round(3 * scale)))
    for _ in range(int(rng.integers(2, 5))):  # quarter pipes
        x, w, h = rng.uniform(0, width), rng.uniform(90, 210) * scale, rng.uniform(25, 70) * scale
        u = np.linspace(0, 1, 12)
        curve = np.stack([x + w * u, height - h * (1 - np.cos(u * math.pi / 2))], 1)
        if rng.random() < 0.5:
            curve[:, 0] = 2 * x + w - curve[:, 0]
        foot = np.array([(curve[-1, 0], height), (curve[0, 0], height)])
        _wrapped_polygon(tile, np.vstack([curve, foot]), _tone(rng, 70, 165, tint))
    return tile


def _floor(rng: np.random.Generator, height: int, width: int, scale: float, tint: float) -> Array:
    """`[h, w, 3]` float32: slabs with seams, stains and cracks."""
    tile = np.empty((height, width, 3), np.float32)
    tile[:] = _tone(rng, 90, 150, tint)
    seams = int(rng.integers(6, 12))
    slant = rng.uniform(-0.5, 0.5) * height
    for i in range(seams):
        x, w = i * width / seams, width / seams
        slab = np.array([(x, 0), (x + w, 0), (x + w + slant, height), (x + slant, height)])
        base = tile[0, 0] + rng.uniform(-9, 9)
        _wrapped_polygon(tile, slab, tuple(float(v) for v in base))
    for i in range(seams):
        x = i * width / seams
        dark = _tone(rng, 45, 65, tint)
        edge = np.array([(x, 0), (x + 2 * scale, 0), (x + slant + 2 * scale, height), (x + slant, height)])
        _wrapped_polygon(tile, edge, dark)
    for _ in range(int(rng.integers(14, 30))):
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
        size = rng.uniform(4, 30) * scale
        blob = (
            np.stack([np.cos(angles) * 2.2, np.sin(angles) * 0.6], 1) * size * rng.uniform(0.7, 1.2, (14, 1)) + centre
        )
        _wrapped_polygon(tile, blob, _tone(rng, 75, 140, tint))
    tile *= np.linspace(0.86, 1.06, height, dtype=np.float32)[:, None, None]
    return tile


class Background:
    """Draws the park of one shot.

    Args:
        seed: of the place.
        width, height: of the picture in pixels; `scale`: pixels per reference pixel.
        middle_y: reference height that the picture's middle shows.
        tint: how far its greys may be coloured (8-bit levels).
    """

    def __init__(
        self, seed: tuple[int, ...], width: int, height: int, scale: float, middle_y: float, tint: float
    ) -> None:
        rng = np.random.default_rng([seed[0], 21, *seed[1:]])
        self.width, self.height = width, height
        self.tile_scale = min(scale, _MAX_TILE_SCALE)
        view_height = height / scale
        self.margin = MARGIN * max(1.0, view_height / 360.0)
        self.horizon = float(rng.uniform(222, 244))
        rows = math.ceil((self.horizon - (middle_y - view_height / 2 - self.margin)) * self.tile_scale)
        self.top = self.horizon - rows / self.tile_scale
        columns = round(PERIOD * self.tile_scale)
        wall = self._finish(rng, rows, columns, tint, _wall, 15.0)
        below = math.ceil((middle_y + view_height / 2 + self.margin - self.horizon) * self.tile_scale)
        floor = self._finish(rng, below, columns, tint, _floor, 11.0)
        self.period = columns / self.tile_scale
        seen = math.ceil((width / scale + 2 * self.margin) * 1.1 * self.tile_scale) + 2
        tile = np.concatenate([wall, floor])
        repeats = math.ceil(seen / columns)
        self.tile = np.concatenate([tile] + [tile] * repeats, 1)[:, : columns + seen]

    def _finish(
        self, rng: np.random.Generator, rows: int, columns: int, tint: float, paint: object, rough: float
    ) -> Array:
        """Paint one part of the tile and add its grain."""
        assert callable(paint)
        part = paint(rng, max(rows, 1), columns, self.tile_scale, tint)
        part = part + rough * _octaves(rng, max(rows, 1), columns, 1)
        part = part + 0.10 * tint * _octaves(rng, max(rows, 1), columns, 3)
        return np.asarray(np.clip(part, 8, 210), np.uint8)

    def draw(self, ground: Array, rails: list[Rail], smear: Array) -> Array:
        """`[H, W, 3]` uint8 RGB.

        Args:
            ground: `[2, 3]` places on the park -> picture.
            rails: what stands in it.
            smear: `[2]` pixels by which the picture moves during the exposure.
        """
        corners = np.array([(0.0, 0.0), (self.width, 0), (0, self.height), (self.width, self.height)])
        linear = np.linalg.inv(ground[:, :2])
        left = float(((corners - ground[:, 2]) @ linear.T)[:, 0].min()) - 2.0
        # Only the remainder of the distance enters, in double precision: the millionth frame is as exact as the first.
        first = math.floor(left / self.period) * self.period
        step = 1 / self.tile_scale
        matrix = compose(ground, np.array([[step, 0, first], [0, step, self.top]]))
        out = cv2.warpAffine(
            self.tile, matrix, (self.width, self.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for rail in rails:
            _draw_rail(out, rail, ground)
        return _smeared(out, smear)


def _draw_rail(picture: Array, rail: Rail, ground: Array) -> None:
    """A bar on two posts."""

    def fill(x: float, y: float, width: float, height: float, rgb: tuple[int, int, int]) -> None:
        points = apply(ground, _box(x, y, width, height))
        if points[:, 0].max() > -1 and points[:, 0].min() < picture.shape[1]:
            cv2.fillConvexPoly(picture, np.round(points * 16).astype(np.int32), rgb, cv2.LINE_AA, 4)

    length, thick = rail.end - rail.start, rail.thickness
    for share in (0.12, 0.85):
        fill(rail.start + share * length, rail.top, thick, rail.foot - rail.top, (58, 60, 64))
    fill(rail.start, rail.top, length, thick, (128, 130, 132))


def _smeared(picture: Array, smear: Array) -> Array:
    """The picture averaged along a short straight way, from half of it before to half of it after."""
    length = float(np.hypot(*smear))
    if length < 1.0:
        return picture
    flat = abs(smear[1]) < 0.3
    half = math.ceil(max(abs(smear)) / 2)
    kernel = np.zeros((1 if flat else 2 * half + 1, 2 * half + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 4 * half + 1):
        x, y = share * smear[0] + half, (0.0 if flat else share * smear[1] + half)
        column, row = math.floor(x), math.floor(y)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = abs(1 - dx - (x - column)) * abs(1 - dy - (y - row))
            if weight > 0:
                kernel[min(row + dy, kernel.shape[0] - 1), min(column + dx, kernel.shape[1] - 1)] += weight
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
