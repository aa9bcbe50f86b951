"""Getting weight files: resumable, checked, atomic. Used by `skate models fetch` alone.

<url> -> <download>.partial (+ .partial.json: what the server said about it)   resumed after a kill
      -> length and sha256 checked -> [one member taken out of the zip, checked] -> fsync -> rename to its name
"""

import itertools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout
from msgspec import Meta, Struct
from tqdm import tqdm

from stages.address import split_address
from stages.http import pieces, timely_session
from stages.models.archive import MAX_BYTES, UnusableArchive, take_member
from stages.models.registry import models_folder, path_of, recorded_path
from stages.models.table import ModelFile
from stages.models.verify import verify
from storage.boundary import MB, parse, printable, read_regular
from storage.durable import PARTIAL_SUFFIX, file_sha256, fsync_file, fsync_folder, write_atomic
from storage.errors import EnvironmentFault, UsageError
from storage.sizes import format_size

ATTEMPTS = 4
MOST_DIGITS = 18  # of a length in bytes
TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, and between two pieces
USER_AGENT = "skate-physics-preserver"


class _Again(Exception):
    """This attempt failed in a way that another may not (its text says how)."""


@dataclass(frozen=True)
class Download:
    """What is fetched for a model: the file itself or the zip it comes in. Lengths in bytes, None where unknown."""

    label: str
    url: str
    partial: Path
    size_bytes: int | None
    sha256: str | None

    @property
    def note(self) -> Path:
        """Beside the partial file: the address it came from and the server's validator."""
        return self.partial.with_name(self.partial.name + ".json")

    def discard(self) -> None:
        """Forget what has arrived."""
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def received(self) -> int:
        """Bytes that have arrived."""
        return self.partial.stat().st_size if self.partial.is_file() else 0


def fetch(
    model: ModelFile, folder: Path | None = None, mirror: str | None = None, pause_seconds: float = 1.0
) -> tuple[Path, bool]:
    """Bring a model's file into the models folder, or find that it is there and whole.

    Args:
        folder: the models folder; made if need be.
        mirror: an http(s) folder that holds the file (or zip) under the same name.
        pause_seconds: before another attempt, times the number of attempts so far.

    Returns:
        `(path, fetched)`; `fetched` is False when the right file was there already.

    Raises:
        UsageError: when the mirror is no http(s) address.
        EnvironmentFault: when it cannot be had; what has arrived stays for the next time, except where it is wrong.
    """
    if model.packaged or model.url is None:
        return path_of(model), False
    url = address(model.url, mirror)
    target = path_of(model, folder or models_folder())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            if verify(model, folder).ok:
                return target, False
            _bring(model, url, target, pause_seconds)
    except Timeout as error:
        raise EnvironmentFault(f"{target} is being fetched by another process: wait until it is done") from error
    except OSError as error:
        raise EnvironmentFault(f"{target} cannot be written: {error}; free space, or set SKATE_MODELS") from error
    return target, True


def address(url: str, mirror: str | None) -> str:
    """Where to fetch from: `url`, or the same file name below `mirror`.

    Raises:
        UsageError: when the mirror is not an http(s) address.
    """
    if mirror is None:
        return url
    try:
        parts = split_address(mirror)
    except ValueError as error:
        raise UsageError(f"--mirror {mirror!r}: {error}; give the http(s) address of a folder") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--mirror {mirror} is no http:// or https:// address of a folder")
    return f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"


def _bring(model: ModelFile, url: str, target: Path, pause_seconds: float) -> None:
    """Download, check, unpack, put in place."""
    zipped = model.archive
    name = PurePosixPath(urlsplit(url).path).name
    download = Download(
        label=model.name,
        url=url,
        partial=target.with_name(name + PARTIAL_SUFFIX),
        size_bytes=zipped.size_bytes if zipped else model.size_bytes,
        sha256=zipped.sha256 if zipped else model.sha256,
    )
    resumed = _download(model, download, target, pause_seconds)
    if resumed and download.sha256 and file_sha256(download.partial) != download.sha256:
        download.discard()  # the older part may have been of another file: once more, whole
        _download(model, download, target, pause_seconds)
    _check(download.partial, download.sha256, f"{model.name}: {url}", download)
    finished = download.partial
    if zipped:
        finished = target.with_name(target.name + PARTIAL_SUFFIX)
        try:
            take_member(download.partial, zipped.member, finished, model.size_bytes)
            _check(finished, model.sha256, f"{model.name}: {zipped.member} in {url}", download)
        except UnusableArchive:
            download.discard()
            raise
    digest = None if model.sha256 else file_sha256(finished)
    fsync_file(finished)
    finished.replace(target)
    fsync_folder(target.parent)
    if digest:
        write_atomic(recorded_path(target), f"{digest}  {target.name}\n".encode())
    download.discard()


def _check(path: Path, expected: str | None, what: str, download: Download) -> None:
    """Refuse content that is not what is pinned, and forget it."""
    if expected is None:
        return
    found = file_sha256(path)
    if found != expected:
        path.unlink()
        download.discard()
        raise EnvironmentFault(
            f"{what} has sha256 {found}, expected {expected}: not used and deleted; try again later or with --mirror"
        )


def _download(model: ModelFile, download: Download, target: Path, pause_seconds: float) -> bool:
    """Fill the partial file, in several attempts if need be; whether it continued an earlier one's bytes."""
    reason = ""
    with timely_session() as session:  # takes HTTPS_PROXY and the like from the environment
        session.max_redirects = 10
        for attempt in range(ATTEMPTS):
            time.sleep(pause_seconds * attempt)
            try:
                return _attempt(session, download)
            except _Again as error:
                reason = str(error)
            except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
                raise EnvironmentFault(f"{model.name}: {download.url} leads to no http(s) address: {error}") from error
            except requests.RequestException as error:
                reason = _reason(error)
    kept = f"{format_size(download.received())} are kept and continued next time; " if download.received() else ""
    other = f" (for example {model.mirror})" if model.mirror else ""
    raise EnvironmentFault(
        f"{model.name}: cannot fetch {download.url}: {reason}; {kept}"
        f"behind a proxy set HTTPS_PROXY, else use --mirror URL{other}, or put the file at {target}"
    )


def _attempt(session: requests.Session, download: Download) -> bool:
    """One request; True when it continued what was there. Returns only when the whole file has arrived."""
    offset, headers = _resumption(download)
    headers |= {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}
    try:
        answer = session.get(download.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
    except requests.RequestException:
        raise
    except ValueError as error:  # a redirect to what is no address, or to bytes that are no text
        why = printable(str(error), 100)
        raise EnvironmentFault(f"{download.label}: {download.url} leads to no http(s) address: {why}") from error
    with answer as response:
        if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{offset}":
            return True  # all of it had arrived before; its hash is checked next
        _check_answer(response, download)
        if response.status_code == 206:
            start, total = _content_range(response)
            if start != offset:
                download.discard()
                raise _Again(f"the server continued at byte {start} where {offset} was asked for")
        else:
            offset, total = 0, _content_length(response)
        limit = download.size_bytes or MAX_BYTES
        if total is not None and (total > limit or download.size_bytes not in (None, total)):
            raise EnvironmentFault(
                f"{download.label}: {download.url} offers {total} bytes, {limit} expected: another file"
            )
        _check_room(download.partial.parent, (total or download.size_bytes or 0) - offset)
        if offset == 0:
            download.discard()  # before the note: it must never speak for bytes of an older answer
        write_atomic(download.note, json.dumps({"url": download.url, "validator": _validator(response)}).encode())
        _receive(response, download, offset, total, limit)
    received = download.received()
    if total is not None and received != total:
        raise _Again(f"only {received} of {total} bytes arrived")
    return offset > 0


class Note(Struct, frozen=True):
    """What the server said about a partial file: its address, and what `If-Range` takes, which a header can hold."""

    url: str
    validator: Annotated[str, Meta(max_length=1000, pattern=r"^[\x20-\x7e]*$")] | None = None


def _resumption(download: Download) -> tuple[int, dict[str, str]]:
    """`(offset, headers)` with which to ask for the rest; `(0, {})` where continuing could mix two files.

    The server's validator tells whether the file is still the same; without one only a pinned hash can.
    """
    received = download.received()
    validator = None
    try:
        note = parse(read_regular(download.note, MB), Note, str(download.note), EnvironmentFault)
        validator = note.validator if note.url == download.url else None
    except (OSError, EnvironmentFault):
        pass  # there is none, or it is damaged: as if there were none
    too_long = download.size_bytes is not None and received > download.size_bytes
    if received == 0 or too_long or (validator is None and download.sha256 is None):
        return 0, {}
    headers = {"Range": f"bytes={received}-"}
    return received, headers | ({"If-Range": validator} if validator else {})


def _check_answer(response: requests.Response, download: Download) -> None:
    """Refuse an answer that holds no file."""
    hops = [*(hop.url for hop in response.history), response.url]
    if any(a.startswith("https:") and not b.startswith("https:") for a, b in itertools.pairwise(hops)):
        raise EnvironmentFault(f"{download.label}: {download.url} redirects from https to {response.url}: refused")
    status = response.status_code
    if status == 416:  # nothing after what had arrived, which is not the whole: the file has another length now
        download.discard()
        raise _Again("the server has no bytes after those that had arrived")
    if status == 429 or status >= 500:
        raise _Again(f"the server answers {status} {response.reason}")
    if status not in (200, 206):
        raise EnvironmentFault(
            f"{download.label}: {response.url} answers {status} {response.reason}: no such file there; use --mirror URL"
        )
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise EnvironmentFault(f"{download.label}: {response.url} sends the file re-encoded: use --mirror URL")


def _receive(response: requests.Response, download: Download, offset: int, total: int | None, limit: int) -> None:
    """Append the body to the first `offset` bytes of the partial file. Whatever happens, what arrived stays there."""
    with (
        download.partial.open("r+b" if offset else "wb") as file,
        tqdm(total=total, initial=offset, desc=download.label, unit="B", unit_scale=True, disable=None) as bar,
    ):
        file.seek(offset)
        file.truncate()
        for piece in pieces(response):
            offset += len(piece)
            if offset > limit:
                file.close()
                download.discard()
                raise EnvironmentFault(f"{download.label}: {download.url} sends more than the {limit} bytes expected")
            file.write(piece)
            bar.update(len(piece))


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """`(first byte, length of the whole)` of `Content-Range: bytes 5-9/10`; -1 where the header is missing."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, whole = rest.partition("/")
    start = span.partition("-")[0]
    first = _whole(start)
    return (-1, None) if unit != "bytes" or first is None else (first, _whole(whole))


def _content_length(response: requests.Response) -> int | None:
    return _whole(response.headers.get("Content-Length", ""))


def _whole(text: str) -> int | None:
    """The number of bytes that a header names; None where it is none, or none that a file can have."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _validator(response: requests.Response) -> str | None:
    """What `If-Range` takes: a strong ETag, else the date of the last change (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EnvironmentFault(
            f"{folder} has {format_size(free)} free, {format_size(needed)} needed: free space, or set SKATE_MODELS"
        )


def _reason(error: requests.RequestException) -> str:
    """A connection's failure in a few words (the exception's own text runs over several lines)."""
    host = urlsplit(error.request.url or "").hostname if error.request is not None else None
    match error:
        case requests.exceptions.ProxyError():
            return f"the proxy did not connect to {host}"
        case requests.exceptions.SSLError():
            return f"the certificate of {host} was not accepted"
        case requests.exceptions.ChunkedEncodingError():
            return f"{host} closed the connection early"
        case requests.exceptions.TooManyRedirects():
            return "too many redirects"
        case requests.exceptions.Timeout():
            return f"{host} did not answer in time"
        case requests.exceptions.ConnectionError():
            return f"no connection to {host}"
    return type(error).__name__
