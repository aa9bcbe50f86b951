"""Colour tags: what the stream says about matrix, range, primaries and transfer (ITU-T H.273 code points)."""

from dataclasses import dataclass
from pathlib import Path

import av

from stages._video.sides import side_data
from storage.errors import InputError

UNSPECIFIED = 2
RGB_MATRIX = 0
BT709 = 1
SMPTE170M = 6  # BT.601's matrix, which swscale takes where none is tagged
LIMITED_RANGE, FULL_RANGE = 1, 2
_KNOWN_MATRICES = (BT709, UNSPECIFIED, 4, 5, SMPTE170M, 7, 9)  # swscale's: BT.709, FCC, 601, 240M, 2020 NCL
_PRIMARIES, _TRANSFERS = range(1, 13), range(1, 19)
_HDR_TRANSFERS = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
_TONE_MAP = (
    "ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p OUT"
)


@dataclass(frozen=True)
class ColourTags:
    """Code points of ITU-T H.273; 2 is "unspecified". `range`: 0 unspecified, 1 limited (16..235), 2 full."""

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def coding_matrix(self) -> int:
        """The matrix that frames are converted with: BT.601 where none is tagged, as PyAV and ffmpeg do."""
        return SMPTE170M if self.matrix == UNSPECIFIED else self.matrix

    @property
    def coding_range(self) -> int:
        """The range that frames are converted with: limited where none is tagged."""
        return self.range or LIMITED_RANGE


def tags_of(picture: av.VideoFrame) -> ColourTags:
    """The tags of a decoded frame, as an output in YUV carries them.

    A source in RGB has no matrix of its own: its output is coded with BT.709, limited range.
    """
    primaries = _known(int(picture.color_primaries), _PRIMARIES)
    transfer = _known(int(picture.color_trc), _TRANSFERS)
    if picture.format.is_rgb:
        return ColourTags(BT709, LIMITED_RANGE, primaries, transfer)
    full = picture.format.name.startswith("yuvj")
    return ColourTags(int(picture.colorspace), FULL_RANGE if full else int(picture.color_range), primaries, transfer)


def _known(value: int, values: range) -> int:
    """A code point that an encoder may write; reserved ones count as unspecified."""
    return value if value in values and value != 3 else UNSPECIFIED


def check_colour(path: Path, picture: av.VideoFrame) -> None:
    """Refuse what the conversion to 8-bit RGB would misread.

    Raises:
        InputError: for HDR (PQ, HLG, Dolby Vision without a compatible base) and for matrices swscale does not know.
    """
    transfer = int(picture.color_trc)
    if transfer in _HDR_TRANSFERS:
        raise InputError(f"{path}: is HDR, {_HDR_TRANSFERS[transfer]}: convert it to SDR first ({_TONE_MAP})")
    matrix = int(picture.colorspace)
    dolby = any(side.type.name in ("DOVI_METADATA", "DOVI_RPU_BUFFER") for side in side_data(picture))
    if dolby and matrix not in _KNOWN_MATRICES[:1]:
        raise InputError(f"{path}: is Dolby Vision without an SDR base layer: convert it to SDR first ({_TONE_MAP})")
    if not picture.format.is_rgb and matrix not in _KNOWN_MATRICES:
        raise InputError(
            f"{path}: colour matrix {matrix} (ITU-T H.273) cannot be converted: "
            "convert first (ffmpeg -i IN -vf scale=out_color_matrix=bt709 -colorspace bt709 OUT)"
        )
