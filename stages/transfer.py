"""What a generator does to colours that it was told to keep, measured on the source's own pixels and undone.

A VAE's round trip moves brightness, contrast and saturation a little, the same way everywhere (ali-vilab/VACE 44, 147).
Outside the region the source is known exactly, so the transfer is fitted there, in coded RGB, where shift, contrast and
saturation are affine:

    made = matrix @ (source - GREY) + GREY + offset          8-bit levels

It is fitted in this direction because the source has no noise: the other way round every noise of the generator would
look like a loss of contrast, window after window. Means of blocks are compared, not pixels: what is merely less sharp
is no other colour. All sums are of integers, so that they are the same wherever an array lies.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array
from stages.colour import mixed, pixels_of, planes

GREY = 127.5
BLOCK = 8  # pixels a side
STEP = 4  # every fourth frame shows the same transfer
MARGIN = 9  # pixels around the region that the model may have blended into
MATCH_PIXELS = 64  # fewer say nothing about a colour
# Deviation of the blocks (levels) along a direction of colour, at which the window's own measure and the one before it
# count alike: on a grey wall nothing is to be seen of saturation.
DOUBT = 1.0
OUTLIER = 4.0  # levels from the first fit, or three times the median: the model painted something else there
LIMIT_MATRIX = 0.5  # how far the matrix may be from doing nothing, sum of a row's magnitudes
LIMIT_OFFSET = 48.0  # levels

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Transfer:
    """An affine map of coded RGB; see above.

    Attributes:
        matrix: 9 numbers, row by row.
        offset: 3 numbers, levels.
    """

    matrix: tuple[float, ...] = IDENTITY
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.matrix == IDENTITY and self.offset == (0.0, 0.0, 0.0)

    def undone(self, made: Array) -> Array:
        """`[..., 3]` float64: the levels 0..255 that came out as `made` `[..., 3]`; clipped, not rounded."""
        rows = inverse(np.array(self.matrix).reshape(3, 3))
        moved = planes(made) - (GREY + np.array(self.offset)).reshape(3, *[1] * (made.ndim - 1))
        found = pixels_of([channel + GREY for channel in mixed(moved, rows)])
        return np.clip(found, 0.0, 255.0, out=found)

    def bounded(self) -> "Transfer":
        """It, or so much of it as the limits allow."""
        away = np.array(self.matrix).reshape(3, 3) - np.eye(3)
        most = max(float(np.abs(away).sum(axis=1).max()) / LIMIT_MATRIX, max(map(abs, self.offset)) / LIMIT_OFFSET)
        if most <= 1.0:
            return self
        return _transfer(np.eye(3) + away / most, np.array(self.offset) / most)


def measure(made: Array, source: Array, region: Array, expected: Transfer | None = None) -> tuple[Transfer | None, int]:
    """The transfer of a window, and how many blocks it was measured on.

    Along directions of colour in which the blocks hardly differ, what is `expected` counts; the blocks' mean colour is
    always this window's own.

    Args:
        made, source: `[n, h, w, 3]` uint8 RGB of one size.
        region: `[n, h, w]` bool, what was not to be kept.
        expected: of the shot's first window; None: that nothing changes.

    Returns:
        None and 0 where nothing is to be seen outside the region.
    """
    shown = range(0, len(made), STEP)
    pairs = [_blocks(source[index], made[index], region[index]) for index in shown]
    wanted, found = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    if len(wanted) * BLOCK * BLOCK < MATCH_PIXELS:
        return None, 0
    if np.array_equal(wanted, found):
        return Transfer(), len(wanted)
    start = expected or Transfer()
    first = _fit(wanted, found, start)
    error = np.abs(found - _levels_of(first, wanted / BLOCK**2) * BLOCK**2).max(axis=1) / BLOCK**2
    near = error <= max(OUTLIER, 3.0 * float(np.median(error)))
    return _fit(wanted[near], found[near], start).bounded(), int(near.sum())


def _blocks(source: Array, made: Array, region: Array) -> tuple[Array, Array]:
    """`[n, 3]` int64 each: sums of the blocks that lie outside the region, and in which nothing made is clipped."""
    near = cv2.dilate(region.astype(np.uint8), np.ones((2 * MARGIN - 1, 2 * MARGIN - 1), np.uint8)) > 0
    clipped = _any_channel(made + np.uint8(1) <= 1) & _any_channel(made != source)  # 0 or 255
    usable = _block_sums((near | clipped)[..., None])[..., 0] == 0
    return _block_sums(source)[usable], _block_sums(made)[usable]


def _any_channel(flags: Array) -> Array:
    """`[h, w]` bool of `[h, w, 3]`; several times as fast as `any(axis=2)`."""
    return np.asarray(flags[..., 0] | flags[..., 1] | flags[..., 2])


def _block_sums(picture: Array) -> Array:
    """`[h / 8, w / 8, c]` int64: sums over the blocks of `[h, w, c]` uint8 or bool; what is left over at the right and
    below is not looked at."""
    rows, columns, channels = picture.shape[0] // BLOCK, picture.shape[1] // BLOCK, picture.shape[2]
    whole = picture[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns * BLOCK * channels)
    lines = whole.sum(axis=1, dtype=np.uint16)  # along whole rows first: that is fast
    return np.asarray(lines.reshape(rows, columns, BLOCK, channels).sum(axis=2, dtype=np.int64))


def _fit(wanted: Array, found: Array, expected: Transfer) -> Transfer:
    """Least squares with `expected` as what is held without evidence (ridge regression).

    Args:
        wanted, found: `[n, 3]` int64, sums of blocks.
    """
    count, area = len(wanted), float(BLOCK**2)
    mean_wanted, mean_found = (values.sum(axis=0) / (count * area) for values in (wanted, found))
    spread = _products(wanted, wanted) / (count * area**2) - mean_wanted[:, None] * mean_wanted[None]
    crossed = _products(found, wanted) / (count * area**2) - mean_found[:, None] * mean_wanted[None]
    prior = np.array(expected.matrix).reshape(3, 3)
    matrix = times(crossed + DOUBT**2 * prior, inverse(spread + DOUBT**2 * np.eye(3)))
    x, y, z = mean_wanted - GREY
    offset = mean_found - GREY - np.array([x * row[0] + y * row[1] + z * row[2] for row in matrix])
    return _transfer(matrix, offset)


def _products(one: Array, other: Array) -> Array:
    """`[3, 3]` float64: sums of products of the channels, exact until they are divided."""
    return np.array([[float((one[:, i] * other[:, j]).sum()) for j in range(3)] for i in range(3)])


def _levels_of(transfer: Transfer, levels: Array) -> Array:
    """`[n, 3]` float64: what comes of levels `[n, 3]`."""
    rows = np.array(transfer.matrix).reshape(3, 3)
    return np.asarray(pixels_of(mixed(planes(levels) - GREY, rows)) + (GREY + np.array(transfer.offset)))


def times(one: Array, other: Array) -> Array:
    """`[3, 3]` times `[3, 3]`, in an order of its own: a BLAS takes another one by where an array lies."""
    return np.array([[sum(one[i, k] * other[k, j] for k in range(3)) for j in range(3)] for i in range(3)])


def inverse(matrix: Array) -> Array:
    """`[3, 3]`, by cofactors."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    cofactors = np.array(
        [
            [e * i - f * h, c * h - b * i, b * f - c * e],
            [f * g - d * i, a * i - c * g, c * d - a * f],
            [d * h - e * g, b * g - a * h, a * e - b * d],
        ]
    )
    return np.asarray(cofactors / (a * cofactors[0, 0] + b * cofactors[1, 0] + c * cofactors[2, 0]))


def _transfer(matrix: Array, offset: Array) -> Transfer:
    return Transfer(tuple(float(value) for value in matrix.reshape(9)), tuple(float(value) for value in offset))
