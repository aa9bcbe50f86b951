"""Does a quantity grow with the clip? Its slope over the windows, with a confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WARM_WINDOWS = 2  # the first ones load models and fill allocators' pools; they are no part of a slope
LEAST_WINDOWS = 8  # fewer give an interval so wide that "flat" would say nothing
GROWTH_WINDOWS = 100
MOST_GROWTH = 0.01
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slope:
    """A straight line through a quantity over the windows.

    Attributes:
        windows: how many were looked at. mean: of the quantity. slope: its growth a window, least squares.
        low, high: the slope's 95 % confidence interval, by resampling windows with replacement (Efron's percentile
            bootstrap: the noise, for memory anything but normal, may have any shape; windows are taken as independent,
            so where neighbours wander together the true interval is wider).
    """

    windows: int
    mean: float
    slope: float
    low: float
    high: float

    @property
    def growth(self) -> float:
        """Growth over 100 windows, as a share of the mean."""
        return self.slope * GROWTH_WINDOWS / self.mean if self.mean else 0.0

    @property
    def flat(self) -> bool:
        """Whether the interval contains 0, or the growth over 100 windows is under 1 %."""
        return self.low <= 0.0 <= self.high or self.growth < MOST_GROWTH

    def to_json(self) -> dict[str, Any]:
        """For bench.json."""
        return {
            "windows": self.windows,
            "mean": self.mean,
            "slope_per_window": self.slope,
            "confidence_interval": [self.low, self.high],
            "growth_over_100_windows": self.growth,
            "flat": self.flat,
        }


def slope_of(values: Sequence[float | None], warm: int = WARM_WINDOWS) -> Slope | None:
    """The slope of a quantity, a value a window; None where fewer than 8 windows behind the warm ones have one.

    Args:
        values: by window, None where it was not measured.
        warm: windows at the start that are left out.
    """
    known = [(float(index), value) for index, value in enumerate(values) if index >= warm and value is not None]
    if len(known) < LEAST_WINDOWS:
        return None
    x, y = np.array(known, np.float64).T
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(x), (RESAMPLES, len(x)))
    slopes = _slopes(x[rows], y[rows])
    slopes = slopes[np.isfinite(slopes)]
    low, high = np.quantile(slopes, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Slope(len(x), float(y.mean()), float(_slopes(x[None], y[None])[0]), float(low), float(high))


def _slopes(
    x: "np.ndarray[Any, np.dtype[np.float64]]", y: "np.ndarray[Any, np.dtype[np.float64]]"
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Least-squares slope of each row, `[r, n]` -> `[r]`; not finite where all x of a row are the same."""
    x = x - x.mean(axis=1, keepdims=True)
    spread = (x * x).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray[Any, np.dtype[np.float64]] = (x * y).sum(axis=1) / spread
    return found
