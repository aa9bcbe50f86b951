"""Does the store still hold what the journal says was written?"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.backend import Backend, open_store
from storage.change import REDO
from storage.journal import JOURNAL, read_records
from storage.log import CommitLog, Task
from storage.metadata import MetadataFiles
from storage.records import segment_of


@dataclass(frozen=True)
class Damage:
    """What is missing or altered.

    Attributes:
        keys: objects of arrays, blocks and states, relative to `run.zarr`. segments: file names in `segments`.
        metadata: `zarr.json` files, relative to `run.zarr`. files: finished files, relative to the run directory.
        journal: whether the journal's last record is torn, or all its commits are gone while their work is there.
        let_go: no damage: objects that this run needs, and that the run it begins with had deleted on purpose.
    """

    keys: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    metadata: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    journal: bool = False
    let_go: frozenset[str] = frozenset()

    @property
    def lacking(self) -> frozenset[str]:
        """The objects to be made again."""
        return self.keys | self.let_go

    def paths(self) -> list[str]:
        """Everything, relative to the run directory."""
        found = [f"run.zarr/{key}" for key in sorted({*self.keys, *self.metadata})]
        found += [f"segments/{name}" for name in sorted(self.segments)]
        return [*found, *self.files, *([JOURNAL] if self.journal else [])]


def find_damage(path: Path, log: CommitLog, before: CommitLog | None = None) -> Damage:
    """Check every committed object, segment and finished file against its digest, and the metadata.

    Args:
        before: of the finished run that this one is to replace, and began as a clone of.
    """
    store = open_store(path)
    segments = set()
    for record in log.commits.values():
        segment = segment_of(record)
        if segment is not None and store.digest(f"segments/{segment}", "sha256") != record["info"]["sha256"]:
            segments.add(segment)
    finished = log.finished["files"] if log.finished is not None else {}
    wrong = {key for key in damaged_keys(store.below("run.zarr"), log, log.commits) if not _waits(store, key, log)}
    let_go = {key for key in wrong if before is not None and _was_forgotten(key, before, log)}
    return Damage(
        keys=frozenset(wrong - let_go),
        segments=frozenset(segments),
        metadata=tuple(metadata_of(store, log).damaged()) if finished else (),
        files=tuple(name for name, wanted in finished.items() if store.digest(name, "sha256") != wanted),
        journal=_torn(store) or journal_gone(store, log),
        let_go=frozenset(let_go),
    )


def _waits(store: Backend, key: str, log: CommitLog) -> bool:
    """Whether an object that `skate redo` made and that counts by now has only to be moved to its place."""
    return log.redo is None and store.digest(f"{REDO}/{key}") == log.digests[key]


def _was_forgotten(key: str, before: CommitLog, log: CommitLog) -> bool:
    """Whether the same object was deleted on purpose in the run before."""
    task = before.writer_of(key)
    return task is not None and before.is_forgotten(task, key) and before.digests[key] == log.digests[key]


def damaged_keys(objects: Backend, log: CommitLog, tasks: Iterable[Task]) -> set[str]:
    """The objects of these commits that are missing or altered."""
    return {
        key
        for task in tasks
        for key, wanted in log.commits[task]["digests"].items()
        if not log.is_forgotten(task, key) and objects.digest(key) != wanted
    }


def metadata_of(store: Backend, log: CommitLog) -> MetadataFiles:
    """The `zarr.json` files of a run; they are written when it is opened and when it is finished."""
    return MetadataFiles(store.below("run.zarr"), log.layout, log.joined_spans())


def journal_gone(store: Backend, log: CommitLog) -> bool:
    """Whether no commit is there, and something that one must have named; a kill may leave objects of none behind."""
    if log.commits:
        return False
    if any(key.endswith(".mp4") for key in store.keys("segments")):
        return True
    return log.config_digest is None and any("/c." in key for key in store.keys("run.zarr"))


def _torn(store: Backend) -> bool:
    return read_records(store)[1] != (store.size(JOURNAL) or 0)
