"""Affine maps for tests."""

import numpy as np

from stages.base import Array


def similarity(scale: float, angle: float, x: float, y: float) -> Array:
    """`[2, 3]`: scaled and turned (radians, y down) about the origin, then moved."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])
