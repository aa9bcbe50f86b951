"""The run directory: one process at a time, one manifest (`run.json`), and the commit protocol.

A commit is: arrays, durable; then the carried state, durable; then one journal record, durable. Whatever a crash leaves
behind without its record is written again with the same bytes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np

from storage.arrays import RunArrays, run_arrays
from storage.durable import remove_partials, write_atomic
from storage.errors import EnvironmentFault, RunDirectoryError
from storage.faults import fault_point
from storage.journal import Journal, Record, read_records
from storage.spans import Span

FORMAT_VERSION = 1
STATE_KEEP_EVERY = 10  # besides the latest state and the one before: where a repair can begin

Array = np.ndarray[Any, np.dtype[Any]]
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """What one stage did in one window.

    Attributes:
        stage, window: who and where.
        span: the frames that were written.
        arrays: by name, frames first, all starting at `span.start`.
        blocks: whole arrays kept by name for this window, e.g. the raw generated window.
        state: the stage's carried state as `(values, arrays)`, or None when it carries nothing.
        info: small facts (JSON) for later stages and the report.
        seconds: how long the stage worked (wall clock; it never influences a result).
    """

    stage: str
    window: int
    span: Span
    arrays: Mapping[str, Array] = field(default_factory=dict)
    blocks: Mapping[str, Array] = field(default_factory=dict)
    state: tuple[Mapping[str, Any], Mapping[str, Array]] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def read_manifest(path: Path) -> Manifest:
    """`run.json` of a run directory.

    Raises:
        RunDirectoryError: when it is missing, unreadable, or of another format version.
    """
    file = path / "run.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path} is no run directory: it has no run.json") from error
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{file} cannot be read ({error}): start anew with --overwrite") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT_VERSION:
        raise RunDirectoryError(
            f"{file} has format {found}, this program reads {FORMAT_VERSION}: use the version that made it, "
            "or start anew with --overwrite"
        )
    return dict(manifest)


class CommitLog:
    """The commits that hold, replayed from journal records."""

    def __init__(self, records: list[Record]) -> None:
        self.commits: dict[tuple[str, int], Record] = {}
        self.dropped: dict[str, int] = {}
        self.chunk_frames = 1
        self.finished: Record | None = None  # the verdict, with the digests of the finished files
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        """Take in one more record."""
        if record["kind"] in ("commit", "revoke"):
            self.finished = None
        if record["kind"] == "commit":
            self.commits[record["stage"], record["window"]] = record
            self.chunk_frames = int(record["chunk_frames"])
        elif record["kind"] == "revoke":
            for key in [key for key in self.commits if key[0] == record["stage"] and key[1] >= record["window"]]:
                del self.commits[key]
        elif record["kind"] == "drop":
            for name in record["arrays"]:
                self.dropped[name] = max(self.dropped.get(name, 0), record["stop"])
        elif record["kind"] == "finish":
            self.finished = record

    def done(self, stage: str) -> int:
        """How many windows, counted from the first, the stage has committed."""
        window = 0
        while (stage, window) in self.commits:
            window += 1
        return window

    def get(self, stage: str, window: int) -> Record | None:
        """The commit record of a stage and window, or None."""
        return self.commits.get((stage, window))

    def of(self, stage: str) -> list[Record]:
        """The stage's commits in order of windows."""
        return [self.commits[stage, window] for window in range(self.done(stage))]


def read_log(path: Path) -> CommitLog:
    """The commits of a run directory that another process may be writing (nothing is locked or changed)."""
    return CommitLog(read_records(path / "journal.jsonl")[0])


class RunDirectory:
    """A run directory opened by the one process that may write to it."""

    def __init__(self, path: Path, chunk_frames: int, height: int, width: int, manifest: Manifest) -> None:
        """Lock the directory, clean up after a crash, open arrays and journal. `manifest` is written if none is there."""
        self.path = path
        self.manifest = manifest
        self._lock = lock_run(path)
        try:
            remove_partials(path)
            if not (path / "run.json").exists():
                write_atomic(path / "run.json", json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
            self.segments.mkdir(exist_ok=True)
            self.journal = Journal(path / "journal.jsonl")
            self.log = CommitLog(self.journal.records)
            self.arrays = RunArrays(path / "run.zarr", run_arrays(height, width), chunk_frames)
        except BaseException:
            self._lock.release()
            raise

    @property
    def segments(self) -> Path:
        """The folder of the encoded pieces."""
        return self.path / "segments"

    def commit(self, work: Commit) -> Record:
        """Make one stage's work on one window durable, in the order that resuming relies on."""
        fault_point(f"{work.stage}.begin")
        for name, values in work.arrays.items():
            if len(values):
                self.arrays.write(name, work.span.start, values)
        for name, values in work.blocks.items():
            self.arrays.write_block(name, work.window, values)
        digests = self.arrays.flush()
        fault_point(f"{work.stage}.arrays")
        if work.state is not None:
            self.arrays.write_state(work.stage, work.window, *work.state)
            digests |= self.arrays.flush()
        fault_point(f"{work.stage}.state")
        record = self._append(
            {
                "kind": "commit",
                "stage": work.stage,
                "window": work.window,
                "span": list(work.span),
                "chunk_frames": self.arrays.chunk_frames,
                "digests": digests,
                "info": dict(work.info),
                "seconds": round(work.seconds, 6),
            }
        )
        fault_point(f"{work.stage}.journal")
        self._prune_state(work.stage, work.window - 2)
        return record

    def _prune_state(self, stage: str, window: int) -> None:
        if window >= 0 and window % STATE_KEEP_EVERY:
            self.arrays.delete_block(stage, window)

    def delete_stale_blocks(self) -> None:
        """Delete raw windows that are blended: nothing reads them again."""
        for window in self.arrays.blocks("raw"):
            if self.log.get("blend", window):
                self.arrays.delete_block("raw", window)

    def drop(self, names: tuple[str, ...], stop: int) -> None:
        """Forget frames before `stop` in these arrays; the journal says so first."""
        starts = {name: self.log.dropped.get(name, 0) for name in names}
        if all(start >= stop for start in starts.values()):
            return
        self._append({"kind": "drop", "arrays": list(names), "stop": stop})
        fault_point("drop.journal")
        for name, start in starts.items():
            # From one chunk earlier: a crash between record and deletion leaves chunks that nobody would look at again.
            self.arrays.drop(name, max(0, start - self.arrays.chunk_frames), stop)

    def finish(self, files: Mapping[str, str]) -> Record:
        """Declare the run finished; `files` are the sha256 of the finished files by name."""
        return self._append({"kind": "finish", "files": dict(files)})

    def revoke(self, stage: str, window: int) -> None:
        """Declare the stage's commits from this window on void, so that they are done again."""
        if any(key[0] == stage and key[1] >= window for key in self.log.commits):
            self._append({"kind": "revoke", "stage": stage, "window": window})

    def _append(self, record: Mapping[str, Any]) -> Record:
        try:
            stored = self.journal.append(record)
        except OSError as error:
            raise EnvironmentFault(f"{self.path}: the journal cannot be written ({error})") from error
        self.log.apply(stored)
        return stored

    def close(self) -> None:
        """Close the journal and give the lock back; may be called twice."""
        self.journal.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_run(path: Path) -> filelock.BaseFileLock:
    """Take the directory for this process. The lock belongs to the process: a crash does not leave it behind.

    Raises:
        RunDirectoryError: when another process holds it.
        EnvironmentFault: when the folder cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise RunDirectoryError(f"{path} is in use by another skate process: wait for it, or stop it") from error
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written to ({error.strerror}): choose another --out") from error
    return lock


def clear_run(path: Path) -> None:
    """Delete what a run wrote into its directory, and nothing else that may lie there.

    Raises:
        RunDirectoryError: when the folder holds something and has no run.json: it may not be ours.
    """
    if path.exists() and any(path.iterdir()) and not (path / "run.json").exists():
        raise RunDirectoryError(f"{path} is not empty and is no run directory: choose another --out")
    lock = lock_run(path)
    try:
        for name in ("run.zarr", "segments", "report"):
            shutil.rmtree(path / name, ignore_errors=True)
        for name in ("journal.jsonl", "output.mp4", "comparison.mp4", "run.json"):
            (path / name).unlink(missing_ok=True)
    finally:
        lock.release()
