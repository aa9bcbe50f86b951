"""What this process has of a bucket on its own disk: objects that are being written, and a bounded cache of others.

A folder of the process's own below `--scratch` (else below the system's temporary folder). Nothing in it is needed
again once the process has ended: the next one begins with an empty one, and deletes what a killed one left.
"""

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from pathlib import Path

import filelock

from storage.address import BucketPath
from storage.errors import EnvironmentFault, UsageError
from storage.local import LocalBackend

CACHE_BYTES = 4 << 30
_PREFIX, _LOCK = "skate-scratch-", ".lock"
_place: list[Path] = []


def use_scratch(folder: Path) -> None:
    """Where this process and those it forks keep what they have of buckets."""
    _place[:] = [folder]


def scratch_place() -> Path:
    """The folder below which that is."""
    return _place[0] if _place else Path(tempfile.gettempdir())


def inputs_of(out: Path) -> Path:
    """The folder for what is fetched and found for a run before it begins: in the run directory; of a run in a bucket
    below --scratch, where it stays.

    Raises:
        UsageError: where no --scratch is given: the temporary folder is everybody's, and forgets.
        RunDirectoryError: where that is a link.
    """
    if not isinstance(out, BucketPath):
        return LocalBackend(out).path("input")
    if not _place:
        raise UsageError(f"{out}: what is fetched for a run in a bucket is kept on this machine: give --scratch DIR")
    return _place[0] / f"input-{hashlib.blake2b(str(out).encode(), digest_size=6).hexdigest()}"


class _Forgettable:
    """The files of this process that the bucket has too: the longest unused are deleted where all take over
    `CACHE_BYTES`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # one of them may be forgotten by the collector, in the midst of this
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._bytes = 0

    def add(self, file: Path) -> None:
        """It is the last one used."""
        with self._lock:
            self.forget(file)
            self._sizes[file] = file.stat().st_size
            self._bytes += self._sizes[file]
            while self._bytes > CACHE_BYTES and len(self._sizes) > 1:
                oldest = next(iter(self._sizes))
                self.forget(oldest)
                oldest.unlink(missing_ok=True)

    def used(self, file: Path) -> None:
        """Where it is one of them it is the last one used."""
        with self._lock:
            if file in self._sizes:
                self._sizes.move_to_end(file)

    def forget(self, file: Path) -> bool:
        """It is none of them any more; whether it was."""
        with self._lock:
            size = self._sizes.pop(file, None)
            self._bytes -= size or 0
            return size is not None

    def forget_below(self, folder: Path) -> None:
        """As `forget`, of all in this folder."""
        with self._lock:
            for file in [file for file in self._sizes if file.is_relative_to(folder)]:
                self.forget(file)


_forgettable: dict[int, _Forgettable] = {}  # by process: a fork deletes nothing of its parent's


class Nearby:
    """Files by key, of one run. Those that may be forgotten are bounded, over all runs that this process has open."""

    def __init__(self) -> None:
        place = scratch_place()
        try:
            place.mkdir(parents=True, exist_ok=True)
            self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        except OSError as error:
            raise EnvironmentFault(
                f"{place} cannot be written to ({error.strerror}): choose another --scratch"
            ) from error
        lock = filelock.FileLock(self.root / _LOCK, thread_local=False)
        lock.acquire()
        self._forgettable = _forgettable.setdefault(os.getpid(), _Forgettable())
        _sweep(place, self.root)
        self._end = weakref.finalize(self, _delete, self.root, lock, self._forgettable, os.getpid())

    def path(self, key: str) -> Path:
        """Where the file of a key is or will be; its folder is there."""
        path = self.root / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, key: str) -> bool:
        """Whether it is here; it is used."""
        file = self.root / "files" / key
        self._forgettable.used(file)
        return file.is_file()

    def may_go(self, key: str) -> None:
        """From now on the bucket has it too."""
        self._forgettable.add(self.path(key))

    def keep(self, key: str) -> None:
        """It was written anew: the bucket does not have it."""
        self._forgettable.forget(self.root / "files" / key)

    def delete(self, key: str) -> None:
        """Nothing happens where there is none."""
        file = self.root / "files" / key
        self._forgettable.forget(file)
        file.unlink(missing_ok=True)

    def delete_all(self, part: str) -> None:
        """Delete the files below a part."""
        folder = self.root / "files" / part
        self._forgettable.forget_below(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def move(self, source: str, target: str) -> None:
        """Give a file another key, in place of one that may be there."""
        self.delete(target)
        if self.has(source):
            forgettable = self._forgettable.forget(self.path(source))
            self.path(source).replace(self.path(target))
            if forgettable:
                self.may_go(target)

    def close(self) -> None:
        """Delete all of it; may be called twice. Nobody having it any more, and the end of the process, do it too."""
        self._end()


def _delete(root: Path, lock: filelock.BaseFileLock, forgettable: _Forgettable, owner: int) -> None:
    if owner == os.getpid():  # a fork's copy of this is not its own
        forgettable.forget_below(root)
        lock.release()
        shutil.rmtree(root, ignore_errors=True)


def _sweep(place: Path, own: Path) -> None:
    """Delete what killed processes left."""
    for folder in place.glob(f"{_PREFIX}*"):
        if folder == own or not (folder / _LOCK).is_file():
            continue
        try:
            with filelock.FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (filelock.Timeout, OSError):
            continue  # its process lives
