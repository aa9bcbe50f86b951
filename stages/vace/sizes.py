"""The size a clip is generated at. Pure functions."""

import math

from stages.generators import GENERATORS
from stages.resize import Size
from storage.errors import UsageError

MULTIPLE = GENERATORS[
    "comfyui"
].geometry.size_step  # VAE stride 8 times patch 2; WanVaceToVideo does not enforce it and fails during execution
AREA_PIXELS = 832 * 480  # Wan 2.1's 480p
AREA_TOLERANCE = 0.06
LIMITS = (16, 4096)


def check_size(size: Size) -> None:
    """Refuse a `--size` that the model cannot take.

    Raises:
        UsageError: naming the nearest size that it can.
    """
    width, height = size
    low, high = LIMITS
    if width % MULTIPLE or height % MULTIPLE or not (low <= width <= high and low <= height <= high):
        nearest = [min(high, max(low, round(side / MULTIPLE) * MULTIPLE)) for side in size]
        raise UsageError(
            f"--size {width}x{height}: both sides must be multiples of {MULTIPLE} in {low}..{high}; "
            f"the nearest is {nearest[0]}x{nearest[1]}"
        )


def fit_size(width: int, height: int) -> Size:
    """`(width, height)`, multiples of 16, closest in shape to the source among those near 832x480 in area.

    Raises:
        UsageError: for a source so narrow that no such size exists.
    """
    best: tuple[float, float, Size] | None = None
    for rows in range(MULTIPLE, LIMITS[1] + 1, MULTIPLE):
        for columns in _near(rows * width / height):
            if abs(rows * columns / AREA_PIXELS - 1) > AREA_TOLERANCE:
                continue
            shape = abs(math.log(columns * height / (rows * width)))
            found = (shape, abs(rows * columns - AREA_PIXELS), (columns, rows))
            best = found if best is None else min(best, found)
    if best is None:
        raise UsageError(f"no size near 832x480 has the shape of a {width}x{height} clip: give --size WxH")
    return best[2]


def _near(side: float) -> list[int]:
    low = max(1, math.floor(side / MULTIPLE)) * MULTIPLE
    return [value for value in (low, low + MULTIPLE) if LIMITS[0] <= value <= LIMITS[1]]
