"""The skatepark behind the rider: a wall and a floor of concrete, each one wide tile that repeats sideways.

Tiles are drawn once at the size they are shown at; a frame takes an affine view of each (the wall moves slower than the
floor), so that any moment of any clip costs the same.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from stream.demo.puppet import Array

PERIOD = 1500.0  # reference pixels until a tile repeats
WALL_SPEED = 0.55  # of the floor's: the wall is farther away
MARGIN = 48.0  # reference pixels drawn beyond the picture, for zoom and camera motion
_MAX_TILE_SCALE = 3.0


@dataclass(frozen=True)
class Camera:
    """The view at one instant.

    Attributes:
        pan_x, pan_y: shift of everything in reference pixels.
        zoom: about the picture's middle.
        travel: how far the park has rolled by, reference pixels.
    """

    pan_x: float
    pan_y: float
    zoom: float
    travel: float


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
    """Draws the park for one clip.

    Args:
        seed: of the clip.
        width, height: of the picture in pixels; `scale`: pixels per reference pixel.
        tint: how far its greys may be coloured (8-bit levels).
    """

    def __init__(self, seed: int, width: int, height: int, scale: float, tint: float) -> None:
        rng = np.random.default_rng([seed, 21])
        self.width, self.height, self.scale = width, height, scale
        self.tile_scale = min(scale, _MAX_TILE_SCALE)
        view_height = height / scale
        self.top = 180.0 - view_height / 2 - MARGIN
        self.horizon = float(rng.uniform(222, 244))
        bottom = 180.0 + view_height / 2 + MARGIN
        self.wall = self._finish(rng, self.horizon - self.top, tint, _wall, 15.0)
        self.floor = self._finish(rng, bottom - self.horizon, tint, _floor, 11.0)

    def _finish(self, rng: np.random.Generator, height: float, tint: float, paint: object, rough: float) -> Array:
        """Paint one tile, add its grain, and repeat as much of it as a view can see at once."""
        assert callable(paint)
        rows, columns = math.ceil(height * self.tile_scale), round(PERIOD * self.tile_scale)
        tile = paint(rng, rows, columns, self.tile_scale, tint)
        tile = tile + rough * _octaves(rng, rows, columns, 1)
        tile = tile + 0.10 * tint * _octaves(rng, rows, columns, 3)
        pixels = np.clip(tile, 8, 210).astype(np.uint8)
        seen = math.ceil((self.width / self.scale + 2 * MARGIN) * 1.1 * self.tile_scale) + 2
        repeats = math.ceil(seen / columns)
        return np.concatenate([pixels] + [pixels] * repeats, 1)[:, : columns + seen]

    def draw(self, camera: Camera, blur_pixels: float) -> Array:
        """`[H, W, 3]` uint8 RGB, blurred sideways over `blur_pixels`."""
        out = np.empty((self.height, self.width, 3), np.uint8)
        line = self._row(self.horizon, camera)
        split = min(max(math.floor(line), 0), self.height)
        self._view(out[:split], self.wall, 0, self.top, camera, WALL_SPEED, blur_pixels)
        self._view(out[split:], self.floor, split, self.horizon, camera, 1.0, blur_pixels)
        return out

    def _row(self, y: float, camera: Camera) -> float:
        """Reference y -> picture row."""
        return self.height / 2 + self.scale * camera.zoom * (y + camera.pan_y - 180.0)

    def _view(
        self, out: Array, tile: Array, first_row: int, top: float, camera: Camera, speed: float, blur: float
    ) -> None:
        if out.shape[0] == 0:
            return
        zoom = self.scale * camera.zoom / self.tile_scale
        # Only the remainder of the distance enters, in double precision: the millionth frame is as exact as the first.
        offset = ((camera.travel - camera.pan_x) * speed) % PERIOD * self.tile_scale
        left = offset + MARGIN * self.tile_scale
        across = self.width / 2 - zoom * (left + self.width / 2 / self.scale * self.tile_scale)
        down = self._row(top, camera) - first_row
        matrix = np.array([[zoom, 0, across], [0, zoom, down]])
        shape = (self.width, out.shape[0])
        view = cv2.warpAffine(tile, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        taps = 2 * round(blur * speed / 2) + 1
        out[:] = cv2.blur(view, (taps, 1)) if taps > 1 else view
