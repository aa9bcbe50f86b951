"""A run in a folder: objects are files. Only this module and `storage/durable.py` touch the file system for a run."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import filelock

from storage.backend import DIGEST_BYTES, PIECE_BYTES, Backend
from storage.boundary import open_regular
from storage.durable import PARTIAL_SUFFIX, fsync_file, fsync_folder, make_folder, naming
from storage.errors import EnvironmentFault, InUse, RunDirectoryError
from storage.faults import fault_point

LOCK_SECONDS = 0.5  # `skate status` may hold the lock for a moment


def _open(path: Path, most_bytes: int | None = None) -> BinaryIO:
    """A plain file of a run, open for reading; what lies in a folder from elsewhere may be anything.

    Raises:
        FileNotFoundError: when there is none.
        RunDirectoryError: when it is a link or no regular file, or larger than `most_bytes`.
    """
    try:
        file = open_regular(path, follow=False)
    except OSError as error:
        if path.is_symlink():
            raise _link(path) from error
        if error.errno == errno.EINVAL:
            raise _irregular(path) from error
        raise
    size = os.fstat(file.fileno()).st_size
    if most_bytes is not None and size > most_bytes:
        file.close()
        raise RunDirectoryError(
            f"{path} has {size} bytes, no file of a run here has over {most_bytes}: it is not what was written"
        )
    return file


def _irregular(path: Path) -> RunDirectoryError:
    return RunDirectoryError(f"{path} is no regular file: a run directory holds plain files; remove it")


def _link(path: Path) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} is a symbolic link: a run directory must hold its files itself; replace the link by what it points to"
    )


class LocalBackend(Backend):
    """A folder. Objects are files: written beside their name, renamed, and flushed with their folders."""

    def __init__(self, root: Path, run: "LocalBackend | None" = None) -> None:
        """
        Args:
            root: the folder; it is made when something is written.
            run: the backend of the run that the folder belongs to; None: the folder is the run's own.
        """
        self.root = root
        self._top: Path = root if run is None else run._top  # no link is followed below it
        self._unflushed: set[Path] = set() if run is None else run._unflushed

    def where(self, key: str = "") -> str:
        return str(self.root / key)

    def below(self, part: str) -> "LocalBackend":
        return LocalBackend(self.root / part, self)

    def path(self, key: str) -> Path:
        path = self.root / key
        parts = path.relative_to(self._top).parts
        for depth in range(1, len(parts) + 1):
            if (self._top.joinpath(*parts[:depth])).is_symlink():
                raise _link(self._top.joinpath(*parts[:depth]))
        if path.exists() and not path.is_file() and not path.is_dir():
            raise _irregular(path)
        return path

    def place(self, key: str) -> Path:
        return self.path(key)

    def size(self, key: str) -> int | None:
        try:
            return self.path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, most_bytes: int) -> bytes:
        with _open(self.path(key), most_bytes) as file:
            # As much as there is: Python sets aside all that is asked for.
            return file.read(min(most_bytes, os.fstat(file.fileno()).st_size))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with naming(self.path(key)), _open(self.path(key)) as file:
            file.seek(start)
            return file.read(length)

    def digest(self, key: str, algorithm: str = "blake2b") -> str | None:
        total = hashlib.blake2b(digest_size=DIGEST_BYTES) if algorithm == "blake2b" else hashlib.new(algorithm)
        try:
            with _open(self.path(key)) as file:
                while piece := file.read(PIECE_BYTES):
                    total.update(piece)
        except (OSError, RunDirectoryError):
            return None
        return total.hexdigest()

    def write(self, key: str, parts: Iterable[bytes]) -> str:
        path = self.path(key)
        make_folder(path.parent)
        partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
        total = hashlib.blake2b(digest_size=DIGEST_BYTES)
        try:
            with naming(path), open(partial, "wb") as file:
                for part in parts:
                    file.write(part)
                    total.update(part)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._unflushed.add(path)
        return total.hexdigest()

    def flush(self, keys: Iterable[str] = ()) -> None:
        paths = sorted(self._unflushed)
        self._unflushed.clear()
        for path in paths:
            if path.exists():
                fsync_file(path)
        folders = {path.parent for path in paths} | {self.path(key).parent for key in keys}
        for folder in sorted(folders):
            if folder.is_dir():
                fsync_folder(folder)

    def publish(self) -> None:
        self.flush()

    def show(self, key: str, data: bytes) -> None:
        self.write(key, [data])
        self.flush()

    def move(self, source: str, target: str) -> None:
        old, new = self.path(source), self.path(target)
        make_folder(new.parent)
        if new.exists() and new.samefile(old):  # two names of one file: renaming would leave both
            old.unlink()
        else:
            old.replace(new)
        self._unflushed.add(new)

    def copy(self, source: str, target: str) -> None:
        old, new = self.path(source), self.path(target)
        make_folder(new.parent)
        new.unlink(missing_ok=True)
        try:
            os.link(old, new)
        except OSError:  # a file system without links, or with too many
            shutil.copyfile(old, new)
        self._unflushed.add(new)

    def share(self, source: Backend, key: str) -> bool:
        if not isinstance(source, LocalBackend):
            return False
        new = self.path(key)
        make_folder(new.parent)
        try:
            os.link(source.path(key), new)
        except OSError:  # another disk, or a file system without links
            return False
        self._unflushed.add(new)
        return True

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def delete_all(self, part: str) -> None:
        folder = self.path(part)
        if folder.is_dir():
            shutil.rmtree(folder)

    def keys(self, part: str) -> list[str]:
        folder = self.path(part) if part else self.root
        found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def folder(self, part: str) -> Path:
        folder = self.path(part)
        make_folder(folder)
        return folder

    def open_journal(self, key: str, intact_bytes: int) -> "LocalJournal":
        return LocalJournal(self.path(key), intact_bytes)

    def lock(self, note: Callable[[str], None] = lambda text: None) -> AbstractContextManager[object]:
        try:
            make_folder(self.root)
            return filelock.FileLock(self.path(".lock"), timeout=LOCK_SECONDS).acquire()
        except filelock.Timeout as error:
            raise InUse(f"{self.root} is in use by another skate process: wait for it, or stop it") from error
        except OSError as error:
            there = (self.root / "run.json").is_file()
            remedy = "make it writable, or copy it to where it can be" if there else "choose another --out"
            raise EnvironmentFault(f"{self.root} cannot be written to ({error.strerror}): {remedy}") from error

    def writing(self) -> AbstractContextManager[object]:
        return nullcontext()

    def check_ours(self) -> None:
        there = self.root.iterdir() if self.root.exists() else ()
        others = [child for child in there if child.name not in ("input", ".lock")]
        if others and not (self.root / "run.json").exists():
            raise RunDirectoryError(f"{self.root} is not empty and is no run directory: choose another --out")

    def is_locked(self) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows
            return self._is_locked_elsewhere()
        try:
            with _open(self.path(".lock")) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _is_locked_elsewhere(self) -> bool:
        lock = filelock.FileLock(self.path(".lock"), timeout=0)
        try:
            lock.acquire()
        except (filelock.Timeout, OSError):
            return True
        lock.release()
        return False

    def clean(self) -> int:
        count = 0
        for parent, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(parent, name)
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode):
                    raise _link(path)
                if name in files and not stat.S_ISREG(mode):
                    raise _irregular(path)
                if name in files and name.endswith(PARTIAL_SUFFIX):
                    path.unlink()
                    count += 1
        return count


class LocalJournal:
    """One file, unbuffered: after a failed write nothing is left that a later call could write by surprise."""

    def __init__(self, path: Path, intact_bytes: int) -> None:
        self._intact = intact_bytes
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        if path.stat().st_size != intact_bytes:
            self._file.truncate(intact_bytes)
        os.fsync(self._file.fileno())
        fsync_folder(path.parent)

    def append(self, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            fault_point("journal.written")
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._intact)
            raise
        self._intact += len(line)

    def close(self) -> None:
        self._file.close()
