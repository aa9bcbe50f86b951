"""Does the disk still hold what the journal says was written?"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.arrays import run_arrays
from storage.durable import file_digest, file_sha256
from storage.journal import read_records
from storage.log import CommitLog, Task
from storage.manifest import Manifest
from storage.metadata import MetadataFiles
from storage.records import segment_of


@dataclass(frozen=True)
class Damage:
    """What is missing or altered.

    Attributes:
        keys: chunks, blocks and states, relative to `run.zarr`. segments: file names in `segments`.
        metadata: `zarr.json` files, relative to `run.zarr`. files: finished files, relative to the run directory.
        journal: whether the journal's last record is torn, or all its commits are gone while their work is there.
    """

    keys: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    metadata: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    journal: bool = False

    def paths(self) -> list[str]:
        """Everything, relative to the run directory."""
        found = [f"run.zarr/{key}" for key in sorted({*self.keys, *self.metadata})]
        found += [f"segments/{name}" for name in sorted(self.segments)]
        return [*found, *self.files, *(["journal.jsonl"] if self.journal else [])]


def find_damage(path: Path, manifest: Manifest, log: CommitLog) -> Damage:
    """Check every committed chunk, state, segment and finished file against its digest, and the metadata."""
    segments = set()
    for record in log.commits.values():
        segment = segment_of(record)
        if segment is not None and not same_file(path / "segments" / segment, record["info"]["sha256"]):
            segments.add(segment)
    finished = log.finished["files"] if log.finished is not None else {}
    return Damage(
        keys=frozenset(damaged_keys(path / "run.zarr", log, log.commits)),
        segments=frozenset(segments),
        metadata=tuple(_metadata(path, manifest, log)) if log.commits else (),
        files=tuple(name for name, wanted in finished.items() if not same_file(path / name, wanted)),
        journal=_torn(path / "journal.jsonl") or (not log.commits and _holds_work(path, log)),
    )


def damaged_keys(root: Path, log: CommitLog, tasks: Iterable[Task]) -> set[str]:
    """The chunks, blocks and states of these commits below `root` that are missing or altered."""
    return {
        key
        for task in tasks
        for key, wanted in log.commits[task]["digests"].items()
        if not log.is_forgotten(task, key) and file_digest(root / key) != wanted
    }


def _holds_work(path: Path, log: CommitLog) -> bool:
    """Whether something was written that no commit names; where the config is noted, a kill may have left chunks."""
    segments = any((path / "segments").glob("*.mp4"))
    return segments or (log.config_digest is None and any((path / "run.zarr" / "times").glob("c.*")))


def _metadata(path: Path, manifest: Manifest, log: CommitLog) -> list[str]:
    specs = run_arrays(manifest["video"]["height"], manifest["video"]["width"])
    return MetadataFiles(path / "run.zarr", specs, log.chunk_frames, log.lengths()).damaged()


def _torn(journal: Path) -> bool:
    return journal.exists() and read_records(journal)[1] != journal.stat().st_size


def same_file(path: Path, sha256: str) -> bool:
    """Whether the file is there with these bytes."""
    return path.is_file() and not path.is_symlink() and file_sha256(path) == sha256
