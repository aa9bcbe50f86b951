"""How the report rounds, and the three numbers that it gives of a metric."""

import math

import numpy as np

from stages.base import Array
from stages.metrics import summarise_iou

DIGITS = 6


def rounded(value: float) -> float:
    """As the files have it."""
    return round(value, DIGITS) + 0.0  # + 0.0: no "-0.0" in the file


def signed(value: float | None, sign: float = 1.0) -> float | None:
    """The same of a value that may be missing, times `sign`."""
    return None if value is None else rounded(sign * value)


def statistics(
    values: Array, worst_is_high: bool = False
) -> tuple[float | None, float | None, int | None, float | None, int | None]:
    """Mean, 5th percentile (nearest rank, towards the worst) and worst of `[T]` values, NaN left out, with frames."""
    sign = -1.0 if worst_is_high else 1.0
    found = summarise_iou(sign * np.asarray(values, dtype=np.float64), -math.inf)
    mean, low, worst = (signed(value, sign) for value in (found.mean, found.p5, found.minimum))
    return mean, low, found.p5_frame, worst, found.minimum_frame
