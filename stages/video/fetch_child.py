"""The process that downloads a video by its address; `fetch.py` starts it, watches over it, and ends it.

    stdin   one line of JSON: address, target (path without suffix), timeout_seconds, max_bytes; its end ends us
    stdout  one line of JSON: {"paths": [...]} or {"error": TEXT}

It imports nothing of this program, so that it can be run as a file.
"""

import json
import os
import sys
import threading
from typing import Any

MAX_HEIGHT = 1080
_MOST_OF_A_MESSAGE = 500


class _Silent:
    """yt-dlp's logger: what goes wrong comes as an exception."""

    def debug(self, message: str) -> None:
        """Pass over progress."""

    warning = error = info = debug


def options(target: str, timeout_seconds: float, max_bytes: int) -> dict[str, Any]:
    """yt-dlp's options: one stream of pictures (sound is not used), a fixed name, nothing written but the video.

    `<=?` lets formats through whose height is not known, as that of a plain link to a file.
    """
    from yt_dlp.utils import DownloadCancelled

    def check(progress: dict[str, Any]) -> None:
        announced = progress.get("total_bytes") or progress.get("downloaded_bytes") or 0
        if announced > max_bytes:
            raise DownloadCancelled(f"it is larger than the {max_bytes} bytes that --max-fetch allows")

    return {
        "format": f"bestvideo[height<=?{MAX_HEIGHT}]/best[height<=?{MAX_HEIGHT}]",
        "outtmpl": {"default": f"{target.replace(chr(37), chr(37) * 2)}.%(ext)s"},
        "noplaylist": True,
        "playlist_items": "1",
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "cachedir": False,
        "socket_timeout": timeout_seconds,
        "enable_file_urls": False,
        "logger": _Silent(),
        "progress_hooks": [check],
    }


def download(address: str, target: str, timeout_seconds: float, max_bytes: int) -> dict[str, Any]:
    """Download to `target` with a suffix; gives the answer of this process."""
    import yt_dlp

    try:
        with yt_dlp.YoutubeDL(options(target, timeout_seconds, max_bytes)) as client:
            found = client.extract_info(address, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        return {"error": " ".join(str(error).split())[:_MOST_OF_A_MESSAGE]}
    except Exception as error:  # noqa: BLE001 - what a site makes yt-dlp stumble over is no fault of ours
        return {"error": f"yt-dlp failed: {' '.join(repr(error).split())}"[:_MOST_OF_A_MESSAGE]}
    return {"paths": [entry["filepath"] for entry in (found or {}).get("requested_downloads", ())]}


def _end_with_parent() -> None:
    """The other end of stdin is closed when the parent is gone, whatever ended it."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Do what stdin asks for."""
    answer, sys.stdout = sys.stdout, sys.stderr  # nobody else's words on it
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(json.dumps(download(**request)), file=answer, flush=True)
    os._exit(0)  # the thread above holds stdin


if __name__ == "__main__":
    main()
