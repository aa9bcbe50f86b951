"""Writes that survive a crash: temporary file, fsync, rename, fsync of the folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.boundary import open_regular
from storage.errors import EnvironmentFault, InputError

PARTIAL_SUFFIX = ".partial"


def file_sha256(path: Path) -> str:
    """sha256 of a whole file as hex, read in pieces.

    Raises:
        OSError: it is not there, or is no regular file: a pipe would never end.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_file(path: Path) -> None:
    """Flush one file to the disk."""
    _fsync(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows flushes no handle that is only for reading


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: Path) -> None:
    """Flush a folder's entries, so that renames in it are durable (a no-op on Windows, which has no such call)."""
    if os.name == "posix":
        _fsync(path, os.O_RDONLY)


def make_folder(path: Path) -> None:
    """Make a folder with those above it, each durable; nothing happens when it is there."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors name the file: the system does where one is opened, not where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: readers see the old or the new file whole, also after a crash."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with naming(path), open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_asked(path: Path, data: bytes, what: str) -> None:
    """`write_atomic` of a file that an option names.

    Args:
        what: the option and the file, for messages.

    Raises:
        InputError: no file can have that name. EnvironmentFault: the disk is full, or nothing can be written there.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        wrong = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
        fault = InputError if wrong else EnvironmentFault
        raise fault(f"{what}: cannot be written ({error.strerror}): choose a place that can be written") from error
