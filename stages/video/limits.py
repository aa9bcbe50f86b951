"""What a video may demand before it is refused: hostile files are small on disk and large in memory."""

import mmap
import stat
from dataclasses import dataclass
from pathlib import Path

from stages import bounds
from storage.errors import InputError

DEFAULT_MAX_PIXELS = 8192 * 4320  # one frame of DCI 8K
PADDING_PIXELS = 1 << 20
DEFAULT_MAX_GAP_SECONDS = 3600.0
MOST_SIDE = 16384  # pixels of a side that x264 encodes

# Demuxers of files that hold their own frames. Left out on purpose: playlists and scripts (hls, concat, dash, sdp),
# which name other files or addresses, image patterns, and devices.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,nut,mxf,ivf,gif,apng,yuv4mpegpipe,"
    "h264,hevc,av1,obu,m4v,vc1,dv,wav,mp3,flac,aac,w64,aiff,swf,rm,webp_pipe"
)
# Bare codec data, whose demuxer gathers bytes up to the next start code, however far away that is.
_BARE_SUFFIXES = frozenset(
    f".{suffix}" for suffix in ["h264", "h26l", "264", "avc", "hevc", "h265", "265", "m4v", "m1v", "m2v", "mpv", "vc1"]
)
_START_CODE = b"\0\0\1"
_MOST_BETWEEN = 32 << 20  # bytes from one start code to the next; a picture of DCI 8K has fewer
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # an MP4 that is named .m4v


@dataclass(frozen=True)
class VideoLimits:
    """Bounds on what is accepted.

    Attributes:
        max_pixels: width times height of one frame.
        max_bad_frames: damaged frames that are concealed before the video is refused.
        max_gap_seconds: the longest time from one frame to the next.
        hdr: whether HLG and PQ are taken, and tone-mapped.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_bad_frames: int = 100
    max_gap_seconds: float = DEFAULT_MAX_GAP_SECONDS
    hdr: bool = True

    def __post_init__(self) -> None:
        bounds.PIXELS.check("--max-pixels", self.max_pixels)
        bounds.BAD_FRAMES.check("--max-bad-frames", self.max_bad_frames)

    @property
    def coded_pixels(self) -> int:
        """What a decoder may set aside for a frame: it counts padded sides. The picture's are checked to the pixel."""
        return self.max_pixels + PADDING_PIXELS

    def check_size(self, path: Path, width: int, height: int) -> None:
        """Refuse a frame that is too large, longer than can be encoded again, or empty.

        Raises:
            InputError: with the size and the limit.
        """
        if width < 1 or height < 1:
            raise InputError(
                f"{path}: frames of {width}x{height} pixels: this is no video, its header is damaged, "
                f"or they have more than the {self.max_pixels} pixels that --max-pixels allows"
            )
        if width * height > self.max_pixels:
            raise InputError(
                f"{path}: frames of {width}x{height} are {width * height} pixels, the limit is {self.max_pixels}: "
                "raise it with --max-pixels, or scale the video down"
            )
        if max(width, height) > MOST_SIDE:
            raise InputError(
                f"{path}: frames of {width}x{height}: a side has more than the {MOST_SIDE} pixels that H.264 is made "
                "with: scale the video down"
            )


def check_file(path: Path) -> None:
    """Only a regular file is opened: a pipe or a device could hang or never end.

    Raises:
        InputError: when it is missing, unreadable, empty, or something else than a file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: is not a regular file: save the video to a file first")
    if found.st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes): fetch or export the video again")
    if path.suffix.lower() in _BARE_SUFFIXES or _is_bare(path):  # FFmpeg goes by the name as well
        _check_start_codes(path)


def _is_bare(path: Path) -> bool:
    """Whether it begins as bare codec data does (or an MPEG program stream, which has a start code a pack)."""
    try:
        with path.open("rb") as file:
            return _START_CODE in file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error


def _check_start_codes(path: Path) -> None:
    """Refuse bare codec data in which start codes are so far apart that what is between them fills the memory.

    Raises:
        InputError: when 32 MB of it hold none, or it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] in _BOXES:
            return
        for at in range(0, len(data) - _MOST_BETWEEN + 1, _MOST_BETWEEN):
            if data.find(_START_CODE, at, at + _MOST_BETWEEN + len(_START_CODE) - 1) < 0:
                raise InputError(
                    f"{path}: {_MOST_BETWEEN >> 20} MB from byte {at} on hold no picture: the file is damaged, was not "
                    "downloaded to its end, or is no video"
                )
