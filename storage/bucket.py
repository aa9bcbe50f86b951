"""Objects below a prefix of an S3-compatible bucket, by obstore: bounded retries, errors of one line.

What a server says is never repeated: it may hold an access key's id.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from mimetypes import guess_type
from pathlib import Path
from typing import Any, TypeVar

from storage.address import BucketPath
from storage.backend import DIGEST_BYTES
from storage.errors import EnvironmentFault
from storage.profiles import bucket_settings

T = TypeVar("T")

TRIES = 8
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
REQUEST_SECONDS = 60.0  # without an answer, or a piece of one; at most twice as long for all of a request
GIVE_UP_SECONDS = 180.0  # after which nothing is tried again
PART_BYTES = 8 << 20  # of a large object, which is sent and fetched in parts: none takes longer than a request may
_PARTS_AT_ONCE = 4
_STATUS = re.compile(r"status code: (\d{3})")
_AGAIN = {408, 409, 425, 429}  # besides 5xx; 409: another conditional write of the name is under way


class Fault(Exception):
    """A request that failed and may be made again; the text is ours."""


@dataclass(frozen=True)
class Meta:
    """An object's name below the prefix, its bytes, and when it was written by the server's clock (Unix seconds)."""

    name: str
    size: int
    written: float


class Bucket:
    """The objects below the prefix of one run.

    Raises:
        EnvironmentFault: of every method, when the server does not answer, refuses, or has no such bucket.
        FileNotFoundError: when an object is not there.
    """

    def __init__(self, address: BucketPath) -> None:
        from obstore.store import S3Store  # what needs no bucket does not wait for it

        self.address = address
        settings: Any = bucket_settings()
        endpoint = str(settings.get("endpoint", ""))
        client: Any = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(10.0, REQUEST_SECONDS)),
            "read_timeout": timedelta(seconds=REQUEST_SECONDS),
            "timeout": timedelta(seconds=2 * REQUEST_SECONDS),
        }
        self._is_down = False  # it was given up, and has not answered since

        def store(prefix: str | None, tries: int = 1) -> S3Store:
            pauses: Any = {
                "init_backoff": timedelta(seconds=PAUSE_SECONDS),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE_SECONDS),
                "base": 2,
            }
            again: Any = {
                "max_retries": tries - 1,
                "retry_timeout": timedelta(seconds=GIVE_UP_SECONDS),
                "backoff": pauses,
            }
            return S3Store(address.bucket, prefix=prefix, config=settings, client_options=client, retry_config=again)

        try:
            self._store = store(address.prefix)
            self._whole = store(None)
            self._in_parts = store(address.prefix, TRIES)  # one part that fails does not begin the whole object anew
        except Exception as error:  # noqa: BLE001 - what it says may hold a secret
            raise EnvironmentFault(
                f"{address}: the bucket cannot be used with these settings ({type(error).__name__}): look at "
                "AWS_ENDPOINT_URL, AWS_REGION and AWS_PROFILE"
            ) from None

    def create(self, name: str, data: bytes | Path) -> bool:
        """Write an object that is not there; False where it is there already. One request: it is read whole."""
        import obstore

        whole = data if isinstance(data, bytes) else data.read_bytes()
        try:
            self._again(
                lambda: obstore.put(self._store, name, whole, mode="create", attributes=_kind(name)), creates=True
            )
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes | Path, tries: int = TRIES) -> None:
        """Write an object, in place of one that may be there; a large file in parts."""
        import obstore

        large = isinstance(data, Path) and data.stat().st_size > PART_BYTES
        store = self._in_parts if large else self._store

        def once() -> None:
            try:
                obstore.put(
                    store, name, data, attributes=_kind(name), chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
                )
            except FileNotFoundError as error:
                if not large or "NoSuchBucket" in str(error):
                    raise
                raise Fault("its parts are put together or gone") from None  # the answer to the last request was lost

        self._again(once, tries)

    def get(self, name: str) -> bytes:
        """A whole object."""
        return b"".join(self._pieces(name))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """A part of an object."""
        import obstore

        def once() -> bytes:
            data = bytes(obstore.get_range(self._store, name, start=start, length=length)) if length else b""
            if len(data) != length:
                raise Fault("half an answer")
            return data

        return self._again(once)

    def fetch(self, name: str, target: Path) -> None:
        """Write a whole object to a file, piece by piece; the file is there once it is whole."""
        partial = target.with_name(f"{target.name}.partial")
        try:
            with partial.open("wb") as file:
                for piece in self._pieces(name):
                    file.write(piece)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """The BLAKE2b digest of an object, as `Backend.digest` gives it."""
        total = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for piece in self._pieces(name):
            total.update(piece)
        return total.hexdigest()

    def _pieces(self, name: str) -> Iterator[bytes]:
        """An object that does not change, in order; each piece is asked for, and tried again, by itself."""
        import obstore

        def once() -> tuple[int, bytes]:
            found = obstore.get(self._store, name)
            size = int(found.meta["size"])
            data = bytes(found.bytes()) if size <= PART_BYTES else b""
            if size <= PART_BYTES and len(data) != size:
                raise Fault("half an answer")
            return size, data

        size, whole = self._again(once)
        yield whole
        for at in range(0, size - len(whole), PART_BYTES):
            yield self.get_range(name, at, min(PART_BYTES, size - at))

    def head(self, name: str) -> Meta | None:
        """What the server knows of an object; None where there is none."""
        import obstore

        try:
            return _meta(self._again(lambda: obstore.head(self._store, name)))
        except FileNotFoundError:
            return None

    def list(self, part: str, after: str | None = None) -> list[Meta]:
        """All objects below a part of the prefix, in order of names, behind a name."""
        import obstore

        try:
            found = self._again(lambda: obstore.list(self._store, part or None, offset=after).collect())
        except FileNotFoundError:
            raise EnvironmentFault(
                f"{self.address}: the object store answers a listing with 404: look at AWS_ENDPOINT_URL"
            ) from None
        return sorted(map(_meta, found), key=lambda meta: meta.name)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; nothing happens where there is none."""
        import obstore

        wanted = list(names)
        if wanted:
            self._again(lambda: obstore.delete(self._store, wanted))

    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the bucket, in place of one that may be there."""
        import obstore

        self._again(lambda: obstore.copy(self._store, source, target))

    def copy_from(self, other: "Bucket", source: str, target: str) -> None:
        """Copy an object of another run in the same bucket, in place of one that may be there; no bytes come here."""
        import obstore

        full = [f"{bucket.address.prefix}/{name}" for bucket, name in ((other, source), (self, target))]
        self._again(lambda: obstore.copy(self._whole, *full))

    def _again(self, call: Callable[[], T], tries: int = TRIES, creates: bool = False) -> T:
        """Do it until it succeeds, a few times at most; waits longer from try to try, by chance not all at one time.

        A store that was given up is asked once only until it answers again: what ends after that ends soon.
        """
        begun, turn = time.monotonic(), 0
        while True:
            turn += 1
            try:
                found = call()
            except Fault as error:
                last = str(error)
            except Exception as error:  # noqa: BLE001 - sorted below; what it says may hold a key
                last = self._reason(error, creates)
            else:
                self._is_down = False
                return found
            seconds = time.monotonic() - begun
            if turn >= tries or self._is_down or seconds > GIVE_UP_SECONDS:
                break
            time.sleep(min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2**turn) * random.uniform(0.5, 1.0))
        self._is_down = self._is_down or tries > 1
        times = "once" if turn == 1 else f"{turn} times"
        raise EnvironmentFault(
            f"{self.address}: the object store does not answer ({last}; tried {times} in {seconds:.0f} s): nothing "
            f"that is committed is lost, `skate resume {self.address.run}` goes on once it is back"
        )

    def _reason(self, error: Exception, creates: bool) -> str:
        """Why a request failed, where it may be made again; else the error that ends it is raised."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError
        from obstore.exceptions import UnauthenticatedError as Unknown

        told = str(error)
        found = _STATUS.search(told)
        status = int(found[1]) if found else None
        if "NoSuchBucket" in told:
            raise EnvironmentFault(f"s3://{self.address.bucket}: there is no such bucket: make it first") from None
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(str(self.address)) from None
        if creates and isinstance(error, AlreadyExistsError | PreconditionError) and status != 409:
            raise FileExistsError(str(self.address)) from None
        if isinstance(error, PermissionDeniedError | Unknown) or status in (401, 403):
            raise EnvironmentFault(
                f"{self.address}: the object store refuses access ({status or 'not signed in'}): look at the "
                "credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and what they may do"
            ) from None
        if "169.254." in told or "CredentialProvider" in told:
            raise EnvironmentFault(
                f"{self.address}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from None
        if not isinstance(error, BaseError | OSError):
            raise error
        if status is not None and status < 500 and status not in _AGAIN:
            raise EnvironmentFault(
                f"{self.address}: the object store refuses the request ({status}): look at AWS_ENDPOINT_URL and "
                "AWS_REGION"
            ) from None
        return f"HTTP {status}" if status else "no connection, or no answer in time"


def _meta(found: Any) -> Meta:
    return Meta(str(found["path"]), int(found["size"]), found["last_modified"].timestamp())


def _kind(name: str) -> Any:
    """So that a browser shows the report and plays the video."""
    kind = guess_type(name.partition("~")[0])[0]
    return {"Content-Type": kind} if kind else None
