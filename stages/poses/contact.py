"""Which foot stands on something, from the six foot keypoints: slow, and as low as feet have lately been.

A skater stands on a board that moves, before a camera that pans; so a foot counts as slow when it is slow in the
picture (standing on the ground) or against the hips (standing on the board). Low is measured from the ground level, the
lowest place of either foot lately; it follows a slope or a tilting camera slowly, and a jump stays above it.
"""

from dataclasses import dataclass

import numpy as np

from stages.base import Array
from stages.poses.skeleton import LEFT_FOOT, LEFT_HIP, RIGHT_FOOT, RIGHT_HIP

SEEN = 0.3
SLOW, FAST = 0.6, 1.2  # heights per second: contact begins below SLOW and lasts up to FAST
NEAR, FAR = 0.05, 0.07  # heights above the ground level: contact begins below NEAR and lasts up to FAR
GROUND_RISE = 0.15  # heights per second by which the ground level may rise; it falls at once
SPEED_SECONDS = 0.06  # time constant of the speed estimate


@dataclass(frozen=True)
class Ground:
    """State of the estimate.

    Attributes:
        feet: [3, 2] float64: left foot, right foot, middle of the hips, pixels; NaN where not seen.
        speeds: [4] float64: of left and right foot in the picture, then against the hips, heights per second.
        level: y of the ground in pixels (NaN: unknown).
        contacts: [2] bool, left and right.
        seconds: time of the last frame.
    """

    feet: Array
    speeds: Array
    level: float
    contacts: Array
    seconds: float


def no_ground() -> Ground:
    """Nothing seen yet."""
    return Ground(np.full((3, 2), np.nan), np.full(4, np.nan), float("nan"), np.zeros(2, bool), 0.0)


def foot_contacts(before: Ground, keypoints: Array, seconds: float, height: float) -> Ground:
    """One frame on.

    Args:
        before: state after the last frame.
        keypoints: [133, 3] float32, x, y in pixels, score.
        seconds: the frame's time.
        height: the person's height in pixels, > 0.

    Returns:
        the state after this frame; its `contacts` are the frame's result. A foot not seen has no contact.
    """
    feet = np.stack(
        [_place(keypoints[LEFT_FOOT]), _place(keypoints[RIGHT_FOOT]), _place(keypoints[[LEFT_HIP, RIGHT_HIP]])]
    )
    step = seconds - before.seconds
    speeds = _speeds(before, feet, step, height)
    level = _level(before.level, feet[:2, 1], step, height)
    above = (level - feet[:2, 1]) / height
    slow = np.fmin(speeds[:2], speeds[2:])
    begins = (slow < SLOW) & (above < NEAR)  # comparisons with NaN are False
    lasts = before.contacts & (slow < FAST) & (above < FAR)
    return Ground(feet, speeds, level, begins | lasts, seconds)


def _place(points: Array) -> Array:
    """[2]: mean place of the seen points, NaN unless at least two are seen."""
    seen = points[points[:, 2] >= SEEN, :2].astype(np.float64)
    return np.full(2, np.nan) if len(seen) < 2 else np.asarray(seen.mean(axis=0))


def _speeds(before: Ground, feet: Array, step: float, height: float) -> Array:
    """[4] smoothed speeds, heights per second; NaN where a foot was not seen in both frames."""
    if step <= 0:
        return np.full(4, np.nan)
    moved = feet - before.feet
    paths = np.concatenate([moved[:2], moved[:2] - moved[2]])
    now = np.linalg.norm(paths, axis=1) / (step * height)
    weight = step / (SPEED_SECONDS + step)
    smoothed: Array = np.where(np.isnan(before.speeds), now, before.speeds + weight * (now - before.speeds))
    return smoothed


def _level(before: float, lowest: Array, step: float, height: float) -> float:
    """The ground's y: the lower foot, or the earlier level after its slow rise, whichever is lower in the picture."""
    seen = lowest[~np.isnan(lowest)]
    if np.isnan(before):
        return float(seen.max()) if len(seen) else before
    risen = before - GROUND_RISE * max(step, 0.0) * height
    return float(max(seen.max(), risen)) if len(seen) else risen
