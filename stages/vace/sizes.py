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


def check_size(size: Size, multiple: int = MULTIPLE) -> None:
    """Refuse a `--size` that the model cannot take: both sides must be multiples of `multiple`.

    Raises:
        UsageError: naming the nearest size that it can.
    """
    width, height = size
    low, high = LIMITS
    if width % multiple or height % multiple or not (low <= width <= high and low <= height <= high):
        best = [min(high, max(multiple, round(side / multiple) * multiple)) for side in size]
        raise UsageError(
            f"--size {width}x{height}: both sides must be multiples of {multiple} in {low}..{high}; "
            f"the nearest is {best[0]}x{best[1]}"
        )


def fit_size(width: int, height: int, multiple: int = MULTIPLE) -> Size:
    """`(width, height)`, multiples of `multiple`, closest in shape to the source among those near 832x480 in area.

    Raises:
        UsageError: for a source so narrow that no such size exists.
    """
    best: tuple[float, float, Size] | None = None
    for rows in range(multiple, LIMITS[1] + 1, multiple):
        for columns in _near(rows * width / height, multiple):
            if abs(rows * columns / AREA_PIXELS - 1) > AREA_TOLERANCE:
                continue
            shape = abs(math.log(columns * height / (rows * width)))
            found = (shape, abs(rows * columns - AREA_PIXELS), (columns, rows))
            best = found if best is None else min(best, found)
    if best is None:
        raise UsageError(f"no size near 832x480 has the shape of a {width}x{height} clip: give --size WxH")
    return best[2]


def _near(side: float, multiple: int) -> list[int]:
    low = max(1, math.floor(side / multiple)) * multiple
    return [value for value in (low, low + multiple) if LIMITS[0] <= value <= LIMITS[1]]
