"""A run as it stands, for reading."""

from pathlib import Path

from storage.arrays import RunArrays
from storage.backend import open_store
from storage.change import check_identity
from storage.errors import RunDirectoryError
from storage.log import read_log
from storage.manifest import read_manifest
from storage.next import finish_switch


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

    def _recorded(self, key: str, anew: bool) -> str | None:
        """The digest of a key in the journal; `anew`: as it stands by now, where another process may be writing."""
        log = read_log(self.path) if anew else self.log
        return log.digests.get(key)
