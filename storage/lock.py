"""One process at a time writes to a run directory."""

from pathlib import Path

import filelock

from storage.durable import make_folder
from storage.errors import EnvironmentFault, RunDirectoryError

LOCK_SECONDS = 0.5  # `skate status` may hold the lock for a moment


def lock_run(path: Path) -> filelock.BaseFileLock:
    """Take the directory for this process. The lock belongs to the process: a crash does not leave it behind.

    Raises:
        RunDirectoryError: when another process holds it.
        EnvironmentFault: when the folder cannot be written to.
    """
    try:
        make_folder(path)
        lock = filelock.FileLock(path / ".lock", timeout=LOCK_SECONDS)
        lock.acquire()
    except filelock.Timeout as error:
        raise RunDirectoryError(f"{path} is in use by another skate process: wait for it, or stop it") from error
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written to ({error.strerror}): choose another --out") from error
    return lock


def is_locked(path: Path) -> bool:
    """Whether a process is writing to the run; nothing is changed, also where the folder is read-only."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _is_locked_elsewhere(path)
    try:
        with open(path / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _is_locked_elsewhere(path: Path) -> bool:
    lock = filelock.FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError):
        return True
    lock.release()
    return False
