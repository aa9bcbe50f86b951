"""Folders that are made whole before they count: under a name of their own, locked by who makes them, and swept by the
next one where that was killed."""

import glob
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

SUFFIX, _LOCK = ".skate", ".lock"


@contextmanager
def building(place: Path, name: str) -> Iterator[Path]:
    """A new folder in `place` for what is to be `name`; it is deleted in the end, where it was not moved away.

    The lock beside it is taken before it is made: a folder beside which none lies is somebody else's.
    """
    folder = place / f".{name}.{secrets.token_hex(4)}{SUFFIX}"
    lock = folder.with_name(folder.name + _LOCK)
    try:
        with FileLock(lock):
            try:
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.unlink(missing_ok=True)


def left_behind(place: Path, name: str) -> Iterator[Path]:
    """The folders that processes which were killed were building for `name`; each is deleted behind the loop's body."""
    for lock in place.glob(f".{glob.escape(name)}.????????{SUFFIX}{_LOCK}"):
        folder = lock.with_name(lock.name.removesuffix(_LOCK))
        try:
            with FileLock(lock, timeout=0):
                if folder.is_dir():
                    yield folder
                    shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
        except (Timeout, OSError):
            continue  # its process lives


def sweep(place: Path, name: str) -> None:
    """Delete what processes that were killed were building for `name`."""
    for _ in left_behind(place, name):
        pass
