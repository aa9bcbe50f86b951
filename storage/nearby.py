"""What this process has of a bucket on its own disk: objects that are being written, and a bounded cache of others.

A folder of the process's own below `--scratch` (else below the system's temporary folder). Nothing in it is needed
again once the process has ended: the next one begins with an empty one, and deletes what a killed one left.
"""

import atexit
import os
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path

import filelock

from storage.errors import EnvironmentFault

CACHE_BYTES = 4 << 30
_PREFIX, _LOCK = "skate-scratch-", ".lock"
_place: list[Path] = []


def use_scratch(folder: Path) -> None:
    """Where this process and those it forks keep what they have of buckets."""
    _place[:] = [folder]


def scratch_place() -> Path:
    """The folder below which that is."""
    return _place[0] if _place else Path(tempfile.gettempdir())


class Nearby:
    """Files by key. Those that may be forgotten are deleted, the longest unused first, where they take over
    `CACHE_BYTES`."""

    def __init__(self) -> None:
        place = scratch_place()
        try:
            place.mkdir(parents=True, exist_ok=True)
            self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        except OSError as error:
            raise EnvironmentFault(
                f"{place} cannot be written to ({error.strerror}): choose another --scratch"
            ) from error
        self._lock = filelock.FileLock(self.root / _LOCK)
        self._lock.acquire()
        self._owner = os.getpid()
        self._forgettable: OrderedDict[str, int] = OrderedDict()
        _sweep(place, self.root)
        atexit.register(self.close)

    def path(self, key: str) -> Path:
        """Where the file of a key is or will be; its folder is there."""
        path = self.root / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, key: str) -> bool:
        """Whether it is here; it is used."""
        if key in self._forgettable:
            self._forgettable.move_to_end(key)
        return (self.root / "files" / key).is_file()

    def may_go(self, key: str) -> None:
        """From now on the bucket has it too."""
        self._forgettable[key] = self.path(key).stat().st_size
        self._forgettable.move_to_end(key)
        while sum(self._forgettable.values()) > CACHE_BYTES and len(self._forgettable) > 1:
            self.delete(next(iter(self._forgettable)))

    def delete(self, key: str) -> None:
        """Nothing happens where there is none."""
        self._forgettable.pop(key, None)
        (self.root / "files" / key).unlink(missing_ok=True)

    def delete_all(self, part: str) -> None:
        """Delete the files below a part."""
        for key in [key for key in self._forgettable if not part or key.startswith(f"{part}/")]:
            del self._forgettable[key]
        shutil.rmtree(self.root / "files" / part, ignore_errors=True)

    def move(self, source: str, target: str) -> None:
        """Give a file another key, in place of one that may be there."""
        self.delete(target)
        if self.has(source):
            self.path(source).replace(self.path(target))
            size = self._forgettable.pop(source, None)
            if size is not None:
                self._forgettable[target] = size

    def close(self) -> None:
        """Delete all of it; may be called twice."""
        if self._owner == os.getpid():  # a fork's copy of this is not its own
            self._lock.release()
            shutil.rmtree(self.root, ignore_errors=True)


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
