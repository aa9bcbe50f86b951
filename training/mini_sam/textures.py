"""Random textures and silhouettes, the raw material of the training clips. Pure functions of the random generator."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

Image = np.ndarray[Any, np.dtype[Any]]


def _noise(rng: np.random.Generator, size: int) -> Image:
    """Smooth noise: Gaussian values at four scales, coarse ones strongest."""
    total = np.zeros((size, size, 3), np.float32)
    for cells, weight in ((3, 1.0), (6, 0.7), (16, 0.5), (48, 0.3)):
        values = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        total += weight * cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
    scaled: Image = (total - total.min()) / (np.ptp(total) + 1e-6)
    return scaled


def _dead_leaves(rng: np.random.Generator, size: int) -> Image:
    """Overlapping discs and polygons with radii of a 1/r law (the dead-leaves model of natural images)."""
    image = np.empty((size, size, 3), np.float32)
    image[:] = rng.random(3)
    for _ in range(rng.integers(20, 90)):
        centre = rng.integers(0, size, 2)
        radius = max(1, int(min(size / 3, size * 0.02 / (rng.random() + 0.05))))
        colour = [float(value) for value in rng.random(3)]
        if rng.random() < 0.5:
            cv2.circle(image, (int(centre[0]), int(centre[1])), radius, colour, -1)
        else:
            corners = rng.integers(-radius - 1, radius + 2, (4, 2)) + centre
            cv2.fillPoly(image, [corners.astype(np.int32)], colour)
    return image


def _stripes(rng: np.random.Generator, size: int) -> Image:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    angle, frequency = rng.random() * np.pi, rng.uniform(3, 25)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi * frequency) * rng.uniform(1, 4)
    share = wave.clip(-1, 1)[..., None] * 0.5 + 0.5
    stripes: Image = share * rng.random(3) + (1 - share) * rng.random(3)
    return stripes


def _checks(rng: np.random.Generator, size: int) -> Image:
    count = int(rng.integers(3, 14))
    palette = rng.random((2, 3)).astype(np.float32)
    cells = palette[np.add.outer(np.arange(count), np.arange(count)) % 2]
    checks: Image = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    return checks


def _gradient(rng: np.random.Generator, size: int) -> Image:
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    image = ramp * rng.random(3) + (1 - ramp) * rng.random(3) + np.zeros((size, size, 1), np.float32)
    return image.transpose(1, 0, 2) if rng.random() < 0.5 else image


def _plain(rng: np.random.Generator, size: int) -> Image:
    return np.tile(rng.random(3).astype(np.float32), (size, size, 1))


KINDS: tuple[Callable[[np.random.Generator, int], Image], ...] = (
    _noise, _dead_leaves, _stripes, _checks, _gradient, _plain,
)  # fmt: skip


def texture(rng: np.random.Generator, size: int) -> Image:
    """A random texture: [size, size, 3] float32 in 0..1, contrast and brightness random too."""
    image = KINDS[rng.integers(len(KINDS))](rng, size).astype(np.float32)
    image += rng.normal(0, 0.02, (size, size, 1)).astype(np.float32)
    contrast = rng.uniform(0.4, 1.0)
    result: Image = (image * contrast + rng.uniform(0, 1 - contrast + 1e-3)).clip(0, 1)
    return result


def _polygon(rng: np.random.Generator, mask: Image) -> None:
    size, corners = len(mask), int(rng.integers(5, 14))
    angle = np.sort(rng.random(corners)) * 2 * np.pi
    radius = size * rng.uniform(0.15, 0.48, corners)
    points = size / 2 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255)


def silhouette(rng: np.random.Generator, size: int) -> Image:
    """A random filled shape: [size, size] uint8, 0 or 255; ellipse, ball, board, bar, polygon or a heap of discs."""
    mask = np.zeros((size, size), np.uint8)
    half, kind = size // 2, rng.integers(6)
    if kind == 0:
        axes = (int(size * rng.uniform(0.2, 0.48)), int(size * rng.uniform(0.08, 0.48)))
        cv2.ellipse(mask, (half, half), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    elif kind == 1:
        cv2.circle(mask, (half, half), int(size * 0.46), 255, -1)
    elif kind == 2:  # a board: long, thin, rounded ends
        reach, thick = size * rng.uniform(0.3, 0.42), max(2, int(size * rng.uniform(0.06, 0.22)))
        cv2.line(mask, (int(half - reach), half), (int(half + reach), half), 255, thick)
    elif kind == 3:
        sides = (size * rng.uniform(0.4, 0.9), size * rng.uniform(0.08, 0.6))
        corners = cv2.boxPoints(((half, half), sides, rng.uniform(0, 180)))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
    elif kind == 4:
        _polygon(rng, mask)
    else:
        for _ in range(rng.integers(2, 6)):
            x, y = (int(value) for value in rng.integers(size // 4, 3 * size // 4, 2))
            cv2.circle(mask, (x, y), int(size * rng.uniform(0.08, 0.22)), 255, -1)
    return mask
