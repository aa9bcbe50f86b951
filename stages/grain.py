"""Noise and sharpness of what was made, as the source's there and around it (`--match-grain`).

    bands    luma through Immerkaer's difference of Laplacians (CVIU 1996), at full size and at half of it
    noise    of both bands, median over the flattest blocks: what the source has more of, both within the region and
             around it (texture is no noise, which is everywhere), is added
    sharp    energy of the fine band against the coarse one, without the noise, over the blocks of most structure: the
             blur or the unsharp mask that brings the result's nearest to the source's within the region

One of each a window, so nothing flickers. The noise is a frame's, by its number: two windows that make a frame add the
same.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from stages.base import Array, Json
from stages.region import bounding_box

BLOCK = 8  # pixels
QUARTER = 0.25  # of the blocks: the flattest, those of most structure
LEAST_BLOCKS = 12
SAMPLES = 3  # frames of a window that are looked at
NEAR = 48  # pixels around the region that count as around it
TILE = 512  # pixels a side of the noise that is repeated over a frame
LEAST_NOISE = 0.15  # grey levels: less is not to be seen, and would be rounding alone
LEAST_RATIO = 1.1  # of two sharpnesses: nearer ones are the same
BLURS = (0.35, 0.45, 0.55, 0.65, 0.8, 1.0, 1.25)  # pixels, sigma
SHARPENINGS = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5)  # of an unsharp mask of 1 pixel
_BAND = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], np.float32) / 6  # white noise keeps its size


@dataclass(frozen=True)
class Grain:
    """What is done to a window's pictures.

    Attributes:
        blur: sigma of a Gaussian, pixels; sharpen: weight of an unsharp mask; 0: none. Never both.
        fine, coarse: deviation of the noise that is added, grey levels: white, and white at half the size.
    """

    blur: float = 0.0
    sharpen: float = 0.0
    fine: float = 0.0
    coarse: float = 0.0

    @property
    def is_neutral(self) -> bool:
        """Whether it changes nothing."""
        return self == Grain()

    def record(self) -> dict[str, Json]:
        """As it stands in the record."""
        return dict(vars(self))

    def applied(self, picture: Array, frame: int, region: Array) -> Array:
        """`[H, W, 3]` uint8 RGB: the picture of frame number `frame` with it, where the region `[H, W]` bool is."""
        box = None if self.is_neutral else bounding_box(region)
        if box is None:
            return picture
        noise = noise_of(frame, picture.shape[:2], self.fine, self.coarse)[box]
        found = picture.copy()
        found[box] = np.floor(self._filtered(picture)[box] + noise[..., None] + 0.5).clip(0, 255).astype(np.uint8)
        return found

    def _filtered(self, picture: Array) -> Array:
        wide = picture.astype(np.float32)
        if self.blur:
            return np.asarray(cv2.GaussianBlur(wide, (0, 0), self.blur))
        if self.sharpen:
            return wide + np.float32(self.sharpen) * (wide - cv2.GaussianBlur(wide, (0, 0), 1.0))
        return wide


def grain_of(source: Array, made: Callable[[int], Array], region: Array, inner: Array) -> Grain:
    """What a window's pictures lack of the source's noise and sharpness; nothing where too little is there to tell.

    Args:
        source: `[n, H, W, 3]` uint8 RGB.
        made: gives what was made of a frame of the window, `[H, W, 3]` uint8 RGB in the source's pixels.
        region, inner: `[n, H, W]` bool: what may change, and the undilated masks within it.
    """
    shown = np.flatnonzero((inner & region).any((1, 2)))
    if not len(shown):
        return Grain()
    picked = np.unique(shown[np.linspace(0, len(shown) - 1, SAMPLES).round().astype(int)])
    pairs = []
    for index in picked:
        box = bounding_box(region[index], NEAR)
        assert box is not None
        pairs.append((_luma(source[index][box]), _luma(made(int(index))[box]), (inner & region)[index][box]))
    within = _measured([(source, inside) for source, _, inside in pairs])
    around = _measured([(source, ~inside) for source, _, inside in pairs])
    found = _measured([(made, inside) for _, made, inside in pairs])
    if within is None or around is None or found is None:
        return Grain()
    there = Measured(np.minimum(within.noise, around.noise), within.ratio)
    blur, sharpen = _sharpness(pairs, found, there)
    if blur or sharpen:
        changed = [(_as_grain(pair[1], blur, sharpen), pair[2]) for pair in pairs]
        found = _measured(changed) or found
    lacking = np.maximum(0.0, np.square(there.noise) - np.square(found.noise))
    fine, coarse = _split(lacking)
    return Grain(blur, sharpen, fine, coarse)


def noise_of(frame: int, shape: tuple[int, ...], fine: float, coarse: float) -> Array:
    """`[H, W]` float32 noise of a frame, by its number: the same whoever asks."""
    rng = np.random.Generator(np.random.Philox(key=frame))
    white = rng.standard_normal((TILE, TILE), np.float32) * np.float32(fine)
    half = rng.standard_normal((TILE // 2, TILE // 2), np.float32) * np.float32(coarse)
    tile = white + cv2.resize(half, (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    height, width = shape[:2]
    return np.tile(tile, (-(-height // TILE), -(-width // TILE)))[:height, :width]


@dataclass(frozen=True)
class Measured:
    """Of some pictures.

    Attributes:
        noise: `[2]` float64: deviation of the noise in the fine and the coarse band, grey levels.
        ratio: energy of the fine band against the coarse one where there is structure, without the noise; NaN where
            there is none.
    """

    noise: Array
    ratio: float


def spectrum(luma: Array, where: Array) -> tuple[Array, Array]:
    """`[N, 2]` float64 energies of the fine and the coarse band, and `[N]` of the structure, of each block of 8 pixels
    that lies wholly in `where` `[h, w]` bool."""
    half = cv2.resize(luma, (luma.shape[1] // 2, luma.shape[0] // 2), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(luma, (0, 0), 2.0)
    slope = np.square(cv2.Sobel(smooth, cv2.CV_32F, 1, 0)) + np.square(cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    bands = [np.square(cv2.filter2D(picture, cv2.CV_32F, _BAND)) for picture in (luma, half)]
    parts = [_blocks(bands[0], BLOCK), _blocks(bands[1], BLOCK // 2), _blocks(slope, BLOCK)]
    rows, columns = min(part.shape[0] for part in parts), min(part.shape[1] for part in parts)
    lit = _blocks(((luma > 4) & (luma < 251) & where).astype(np.float32), BLOCK)[:rows, :columns] == 1.0
    energies = np.stack([part[:rows, :columns][lit] for part in parts], 1)
    return energies[:, :2], energies[:, 2]


def _blocks(values: Array, side: int) -> Array:
    """`[R, C]` float64: the mean of each block."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    cut = values[: rows * side, : columns * side].astype(np.float64)
    return np.asarray(cut.reshape(rows, side, columns, side).mean((1, 3)))


def _measured(pictures: list[tuple[Array, Array]]) -> Measured | None:
    found = [spectrum(*picture) for picture in pictures]
    energies = np.concatenate([energy for energy, _ in found])
    structure = np.concatenate([slope for _, slope in found])
    count = int(len(structure) * QUARTER)
    if count < LEAST_BLOCKS:
        return None
    order = np.argsort(structure, kind="stable")
    noise = np.median(energies[order[:count]], axis=0)
    fine, coarse = np.maximum(0.0, energies[order[-count:]].mean(0) - noise)
    return Measured(np.sqrt(noise), float(fine / coarse) if coarse > 1.0 else float("nan"))


def _sharpness(pairs: list[tuple[Array, Array, Array]], found: Measured, there: Measured) -> tuple[float, float]:
    """(blur, sharpen) that bring the sharpness nearest to the source's; zeros where it is near already."""

    def miss(ratio: float) -> float:
        return abs(math.log(max(ratio, 1e-6) / max(there.ratio, 1e-6)))

    if np.isnan(found.ratio) or np.isnan(there.ratio) or miss(found.ratio) < math.log(LEAST_RATIO):
        return 0.0, 0.0
    softer = found.ratio > there.ratio
    best, least = (0.0, 0.0), miss(found.ratio) - math.log(LEAST_RATIO) / 2
    for amount in BLURS if softer else SHARPENINGS:
        tried = (amount, 0.0) if softer else (0.0, amount)
        now = _measured([(_as_grain(made, *tried), where) for _, made, where in pairs])
        if now is not None and not np.isnan(now.ratio) and miss(now.ratio) < least:
            best, least = tried, miss(now.ratio)
    return best


def _as_grain(luma: Array, blur: float, sharpen: float) -> Array:
    return Grain(blur, sharpen)._filtered(luma)


def _split(lacking: Array) -> tuple[float, float]:
    """The deviations of white noise and of white noise at half the size that together have these energies in the two
    bands, none below 0, in steps of 0.05 grey levels."""
    white, half = _responses()
    both = np.linalg.solve(np.stack([white, half], 1), lacking)
    if both[0] < 0:
        both = np.array([0.0, lacking[1] / half[1]])
    elif both[1] < 0:
        both = np.array([lacking[0] / white[0], 0.0])
    deviations = [round(round(float(np.sqrt(max(0.0, value))) / 0.05) * 0.05, 2) for value in both]
    return tuple(value if value >= LEAST_NOISE else 0.0 for value in deviations)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _responses() -> tuple[Array, Array]:
    """`[2]` each: the energies in both bands of either noise of deviation 1 around grey."""
    everywhere = np.ones((TILE, TILE), bool)
    tiles = [noise_of(0, (TILE, TILE), *kind) + 128 for kind in ((1.0, 0.0), (0.0, 1.0))]
    white, half = (spectrum(tile.astype(np.float32), everywhere)[0].mean(0) for tile in tiles)
    return white, half


def _luma(picture: Array) -> Array:
    """`[h, w]` float32 of `[h, w, 3]` uint8 RGB."""
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
