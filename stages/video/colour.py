"""Colour tags: what the stream says about matrix, range, primaries and transfer (ITU-T H.273 code points)."""

from dataclasses import dataclass
from pathlib import Path

import av
from av.video.stream import VideoStream

from stages.video.planes import COEFFICIENTS, FULL_RANGE, LIMITED_RANGE
from stages.video.sides import side_data
from stages.video.tonemap import HDR_TRANSFERS, TO_BT709, ToneMap
from storage.errors import InputError

UNSPECIFIED = 2
BT709 = 1
SMPTE170M = 6  # BT.601's matrix, which swscale takes where none is tagged
_KNOWN_MATRICES = (BT709, UNSPECIFIED, 4, 5, SMPTE170M, 7, 9)  # swscale's: BT.709, FCC, 601, 240M, 2020 NCL
_PRIMARIES, _TRANSFERS = range(1, 13), range(1, 19)
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


def container_tags(stream: VideoStream) -> ColourTags:
    """What the container says, before the first picture is decoded."""
    codec = stream.codec_context
    return ColourTags(int(codec.colorspace), int(codec.color_range), int(codec.color_primaries), int(codec.color_trc))


def take_container_hdr(picture: av.VideoFrame, container: ColourTags) -> None:
    """Tag a picture as the container does, where only that says that it is HDR (decoders go by the bitstream alone)."""
    said = int(picture.colorspace), int(picture.color_primaries), int(picture.color_trc)
    if container.transfer in HDR_TRANSFERS and all(value == UNSPECIFIED for value in said):
        picture.colorspace, picture.color_range = container.matrix, container.range
        picture.color_primaries, picture.color_trc = container.primaries, container.transfer


def _known(value: int, values: range) -> int:
    """A code point that an encoder may write; reserved ones count as unspecified."""
    return value if value in values and value != 3 else UNSPECIFIED


TONE_MAPPED = ColourTags(BT709, LIMITED_RANGE, BT709, BT709)


def check_colour(path: Path, picture: av.VideoFrame, hdr: bool) -> None:
    """Refuse what the conversion to 8-bit RGB would misread.

    Args:
        path: of the video.
        picture: one of its decoded frames.
        hdr: whether PQ and HLG are taken, and tone-mapped.

    Raises:
        InputError: for HDR where it is not taken or cannot be mapped, for Dolby Vision without a base layer that can be
            shown as it is, and for matrices swscale does not know.
    """
    transfer, matrix = int(picture.color_trc), int(picture.colorspace)
    if transfer in HDR_TRANSFERS:
        if not hdr:
            raise InputError(
                f"{path}: is HDR, {HDR_TRANSFERS[transfer]}: leave --hdr refuse out, or convert it to SDR first "
                f"({_TONE_MAP})"
            )
        _check_mappable(path, picture, matrix)
        return
    dolby = any(side.type.name in ("DOVI_METADATA", "DOVI_RPU_BUFFER") for side in side_data(picture))
    if dolby and matrix not in _KNOWN_MATRICES[:1]:
        raise InputError(
            f"{path}: is Dolby Vision without a base layer in HLG, PQ or SDR (profile 5): convert it to SDR first "
            f"({_TONE_MAP})"
        )
    if not picture.format.is_rgb and matrix not in _KNOWN_MATRICES:
        raise InputError(
            f"{path}: colour matrix {matrix} (ITU-T H.273) cannot be converted: "
            "convert first (ffmpeg -i IN -vf scale=out_color_matrix=bt709 -colorspace bt709 OUT)"
        )


def check_same_transfer(path: Path, picture: av.VideoFrame, tone_map: ToneMap | None) -> None:
    """Refuse a clip that changes midway to HDR, from it, or from one kind of it to the other.

    Raises:
        InputError: naming both.
    """
    transfer = int(picture.color_trc)
    before = tone_map.transfer if tone_map is not None else None
    if (transfer if transfer in HDR_TRANSFERS else None) != before:
        names = [HDR_TRANSFERS.get(value or 0, "SDR") for value in (before, transfer)]
        raise InputError(
            f"{path}: frames change midway from {names[0]} to {names[1]}: cut it there, or convert it to SDR first "
            f"({_TONE_MAP})"
        )


def _check_mappable(path: Path, picture: av.VideoFrame, matrix: int) -> None:
    """Refuse HDR in a matrix or in primaries that the tone mapping does not know."""
    if not picture.format.is_rgb and matrix not in (UNSPECIFIED, *COEFFICIENTS):
        raise InputError(
            f"{path}: is HDR with colour matrix {matrix} (ITU-T H.273), which is not mapped: convert it to SDR first "
            f"({_TONE_MAP})"
        )
    primaries = int(picture.color_primaries)
    if primaries not in (UNSPECIFIED, *TO_BT709):
        raise InputError(
            f"{path}: is HDR with primaries {primaries} (ITU-T H.273), which are not mapped: convert it to SDR first "
            f"({_TONE_MAP})"
        )
