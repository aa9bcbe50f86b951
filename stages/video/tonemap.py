"""HLG and PQ to BT.709 for an SDR screen: one operator, the same bytes on every machine.

    R'G'B' -> linear light, of the display's peak = 1   HLG: inverse OETF and OOTF; PQ: EOTF (ITU-R BT.2100)
           -> BT.709's primaries, negative light cut    (BT.2087)
           -> light compressed                          EETF of BT.2390 from the source's peak to SDR's white
           -> R'G'B'                                    inverse EOTF of BT.1886 (gamma 2.4), 8 bits

SDR's white is BT.2408's reference white for HDR, 203 cd/m2. The compression scales a pixel's three components by one
gain, that of the largest, so hue and saturation stay (as in ffmpeg's `tonemap`); it never exceeds white.

What libm computes lies in tables, rounded to 16 bits, where no last bit of libm shows. Per pixel there are only sums,
products, square roots and comparisons of float32, which IEEE 754 rounds exactly, each alone, in a fixed order.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import av
import numpy as np

from stages.base import Array
from stages.video.planes import LEVELS, signal_strips
from stages.video.sides import side_data

SDR_WHITE = 203.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2: the nominal display of BT.2100, where the system gamma is 1.2
HLG_SYSTEM_GAMMA = 1.2
DEFAULT_PQ_PEAK = 1000  # where no metadata tells: what most PQ is graded to
PQ_PEAKS = (1000, 2000, 4000, 10000)  # cd/m2; what metadata says is rounded up to one of these, so that tables are few
HLG, PQ = 18, 16  # ITU-T H.273's transfer characteristics
HDR_TRANSFERS = {HLG: "HLG", PQ: "PQ"}

LUMINANCE_2020 = (0.2627, 0.6780, 0.0593)
# Primaries (ITU-T H.273) to BT.709's, by the chromaticities of BT.2020, SMPTE RP 431-2 and EG 432-1.
TO_BT709: Mapping[int, tuple[tuple[float, float, float], ...]] = {
    9: ((1.660491, -0.587641, -0.07285), (-0.12455, 1.1329, -0.008349), (-0.018151, -0.100579, 1.11873)),
    12: ((1.22494, -0.22494, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
    1: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}
UNTAGGED_PRIMARIES = 9  # HDR that names none has BT.2100's
_HEADROOM = 2.0  # of a component in BT.709's primaries above the peak: BT.2020's red has 1.66
_TABLE_BITS = 16


@dataclass(frozen=True)
class ToneMap:
    """How a clip's pictures become SDR; settled on its first frame, so that it does not depend on where decoding began.

    Attributes:
        transfer: `HLG` or `PQ`.
        peak: of the source in cd/m2.
        primaries: of the source (a key of `TO_BT709`).
    """

    transfer: int
    peak: int
    primaries: int

    def __str__(self) -> str:
        return f"{HDR_TRANSFERS[self.transfer]}, {self.peak} cd/m2 at most"

    def to_rgb(self, picture: av.VideoFrame) -> Array:
        """`[H, W, 3]` uint8 RGB in BT.709 of a decoded picture, not turned."""
        image = np.empty((picture.height, picture.width, 3), np.uint8)
        for rows, signal in signal_strips(picture):
            image[rows] = self.map_signal(signal)
        return image

    def map_signal(self, signal: Array) -> Array:
        """`[3, h, w]` integers, R'G'B' with `LEVELS - 1` for 1.0 -> `[h, w, 3]` uint8 RGB in BT.709."""
        linear = [np.take(linear_table(self.transfer, self.peak), plane, mode="clip") for plane in signal]
        light = [_weighted(linear, weights) for weights in TO_BT709[self.primaries]]
        for plane in light:
            np.maximum(plane, 0, out=plane)
        if self.transfer == HLG:
            system = np.take(system_gain_table(), _root_index(_weighted(linear, LUMINANCE_2020), 1.0), mode="clip")
            for plane in light:
                plane *= system
        largest = np.maximum(np.maximum(light[0], light[1]), light[2])
        gain = np.take(eetf_gain_table(self.peak), _root_index(largest, _HEADROOM), mode="clip")
        image = np.empty((*largest.shape, 3), np.uint8)
        for channel, plane in enumerate(light):
            plane *= gain
            image[..., channel] = np.take(display_table(), _root_index(plane, 1.0), mode="clip")
        return image


def tone_map_of(picture: av.VideoFrame) -> ToneMap | None:
    """What the clip that this picture begins needs; None for SDR."""
    transfer = int(picture.color_trc)
    if transfer not in HDR_TRANSFERS:
        return None
    primaries = int(picture.color_primaries)
    peak = int(HLG_PEAK) if transfer == HLG else pq_peak(picture)
    return ToneMap(transfer, peak, UNTAGGED_PRIMARIES if primaries == 2 else primaries)


def pq_peak(picture: av.VideoFrame) -> int:
    """The brightest that a PQ clip may be, cd/m2, of `PQ_PEAKS`: by ST 2086 (mastering display) and CTA-861.3 (MaxCLL).

    The lower of the two where both are given and sensible, `DEFAULT_PQ_PEAK` where neither is.
    """
    found = []
    for side in side_data(picture):
        data = bytes(side)
        if side.type.name == "MASTERING_DISPLAY_METADATA" and len(data) >= 88:
            numerator, denominator = struct.unpack_from("=2i", data, 72)  # AVMasteringDisplayMetadata.max_luminance
            if struct.unpack_from("=i", data, 84)[0] and denominator > 0:
                found.append(numerator / denominator)
        if side.type.name == "CONTENT_LIGHT_LEVEL" and len(data) >= 4:
            found.append(struct.unpack_from("=I", data)[0])
    sensible = [value for value in found if value >= SDR_WHITE]
    if not sensible:
        return DEFAULT_PQ_PEAK
    return next((peak for peak in PQ_PEAKS if peak >= min(sensible)), PQ_PEAKS[-1])


def _weighted(planes: list[Array], weights: tuple[float, ...]) -> Array:
    """The weighted sum of three planes of float32."""
    total: Array = planes[0] * np.float32(weights[0])
    total += planes[1] * np.float32(weights[1])
    total += planes[2] * np.float32(weights[2])
    return total


def _root_index(values: Array, top: float) -> Array:
    """Where a value from 0 to `top` stands in a table whose entries are even in its square root."""
    root: Array = values * np.float32((LEVELS - 1) ** 2 / top)
    np.sqrt(root, out=root)
    root += np.float32(0.5)
    return root.astype(np.intp)


def _roots(top: float) -> Array:
    """The values that a `_root_index` stands for, float64."""
    found: Array = (np.arange(LEVELS) / (LEVELS - 1)) ** 2 * top
    return found


def rounded(values: Array) -> Array:
    """float32 with 16 bits: float64 from any libm, whatever its last ten bits, gives the same."""
    mantissa, exponent = np.frexp(values)
    short: Array = np.ldexp(np.round(np.ldexp(mantissa, _TABLE_BITS)), exponent - _TABLE_BITS)
    return short.astype(np.float32)


@cache
def linear_table(transfer: int, peak: int) -> Array:
    """`[LEVELS]` float32: linear light by signal; for HLG the scene's, for PQ the display's over `peak`, at most 1."""
    signal = np.arange(LEVELS) / (LEVELS - 1)
    if transfer == HLG:
        return rounded(hlg_scene_light(signal))
    return rounded(np.minimum(pq_light(signal) / peak, 1.0))


@cache
def system_gain_table() -> Array:
    """`[LEVELS]` float32 by the root of the scene's luminance: the OOTF's gain, Y^(gamma - 1)."""
    return rounded(_roots(1.0) ** (HLG_SYSTEM_GAMMA - 1))


@cache
def eetf_gain_table(peak: int) -> Array:
    """`[LEVELS]` float32 by the root of the largest component: the gain of the light; SDR's white becomes 1."""
    light = _roots(_HEADROOM)
    light[0] = light[1]  # the gain's limit
    return rounded(compressed(light * peak, peak) / (light * SDR_WHITE))


@cache
def display_table() -> Array:
    """`[LEVELS]` uint8 by the root of linear light: BT.1886's inverse."""
    return np.round(255 * _roots(1.0) ** (1 / 2.4)).astype(np.uint8)


def hlg_scene_light(signal: Array) -> Array:
    """The inverse OETF of HLG: 0..1 -> 0..1 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    found: Array = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return found


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_light(signal: Array) -> Array:
    """The EOTF of PQ: 0..1 -> cd/m2 (SMPTE ST 2084; BT.2100, table 4)."""
    root = signal ** (1 / _M2)
    found: Array = 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return found


def pq_signal(light: Array) -> Array:
    """The inverse of `pq_light`."""
    power = (light / 10000) ** _M1
    found: Array = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return found


def compressed(light: Array, peak: float, target: float = SDR_WHITE) -> Array:
    """The EETF of BT.2390 (5.4.1) without a black level: cd/m2 up to `peak` -> up to `target`; more gives `target`.

    In PQ's signal, relative to the peak's: the same up to the knee, from there a Hermite spline to the target.
    """
    top, goal = pq_signal(np.array([peak, target])).tolist()
    most = goal / top
    given = np.minimum(pq_signal(light) / top, 1.0)
    knee = 1.5 * most - 0.5
    t = np.maximum(given - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    # Below the knee and at the top the very value, not PQ's way there and back.
    return np.where(given <= knee, light, np.where(given < 1, pq_light(spline * top), target))
