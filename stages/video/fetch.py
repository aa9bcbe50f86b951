"""Videos by address, through yt-dlp, in a process of its own that is held to bounds of time, bytes and memory."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stages import bounds
from stages.address import split_address
from storage.errors import EnvironmentFault, InputError, UsageError
from storage.sizes import format_size

SCHEMES = ("http", "https")
MEMORY_BYTES = 2_000_000_000  # of that process: it reads whole pages, and a page may have no end
TICK_SECONDS = 0.1
_CHILD = Path(__file__).with_name("fetch_child.py")


@dataclass(frozen=True)
class FetchLimits:
    """What a download may take.

    Attributes:
        max_bytes: of the video.
        total_seconds: from the first connection to the last byte.
        silent_seconds: without a byte.
    """

    max_bytes: int = 20_000_000_000
    total_seconds: float = 3600.0
    silent_seconds: float = 60.0

    def __post_init__(self) -> None:
        bounds.SECONDS.check("--fetch-timeout", self.total_seconds)


def fetch_video(address: str, folder: Path, limits: FetchLimits | None = None) -> Path:
    """Download a video of at most 1080 lines into `folder` and give its path; one fetched before is taken as it is.

    A plain link to a file is taken whatever its height is. Where it fails nothing is left behind.

    Raises:
        UsageError: when the address is none.
        InputError: for anything but an http(s) address, and when nothing can be fetched from it within the limits.
        EnvironmentFault: when yt-dlp is not installed.
    """
    try:
        parts = split_address(address)
    except ValueError as error:
        raise UsageError(f"{address!r}: {error}; give the http(s) address of a video") from error
    if parts.scheme.lower() not in SCHEMES or not parts.hostname:
        raise InputError(f"{address}: only http:// and https:// addresses are fetched: give the video as a file")
    stem = f"video-{hashlib.blake2b(address.encode(), digest_size=6).hexdigest()}"
    present = sorted(folder.glob(f"{stem}.*"))
    if present:
        return present[0]
    if importlib.util.find_spec("yt_dlp") is None:
        raise EnvironmentFault(
            f"{address}: fetching needs yt-dlp, which is not installed: pip install 'skate-physics-preserver[url]', "
            "or download the video yourself"
        )
    with _workshop(folder, stem) as workshop:
        answer = _downloaded(address, workshop / stem, limits or FetchLimits())
        if "error" in answer:
            remedy = "allow more" if "--max-fetch" in answer["error"] else "check the address"
            raise InputError(f"{address}: cannot be fetched ({answer['error']}): {remedy}")
        paths = [Path(path) for path in answer["paths"]]
        inside = [path for path in paths if path.resolve().parent == workshop.resolve() and path.is_file()]
        if len(inside) != 1:
            raise InputError(f"{address}: gave {len(inside)} videos, one is wanted: give the address of a single video")
        return inside[0].replace(folder / inside[0].name)


@contextmanager
def _workshop(folder: Path, stem: str) -> Iterator[Path]:
    """A folder in `folder` for what is not finished; gone at the end, with every folder made for it that is empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    workshop = folder / f".{stem}.part"
    shutil.rmtree(workshop, ignore_errors=True)  # of a process that was killed
    workshop.mkdir(parents=True)
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # the video lies in it
                path.rmdir()


def _downloaded(address: str, target: Path, limits: FetchLimits) -> dict[str, Any]:
    """What the process answers.

    Raises:
        InputError: when it goes beyond a limit, or ends without an answer.
    """
    request = {
        "address": address,
        "target": str(target),
        "timeout_seconds": min(limits.silent_seconds, limits.total_seconds),
        "max_bytes": limits.max_bytes,
    }
    command = [sys.executable, "-P", str(_CHILD)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, encoding="utf-8") as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it could not even begin: it gives no answer then
                child.stdin.write(json.dumps(request) + "\n")
                child.stdin.flush()
            _watch(child, address, target.parent, limits)
        finally:
            child.kill()
        text = child.stdout.read()
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise InputError(f"{address}: yt-dlp ended with code {child.returncode} and no answer: try it again") from error
    return answer


def _watch(child: "subprocess.Popen[str]", address: str, folder: Path, limits: FetchLimits) -> None:
    """Return when the process has ended by itself.

    Raises:
        InputError: when it takes too long, writes too much, or takes too much memory.
    """
    end = time.monotonic() + limits.total_seconds
    while child.poll() is None:
        if time.monotonic() > end:
            raise InputError(
                f"{address}: not fetched within {limits.total_seconds:g} seconds: give more with --fetch-timeout, or "
                "download it yourself"
            )
        written = _bytes_in(folder)
        if written > limits.max_bytes:
            raise InputError(
                f"{address}: sends more than {format_size(limits.max_bytes)}: allow more with --max-fetch, or check "
                "that the address is that of a video"
            )
        if _resident_bytes(child.pid) > MEMORY_BYTES:
            raise InputError(f"{address}: leads to a page without an end: give the address of a single video")
        with suppress(subprocess.TimeoutExpired):
            child.wait(TICK_SECONDS)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # renamed meanwhile
            total += path.stat().st_size
    return total


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # ended meanwhile
        return 0
