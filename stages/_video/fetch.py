"""Videos by address, through yt-dlp."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from storage.errors import EnvironmentFault, InputError

MAX_HEIGHT = 1080
SCHEMES = ("http", "https")
_UNFINISHED = (".part", ".ytdl", ".temp")


class _Silent:
    """yt-dlp's logger: what goes wrong comes as an exception."""

    def debug(self, message: str) -> None:
        """Pass over progress."""

    warning = error = info = debug


def fetch_video(address: str, folder: Path, timeout_seconds: float = 60.0) -> Path:
    """Download a video of at most 1080 lines into `folder` and give its path; one fetched before is taken as it is.

    Raises:
        InputError: for anything but an http(s) address, and when nothing can be fetched from it.
        EnvironmentFault: when yt-dlp is not installed.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() not in SCHEMES or not parts.hostname:
        raise InputError(f"{address}: only http:// and https:// addresses are fetched: give the video as a file")
    stem = f"video-{hashlib.blake2b(address.encode(), digest_size=6).hexdigest()}"
    present = sorted(path for path in folder.glob(f"{stem}.*") if path.suffix not in _UNFINISHED)
    if present:
        return present[0]
    try:
        import yt_dlp
    except ImportError as error:
        raise EnvironmentFault(
            f"{address}: fetching needs yt-dlp, which is not installed: pip install 'skate-physics-preserver[url]', "
            "or download the video yourself"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with yt_dlp.YoutubeDL(_options(folder / stem, timeout_seconds)) as client:
            found = client.extract_info(address, download=True)
            paths = [Path(entry["filepath"]) for entry in (found or {}).get("requested_downloads", ())]
    except yt_dlp.utils.YoutubeDLError as error:
        raise InputError(f"{address}: cannot be fetched ({' '.join(str(error).split())}): check the address") from error
    inside = [path for path in paths if path.resolve().parent == folder.resolve() and path.is_file()]
    if len(inside) != 1:
        raise InputError(f"{address}: gave {len(inside)} videos, one is wanted: give the address of a single video")
    return inside[0]


def _options(target: Path, timeout_seconds: float) -> dict[str, Any]:
    """yt-dlp's options: one stream of pictures (sound is not used), a fixed name, nothing written but the video."""
    return {
        "format": f"bestvideo[height<={MAX_HEIGHT}]/best[height<={MAX_HEIGHT}]",
        "outtmpl": {"default": f"{str(target).replace(chr(37), chr(37) * 2)}.%(ext)s"},
        "noplaylist": True,
        "playlist_items": "1",
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "cachedir": False,
        "socket_timeout": timeout_seconds,
        "enable_file_urls": False,
        "logger": _Silent(),
    }
