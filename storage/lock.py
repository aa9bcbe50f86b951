"""One process at a time writes to a run."""

from pathlib import Path

from storage.backend import Lock, open_store


def lock_run(path: Path) -> Lock:
    """Take the run for this process. The lock belongs to the process: a crash does not leave it behind.

    Raises:
        RunDirectoryError: when another process holds it.
        EnvironmentFault: when the folder cannot be written to.
    """
    return open_store(path).lock()


def is_locked(path: Path) -> bool:
    """Whether a process is writing to the run; nothing is changed, also where the folder is read-only."""
    return open_store(path).is_locked()
