"""The run directory: one process at a time, one manifest (`run.json`), and the commit protocol.

A commit is: arrays, durable; then the carried state, durable; then one journal record, durable. Whatever a crash leaves
behind without its record is written again with the same bytes, or swept away when the directory is opened next.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np

from storage.arrays import RunArrays, run_arrays
from storage.durable import fsync_folder, make_folder, remove_partials
from storage.errors import EnvironmentFault, RunDirectoryError
from storage.faults import fault_point
from storage.journal import Journal
from storage.log import STATE_KEEP_EVERY, CommitLog, is_block, is_landmark, read_log
from storage.manifest import FORMAT_VERSION, Manifest, ManifestDamaged, read_manifest, write_manifest
from storage.records import Record, segment_of
from storage.spans import Span

__all__ = [
    "FORMAT_VERSION",
    "STATE_KEEP_EVERY",
    "Commit",
    "CommitLog",
    "Manifest",
    "ManifestDamaged",
    "RunDirectory",
    "RunReader",
    "clear_run",
    "is_locked",
    "lock_run",
    "read_log",
    "read_manifest",
    "write_manifest",
]

LOCK_SECONDS = 0.5  # `skate status` may hold the lock for a moment
SCRATCH = ".repair"  # where repairing works before it moves what proved right to its place

Array = np.ndarray[Any, np.dtype[Any]]


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
        rss_bytes, vram_bytes: memory when it was done and its peak on the GPU, for the report; None: not measured.
    """

    stage: str
    window: int
    span: Span
    arrays: Mapping[str, Array] = field(default_factory=dict)
    blocks: Mapping[str, Array] = field(default_factory=dict)
    state: tuple[Mapping[str, Any], Mapping[str, Array]] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    rss_bytes: int | None = None
    vram_bytes: int | None = None


class RunReader:
    """A run as it stands, for reading; nothing is locked or changed, another process may be writing it.

    What its arrays give is compared with the journal's digests.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path)
        self.log = read_log(path)
        self._arrays: RunArrays | None = None

    @property
    def arrays(self) -> RunArrays:
        """The run's arrays; opened when first asked for.

        Raises:
            RunDirectoryError: when nothing is committed yet, or the arrays' metadata is damaged.
        """
        if self._arrays is None:
            video = self.manifest["video"]
            if not self.log.commits:
                raise RunDirectoryError(f"{self.path} holds no committed window yet: `skate resume {self.path}`")
            specs = run_arrays(video["height"], video["width"])
            lengths = self.log.lengths()
            self._arrays = RunArrays(
                self.path / "run.zarr", specs, self.log.chunk_frames, True, lengths, self._recorded
            )
        return self._arrays

    def _recorded(self, key: str, anew: bool) -> str | None:
        """The digest of a key in the journal; `anew`: as it stands by now, where another process may be writing."""
        log = read_log(self.path) if anew else self.log
        return log.digests.get(key)


class RunDirectory:
    """A run directory opened by the one process that may write to it.

    Attributes:
        mended: what was damaged and has been mended on opening, relative to the directory.
    """

    def __init__(self, path: Path, chunk_frames: int, height: int, width: int, manifest: Manifest) -> None:
        """Lock the directory, clean up after a crash, open arrays and journal; write `manifest` where none is."""
        self.path = path
        self.manifest = manifest
        self._lock = lock_run(path)
        try:
            remove_partials(path)
            if not (path / "run.json").exists():
                write_manifest(path, manifest)
            make_folder(self.segments)
            self.journal = Journal(path / "journal.jsonl")
            try:
                self.log = CommitLog(self.journal.take_records())
                zarr, specs = path / "run.zarr", run_arrays(height, width)
                self.arrays = RunArrays(zarr, specs, chunk_frames, lengths=self.log.lengths())
                self.mended = [f"run.zarr/{name}" for name in self.arrays.mended] if self.log.commits else []
                self._note_config()
                self.sweep()
            except BaseException:
                self.journal.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    @property
    def segments(self) -> Path:
        """The folder of the encoded pieces."""
        return self.path / "segments"

    def _note_config(self) -> None:
        digest = self.manifest.get("config_digest")
        if digest is not None and digest != self.log.config_digest:
            self._append({"kind": "config", "digest": digest})

    def sweep(self) -> None:
        """Delete what the journal says is forgotten or never happened: left by a crash between record and deletion."""
        for name, stop in self.log.dropped.items():
            if name in self.arrays.specs:
                self.arrays.drop_before(name, stop)
        blocks = [(task, key) for key, task in self.log.writers.items() if is_block(key)]
        held = {key.rpartition("/")[0] for task, key in blocks if not self.log.is_forgotten(task, key)}
        for name in self.arrays.block_names():
            for window in self.arrays.blocks(name):
                if f"state/{name}/{window}" not in held:
                    self.arrays.delete_block(name, window)
        named = {segment_of(record) for record in self.log.commits.values()}
        for path in self.segments.glob("*.mp4"):
            if path.name not in named:
                path.unlink()
        shutil.rmtree(self.path / SCRATCH, ignore_errors=True)

    def commit(self, work: Commit) -> Record:
        """Make one stage's work on one window durable, in the order that resuming relies on."""
        fault_point(f"{work.stage}.begin")
        digests = store(self.arrays, work, fault=True)
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
                "rss_bytes": work.rss_bytes,
                "vram_bytes": work.vram_bytes,
            }
        )
        fault_point(f"{work.stage}.journal")
        self._prune_state(work.stage, work.window - 2)
        return record

    def _prune_state(self, stage: str, window: int) -> None:
        if window >= 0 and not is_landmark(stage, window) and not self.log.is_kept((stage, window)):
            self.arrays.delete_block(stage, window)

    def delete_stale_blocks(self) -> None:
        """Delete raw windows that are blended: nothing reads them again."""
        for window in self.arrays.blocks("raw"):
            if self.log.get("blend", window) and not self.log.is_kept(("generate", window)):
                self.arrays.delete_block("raw", window)

    def drop(self, names: tuple[str, ...], stop: int) -> None:
        """Forget frames before `stop` in these arrays; the journal says so first."""
        if all(self.log.dropped.get(name, 0) >= stop for name in names):
            return
        self._append({"kind": "drop", "arrays": list(names), "stop": stop})
        fault_point("drop.journal")
        for name in names:
            self.arrays.drop_before(name, stop)

    def finish(self, files: Mapping[str, str]) -> Record:
        """Declare the run finished; `files` are the sha256 of the finished files by name."""
        for folder in {(self.path / name).parent for name in files}:
            fsync_folder(folder)
        fsync_folder(self.path)
        fault_point("finish.before")
        return self._append({"kind": "finish", "files": dict(files)})

    def revoke(self, stages: Iterable[str], window: int) -> None:
        """Declare the stages' commits from this window on void, so that they are done again; all in one record.

        Without any stage it only takes back that the run is finished.
        """
        self._append({"kind": "revoke", "stages": list(stages), "window": window})

    def keep_all(self) -> None:
        """Keep raw windows and every window's states from here on: `skate redo` needs them."""
        if self.log.kept_since is None:
            self._append({"kind": "keep"})

    def note_attempt(self, window: int, attempt: int, iou_min: float) -> None:
        """Note that an attempt at this window was judged, so that a resumed run does not make it again."""
        self._append({"kind": "attempt", "window": window, "attempt": attempt, "iou_min": iou_min})

    def note_redo(self, windows: Iterable[int], seed: int, text: str) -> None:
        """Note that these windows are to be generated again, so that an interrupted redo is finished."""
        self._append({"kind": "redo", "windows": list(windows), "seed": seed, "text": text})

    def adopt(self, record: Record) -> None:
        """Take over a commit record of another run whose arrays are copied here."""
        self._append({key: value for key, value in record.items() if key != "n"} | {"digests": dict(record["digests"])})

    def rewrite_manifest(self, manifest: Manifest) -> None:
        """Replace `run.json`; the journal notes the config's digest: a lost `run.json` can be told from another."""
        self.manifest = write_manifest(self.path, manifest)
        self._note_config()

    def _append(self, record: Mapping[str, Any]) -> Record:
        try:
            stored = self.journal.append(record)
        except OSError as error:
            raise EnvironmentFault(
                f"{self.path}: the journal cannot be written ({error.strerror or error}): free space or mend access, "
                f"then `skate resume {self.path}`"
            ) from error
        self.log.apply(stored)
        return stored

    def close(self) -> None:
        """Close the journal and give the lock back; may be called twice."""
        try:
            self.journal.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def store(arrays: RunArrays, work: Commit, fault: bool = False) -> dict[str, str]:
    """Write arrays and blocks, durable, then the carried state, durable; returns the digests by key.

    Args:
        fault: whether tests may kill the process at `STAGE.arrays` and `STAGE.state`.
    """
    for name, values in work.arrays.items():
        if len(values):
            arrays.write(name, work.span.start, values)
    for name, values in work.blocks.items():
        arrays.write_block(name, work.window, values)
    digests = arrays.flush()
    if fault:
        fault_point(f"{work.stage}.arrays")
    if work.state is not None:
        arrays.write_state(work.stage, work.window, *work.state)
        digests |= arrays.flush()
    if fault:
        fault_point(f"{work.stage}.state")
    return digests


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


def clear_run(path: Path) -> None:
    """Delete what a run wrote into its directory, and nothing else that may lie there.

    Raises:
        RunDirectoryError: when the folder holds something and has no run.json: it may not be ours.
    """
    if path.exists() and any(path.iterdir()) and not (path / "run.json").exists():
        raise RunDirectoryError(f"{path} is not empty and is no run directory: choose another --out")
    lock = lock_run(path)
    try:
        (path / "journal.jsonl").unlink(missing_ok=True)  # first: without it nothing of the rest counts
        fsync_folder(path)
        for name in ("run.zarr", "segments", "report", SCRATCH):
            if (path / name).is_symlink():
                raise RunDirectoryError(f"{path / name} is a symbolic link: remove it by hand")
            shutil.rmtree(path / name, ignore_errors=True)
        for name in ("output.mp4", "comparison.mp4", "run.json"):
            (path / name).unlink(missing_ok=True)
    finally:
        lock.release()
