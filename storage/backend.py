"""Where a run lies: objects by key, one journal, one writer at a time.

A key is a relative name with `/` between its parts ("run.zarr/masks/object/c.5.0.0"). An object is written whole, read
whole or by range, moved and deleted; nothing is ever changed inside one. That is what a folder on a disk and a bucket
both can do. The journal alone grows: on a disk it is one file, in a bucket one create-only object a record.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from storage.address import SCHEME, BucketPath
from storage.errors import UsageError

DIGEST_BYTES = 16
PIECE_BYTES = 1 << 20


class JournalWriter(Protocol):
    """The journal, open for appending by its one writer."""

    def append(self, line: bytes) -> None:
        """Add a line; it is durable when this returns. After an OSError nothing of it is there."""

    def close(self) -> None:
        """May be called twice."""


class Backend(ABC):
    """The objects of one run, or those below a part of it."""

    @abstractmethod
    def where(self, key: str = "") -> str:
        """The object's address, for messages."""

    @abstractmethod
    def below(self, part: str) -> "Backend":
        """The same store, its keys relative to `part`."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of an object, None where there is none."""

    @abstractmethod
    def read(self, key: str, most_bytes: int) -> bytes:
        """A whole object.

        Raises:
            FileNotFoundError: when there is none.
            RunDirectoryError: when it is larger than `most_bytes`: it is looked at before it is read.
        """

    @abstractmethod
    def read_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of an object from `start` on."""

    @abstractmethod
    def digest(self, key: str, algorithm: str = "blake2b") -> str | None:
        """The digest of an object's bytes as hex (128 bits of "blake2b", or "sha256"), None where it is missing."""

    @abstractmethod
    def write(self, key: str, parts: Iterable[bytes]) -> str:
        """Write an object whole, in place of one that may be there; durable after `flush`. Returns its digest."""

    @abstractmethod
    def flush(self, keys: Iterable[str] = ()) -> None:
        """Make everything written and moved since the last call durable.

        Args:
            keys: of objects that other programs wrote at their `path` and flushed themselves.
        """

    @abstractmethod
    def publish(self) -> None:
        """Make everything written so far durable and seen by all, by itself: without a line of the journal."""

    @abstractmethod
    def show(self, key: str, data: bytes) -> None:
        """Write a page that nothing of the program reads: also beside a process that writes the rest, the last wins."""

    @abstractmethod
    def move(self, source: str, target: str) -> None:
        """Rename an object, in place of one that may be there (a store without renaming copies, then deletes)."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Give an object a second name; objects never change, so a store may keep it once. Durable after `flush`."""

    @abstractmethod
    def share(self, source: "Backend", key: str) -> bool:
        """Give an object of another store a second name here, under the same key; durable after `flush`.

        Returns:
            False where that cannot be: on other disks, in stores of other kinds.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; nothing happens where there is none."""

    @abstractmethod
    def delete_all(self, part: str) -> None:
        """Delete every object below `part`."""

    @abstractmethod
    def keys(self, part: str) -> list[str]:
        """The keys of all objects below `part`, in order."""

    @abstractmethod
    def path(self, key: str) -> Path:
        """Where programs that want a file (encoder, player) find this object."""

    @abstractmethod
    def place(self, key: str) -> Path:
        """Where such programs write it; it is the object from `flush` with its key on."""

    @abstractmethod
    def folder(self, part: str) -> Path:
        """Where such programs write objects below `part`; it is there."""

    @abstractmethod
    def open_journal(self, key: str, intact_bytes: int) -> JournalWriter:
        """The journal, opened by its one writer; what a crash left behind `intact_bytes` is cut off."""

    @abstractmethod
    def lock(self, note: Callable[[str], None] = lambda text: None) -> AbstractContextManager[object]:
        """Become the one writer, until what this gives is left or the process dies.

        Args:
            note: told when this takes its time.

        Raises:
            InUse: when another process is.
            EnvironmentFault: when nothing can be written here.
        """

    @abstractmethod
    def writing(self) -> AbstractContextManager[object]:
        """Be able to write what is in no journal (a report), beside a process that writes the rest, where that can be.

        Raises:
            RunDirectoryError: when another process is at work, and it cannot.
        """

    @abstractmethod
    def check_ours(self) -> None:
        """Refuse a place that holds something and no run: it may not be ours.

        Raises:
            RunDirectoryError: with what to do.
        """

    @abstractmethod
    def is_locked(self) -> bool:
        """Whether a process is writing; nothing is changed."""

    @abstractmethod
    def clean(self) -> int:
        """Delete what a killed process left half written; returns how many objects that were.

        Raises:
            RunDirectoryError: at anything that is no plain object of the run's own, a symbolic link say.
        """


def open_store(address: Path) -> Backend:
    """The store of the run at this address: a folder, or a `BucketPath`.

    Raises:
        UsageError: for a text, or a bucket's address that was made a plain path: it would be a folder `s3:`.
    """
    if isinstance(address, BucketPath):
        from storage.remote import open_bucket

        return open_bucket(address)
    given: object = address  # whatever a caller in Python has
    if isinstance(given, str) or address.parts[:1] == (SCHEME,):
        text = str(address).replace(f"{SCHEME}/", f"{SCHEME}//").replace("///", "//")
        raise UsageError(f"'{text}' is no address of a run yet: give storage.address.run_path('{text}')")
    from storage.local import LocalBackend  # each kind of store imports this module

    return LocalBackend(address)


def copy_objects(source: Backend, target: Backend, keys: Iterable[str]) -> None:
    """Have objects in another store under the same keys: shared where they can be, else copied piece by piece; durable
    when this returns."""
    for key in keys:
        if not target.share(source, key):
            size = source.size(key) or 0
            pieces = range(0, size, PIECE_BYTES)
            target.write(key, (source.read_range(key, at, min(PIECE_BYTES, size - at)) for at in pieces))
    target.flush()
