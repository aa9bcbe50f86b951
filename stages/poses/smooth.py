"""One-Euro filter on keypoints (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012): causal, one step a frame.

Speeds are taken in person heights per second, so that the same settings serve any picture size.
"""

from dataclasses import dataclass

import numpy as np

from stages.base import Array

# Chosen on the demo clips 1 to 5 with noise added to the true joints (docs/pose.md).
MIN_CUTOFF_HZ = 2.0  # of a joint at rest
BETA = 40.0  # how fast the cutoff rises, Hz per height/s
SPEED_CUTOFF_HZ = 3.0  # of the speed estimate
SEEN = 0.3  # a joint scored lower passes unfiltered, and the filter forgets it


@dataclass(frozen=True)
class Filter:
    """State of the filter.

    Attributes:
        points: [133, 2] float64 filtered positions, pixels.
        speeds: [133, 2] float64 filtered speeds, pixels per second.
        known: [133] bool, whether the joint was seen in the frame before.
        seconds: time of that frame.
    """

    points: Array
    speeds: Array
    known: Array
    seconds: float


def no_filter(joints: int) -> Filter:
    """A filter that has seen nothing."""
    return Filter(np.zeros((joints, 2)), np.zeros((joints, 2)), np.zeros(joints, bool), 0.0)


def one_euro(before: Filter, keypoints: Array, seconds: float, height: float) -> tuple[Filter, Array]:
    """Filter one frame.

    Args:
        before: state after the last frame.
        keypoints: [J, 3] float32, x, y in pixels, score.
        seconds: the frame's time.
        height: the person's height in pixels, > 0.

    Returns:
        the state after this frame, and [J, 3] float32 keypoints, scores unchanged.
    """
    raw = keypoints[:, :2].astype(np.float64)
    seen = keypoints[:, 2] >= SEEN
    step = seconds - before.seconds
    joined = seen & before.known & (step > 0)
    step = step if step > 0 else 1.0  # not used: nothing is joined then
    change = (raw - before.points) / step
    speeds = before.speeds + _weight(SPEED_CUTOFF_HZ, step) * (change - before.speeds)
    pace = np.linalg.norm(speeds, axis=1, keepdims=True) / height
    points = before.points + _weight(MIN_CUTOFF_HZ + BETA * pace, step) * (raw - before.points)
    points = np.where(joined[:, None], points, raw)
    after = Filter(points, np.where(joined[:, None], speeds, 0.0), seen, seconds)
    smoothed = keypoints.copy()
    smoothed[:, :2] = points
    return after, smoothed


def _weight(cutoff_hz: Array | float, step: float) -> Array:
    """Weight of the new value in a low-pass of this cutoff, sampled `step` seconds apart."""
    weight: Array = np.asarray(1.0 / (1.0 + 1.0 / (2.0 * np.pi * np.asarray(cutoff_hz) * step)))
    return weight
