"""R'G'B' in more than 8 bits out of a decoded picture, in strips of rows, by sums and products of float32 alone."""

from collections.abc import Iterator

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane

from stages.base import Array

LEVELS = 4096  # of a signal from 0 to 1: 4.7 for each step of limited 10 bits
# Kr and Kb by matrix (ITU-T H.273): BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020 with non-constant luminance.
COEFFICIENTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
UNTAGGED_MATRIX = 9  # HDR that names none has BT.2100's
FULL_RANGE, LIMITED_RANGE = 2, 1
_STRIP_PIXELS = 1 << 15  # what is worked on stays in the processor's cache
_DEPTHS = (8, 10, 12, 16)
_PLANAR = frozenset(
    [f"yuv{kind}p{depth}" for kind in ("420", "422", "444") for depth in ("", "9le", "10le", "12le", "14le", "16le")]
    + [f"gbrp{depth}" for depth in ("", "9le", "10le", "12le", "14le", "16le")]
)


def signal_strips(picture: av.VideoFrame) -> Iterator[tuple[slice, Array]]:
    """Rows of the picture and their signal `[3, h, w]` intp: R'G'B', `LEVELS - 1` for 1.0, cut to 0..`LEVELS - 1`.

    Chroma is repeated for each pixel that it stands for, as PyAV's default conversion does. Black, white and matrix
    are those of the tags; HDR without them is limited range, BT.2020.
    """
    separate = planar(picture)
    bits = separate.format.components[0].bits
    planes = [_values(plane, bits) for plane in separate.planes[:3]]
    if picture.format.is_rgb:
        yield from _rgb_strips(planes, bits, limited=int(picture.color_range) == LIMITED_RANGE)
    else:
        full = int(picture.color_range) == FULL_RANGE or picture.format.name.startswith("yuvj")
        yield from _yuv_strips(planes, bits, full, int(picture.colorspace))


def _rgb_strips(planes: list[Array], bits: int, limited: bool) -> Iterator[tuple[slice, Array]]:
    """Of planes as they are stored: G, B, R."""
    low, step = _luma_scale(bits, limited)
    for rows in _strips(planes[0].shape, 1):
        scaled = [plane[rows] * np.float32(step) + np.float32(0.5 - low * step) for plane in planes]
        yield rows, np.stack([_index(scaled[2]), _index(scaled[0]), _index(scaled[1])])


def _yuv_strips(planes: list[Array], bits: int, full: bool, matrix: int) -> Iterator[tuple[slice, Array]]:
    low, step = _luma_scale(bits, not full)
    luma, blue, red = planes
    down, across = -(-luma.shape[0] // blue.shape[0]), -(-luma.shape[1] // blue.shape[1])
    for rows in _strips(luma.shape, down):
        coarse = slice(rows.start // down, -(-rows.stop // down))
        light = luma[rows] * np.float32(step) + np.float32(0.5 - low * step)
        signal = np.empty((3, *light.shape), np.intp)
        for channel, term in enumerate(_chroma_terms(blue[coarse], red[coarse], bits, full, matrix)):
            wide = cv2.resize(term, None, fx=across, fy=down, interpolation=cv2.INTER_NEAREST)
            signal[channel] = _index(light + wide[: light.shape[0], : light.shape[1]])
        yield rows, signal


def planar(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture with its components in planes of their own, at no less depth; the same values."""
    if picture.format.name in _PLANAR:
        return picture
    wanted = picture.format.components[0].bits
    depth = next((bits for bits in _DEPTHS if bits >= wanted), _DEPTHS[-1])
    kind = "gbrp"
    if not picture.format.is_rgb:
        narrow = picture.format.chroma_width(picture.width) < picture.width
        low = picture.format.chroma_height(picture.height) < picture.height
        kind = "yuv420p" if low else "yuv422p" if narrow else "yuv444p"
    return picture.reformat(format=kind if depth == 8 else f"{kind}{depth}le")


def _chroma_terms(blue: Array, red: Array, bits: int, full: bool, matrix: int) -> list[Array]:
    """What chroma adds to luma for R', G' and B', in `LEVELS - 1`: `[h, w]` float32 each."""
    k_red, k_blue = COEFFICIENTS.get(matrix, COEFFICIENTS[UNTAGGED_MATRIX])
    k_green = 1 - k_red - k_blue
    middle = np.float32(128 << (bits - 8))
    step = (LEVELS - 1) / (((1 << bits) - 1) if full else (224 << (bits - 8)))
    blue, red = blue - middle, red - middle
    green: Array = blue * np.float32(-2 * k_blue * (1 - k_blue) / k_green * step)
    green += red * np.float32(-2 * k_red * (1 - k_red) / k_green * step)
    return [red * np.float32(2 * (1 - k_red) * step), green, blue * np.float32(2 * (1 - k_blue) * step)]


def _luma_scale(bits: int, limited: bool) -> tuple[int, float]:
    """`(black, levels a step)` of a component without a sign."""
    if limited:
        return 16 << (bits - 8), (LEVELS - 1) / (219 << (bits - 8))
    return 0, (LEVELS - 1) / ((1 << bits) - 1)


def _index(values: Array) -> Array:
    np.clip(values, 0, LEVELS - 1, out=values)
    return values.astype(np.intp)


def _values(plane: VideoPlane, bits: int) -> Array:
    """`[h, w]` uint8 or uint16, nothing copied."""
    rows = np.frombuffer(memoryview(plane), np.uint8 if bits <= 8 else "<u2")
    return rows.reshape(plane.height, -1)[:, : plane.width]


def _strips(shape: tuple[int, ...], multiple: int) -> Iterator[slice]:
    height, width = shape
    rows = max(1, _STRIP_PIXELS // (width * multiple)) * multiple
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))
