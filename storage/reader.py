"""A run as it stands, for reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.arrays import RunArrays
from storage.backend import open_store
from storage.change import check_identity
from storage.errors import RunDirectoryError
from storage.log import read_log
from storage.manifest import read_manifest
from storage.next import changed_meanwhile, finish_switch


class RunReader:
    """A run as it stands, for reading; nothing is locked or changed, another process may be writing it.

    What its arrays give is compared with the journal's digests.
    """

    def __init__(self, path: Path) -> None:
        finish_switch(path)
        self.path = path
        self.store = open_store(path)
        self.manifest, self.log = read_manifest(path), read_log(path)
        check_identity(path, self.manifest, self.log)
        self._arrays = RunArrays(self.store.below("run.zarr"), self.log.layout, self.log, self._recorded)

    @property
    def arrays(self) -> RunArrays:
        """The run's arrays.

        Raises:
            RunDirectoryError: when nothing is committed yet.
        """
        if not self.log.commits:
            raise RunDirectoryError(f"{self.path} holds no committed window yet: `skate resume {self.path}`")
        return self._arrays

    @contextmanager
    def standing(self, end: bool = False) -> Iterator[None]:
        """All that is read in it is of the run as it stood when this reader was made.

        Args:
            end: also of one that is as finished as it was.

        Raises:
            RunDirectoryError: when another process has replaced what was committed then; what of it is missing by now
                is no damage.
        """
        try:
            yield
        except RunDirectoryError:
            self.check_stands(end)
            raise
        self.check_stands(end)

    def check_stands(self, end: bool = False) -> None:
        """See that what was committed when this reader was made still counts: there may be more by now.

        Args:
            end: also that the run is as finished as it was.

        Raises:
            RunDirectoryError: when another process has replaced some of it.
        """
        finish_switch(self.path)
        now = read_log(self.path)
        numbers = {task: record["n"] for task, record in now.commits.items()}
        stay = all(numbers.get(task) == record["n"] for task, record in self.log.commits.items())
        ended = [None if log.finished is None else log.finished["files"] for log in (self.log, now)]
        if not stay or (end and ended[0] != ended[1]):
            raise changed_meanwhile(self.path)

    def _recorded(self, key: str, anew: bool) -> str | None:
        """The digest of a key in the journal; `anew`: as it stands by now, where another process may be writing."""
        log = read_log(self.path) if anew else self.log
        return log.digests.get(key)
