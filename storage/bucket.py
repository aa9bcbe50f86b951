"""Objects below a prefix of an S3-compatible bucket, by obstore: bounded retries, errors of one line.

What a server says is never repeated: it may hold an access key's id.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable
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
REQUEST_SECONDS = 60  # of a request or, of a large answer, between two pieces of it
PART_BYTES = 8 << 20  # of a large object, sent a few at a time
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
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=REQUEST_SECONDS),
            "timeout": timedelta(seconds=5 * REQUEST_SECONDS),
        }
        try:
            self._store = S3Store(
                address.bucket, prefix=address.prefix, config=settings, client_options=client,
                retry_config={"max_retries": 0},
            )  # fmt: skip
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
            self._again(lambda: obstore.put(self._store, name, whole, mode="create", attributes=_kind(name)))
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes | Path) -> None:
        """Write an object, in place of one that may be there; a large file in parts."""
        import obstore

        self._again(
            lambda: obstore.put(
                self._store, name, data, attributes=_kind(name), chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        )

    def get(self, name: str) -> bytes:
        """A whole object."""
        import obstore

        def once() -> bytes:
            found = obstore.get(self._store, name)
            data = bytes(found.bytes())
            if len(data) != found.meta["size"]:
                raise Fault("half an answer")
            return data

        return self._again(once)

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
        import obstore

        partial = target.with_name(f"{target.name}.partial")

        def once() -> None:
            found = obstore.get(self._store, name)
            with partial.open("wb") as file:
                for piece in found.stream(min_chunk_size=PART_BYTES):
                    file.write(piece)
                if file.tell() != found.meta["size"]:
                    raise Fault("half an answer")

        try:
            self._again(once)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """The BLAKE2b digest of an object, as `Backend.digest` gives it."""
        import obstore

        def once() -> str:
            found, total, size = obstore.get(self._store, name), hashlib.blake2b(digest_size=DIGEST_BYTES), 0
            for piece in found.stream(min_chunk_size=PART_BYTES):
                total.update(piece)
                size += len(piece)
            if size != found.meta["size"]:
                raise Fault("half an answer")
            return total.hexdigest()

        return self._again(once)

    def head(self, name: str) -> Meta | None:
        """What the server knows of an object; None where there is none."""
        import obstore

        try:
            return _meta(self._again(lambda: obstore.head(self._store, name)))
        except FileNotFoundError:
            return None

    def list(self, part: str) -> list[Meta]:
        """All objects below a part of the prefix, in order of names."""
        import obstore

        found = self._again(lambda: obstore.list(self._store, part or None).collect())
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

    def _again(self, call: Callable[[], T]) -> T:
        """Do it until it succeeds, a few times at most; waits longer from try to try, by chance not all at one time."""
        last = ""
        for turn in range(TRIES):
            if turn:
                time.sleep(min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2**turn) * random.uniform(0.5, 1.0))
            try:
                return call()
            except Fault as error:
                last = str(error)
            except Exception as error:  # noqa: BLE001 - sorted below; what it says may hold a key
                last = self._reason(error)
        raise EnvironmentFault(
            f"{self.address}: the object store does not answer ({last}; tried {TRIES} times): nothing that is "
            f"committed is lost, `skate resume {self.address.run}` goes on once it is back"
        )

    def _reason(self, error: Exception) -> str:
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
        if isinstance(error, AlreadyExistsError | PreconditionError) and status != 409:
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
