"""Affine maps `[..., 2, 3]` float64 of points (x, y), pixel centres at whole coordinates."""

import numpy as np

from stages.base import Array

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def compose(second: Array, first: Array) -> Array:
    """`[..., 2, 3]`: `first`, then `second`."""
    linear = second[..., :2] @ first[..., :2]
    offset = second[..., :2] @ first[..., 2:] + second[..., 2:]
    return np.concatenate([linear, offset], axis=-1)


def invert(matrix: Array) -> Array:
    """`[..., 2, 3]`: the inverse.

    Raises:
        numpy.linalg.LinAlgError: when there is none.
    """
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def apply(matrix: Array, points: Array) -> Array:
    """A map `[2, 3]` of points `[..., 2]`."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def resized(matrix: Array, scale: tuple[float, float]) -> Array:
    """A map between two pictures, as it is where both are `scale` (x, y) times as large.

    Pixel centres are at whole coordinates, so x becomes (x + 0.5) * scale - 0.5.
    """
    to_large = scaling(scale)
    return compose(compose(to_large, matrix), invert(to_large))


def shifting(x: float, y: float) -> Array:
    """`[2, 3]`: moves by x and y pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def scaling(scale: tuple[float, float]) -> Array:
    """`[2, 3]`: from a picture to the same picture at `scale` (x, y) times its size."""
    x, y = scale
    return np.array([[x, 0.0, 0.5 * x - 0.5], [0.0, y, 0.5 * y - 0.5]])
