"""The run directory: one process at a time, one manifest (`run.json`), and the commit protocol.

A commit is: arrays, durable; then the carried state, durable; then one journal record, durable. Whatever a crash leaves
behind without its record is written again with the same bytes, or swept away when the directory is opened next.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage.arrays import RunArrays, run_arrays
from storage.change import REDO, SCRATCH, Change, check_identity, delete_run
from storage.commit import Commit, store
from storage.durable import file_digest, fsync_folder, make_folder, remove_partials
from storage.errors import EnvironmentFault
from storage.faults import fault_point
from storage.journal import Journal
from storage.lock import is_locked, lock_run
from storage.log import STATE_KEEP_EVERY, CommitLog, is_block, is_landmark, read_log
from storage.manifest import FORMAT_VERSION, Manifest, ManifestDamaged, read_manifest, write_manifest
from storage.reader import RunReader
from storage.records import Record, segment_of

__all__ = [
    "FORMAT_VERSION",
    "SCRATCH",
    "STATE_KEEP_EVERY",
    "Change",
    "Commit",
    "CommitLog",
    "Manifest",
    "ManifestDamaged",
    "RunDirectory",
    "RunReader",
    "is_locked",
    "lock_run",
    "read_log",
    "read_manifest",
    "store",
    "write_manifest",
]


class RunDirectory:
    """A run directory opened by the one process that may write to it.

    Attributes:
        mended: what was damaged and has been mended on opening, relative to the directory.
    """

    def __init__(
        self,
        path: Path,
        chunk_frames: int,
        height: int,
        width: int,
        manifest: Manifest,
        change: Change | None = None,
    ) -> None:
        """Lock the directory, clean up after a crash, open arrays and journal; write `manifest` where none is.

        Args:
            change: what is to be done to what is there right before the next commit. Until then `log` says what will
                hold, and every byte of what is there stays.
        """
        self.path = path
        self.manifest = manifest
        self.mended: list[str] = []
        self._chunk_frames = chunk_frames
        self._specs = run_arrays(height, width)
        self._change = change
        self._keep_all = False  # asked for while the change is pending
        self._beside: RunArrays | None = None
        self._lock = lock_run(path)
        self.journal: Journal | None = None
        try:
            remove_partials(path)
            if change is not None and change.anew:
                self.log = CommitLog([])
                self.arrays = RunArrays(path / SCRATCH / "run.zarr", self._specs, chunk_frames)
            else:
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Open what is there; nothing of it is changed but what a crash left."""
        if not (self.path / "run.json").exists() and self._change is None:
            write_manifest(self.path, self.manifest)
        make_folder(self.segments)
        self.journal = Journal(self.path / "journal.jsonl")
        self.log = CommitLog(self.journal.take_records())
        lengths = self.log.lengths()
        self.arrays = RunArrays(self.path / "run.zarr", self._specs, self._chunk_frames, lengths=lengths)
        self.mended = [f"run.zarr/{name}" for name in self.arrays.mended] if self.log.commits else []
        if self._change is None:
            check_identity(self.path, self.manifest, self.log)
            self._note_config()
        self.sweep()
        if self._change is not None:
            self.log = self._change.preview(self.log)

    @property
    def segments(self) -> Path:
        """The folder of the encoded pieces."""
        return self.path / "segments"

    @property
    def pending(self) -> bool:
        """Whether what was there still stands, whatever `log` says; it goes when something new is committed."""
        return self._change is not None

    def settle(self, work: Commit | None = None) -> None:
        """Make the pending change, if there is one: what is void by it is gone from here on.

        Args:
            work: the first new window. It is written beside the run first: a full disk says so while nothing is void.
        """
        change = self._change
        if change is None:
            return
        if work is not None:
            room = self.path / SCRATCH / "room"
            store(RunArrays(room, self._specs, self._chunk_frames), work)
            write_manifest(room, change.manifest)
            shutil.rmtree(room)
        if change.anew:
            delete_run(self.path)
        elif change.void is not None:
            digest = change.manifest["config_digest"]
            self._append({"kind": "revoke", "stages": list(change.void), "window": 0, "digest": digest})
        self._change = None
        fault_point("settle.void")
        self.manifest = write_manifest(self.path, change.manifest)
        fault_point("settle.manifest")
        if self.journal is not None:
            self.journal.close()
        self._open()
        if self._keep_all:
            self.keep_all()

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
        if self.log.redo is None:
            self._place_redone()

    def commit(self, work: Commit) -> Record:
        """Make one stage's work on one window durable, in the order that resuming relies on."""
        fault_point(f"{work.stage}.begin")
        self.settle(work)
        record = self._record("commit", work, store(self.arrays, work, fault=True))
        self._prune_state(work.stage, work.window - 2)
        return record

    def _record(self, kind: str, work: Commit, digests: Mapping[str, str]) -> Record:
        record = self._append(
            {
                "kind": kind,
                "stage": work.stage,
                "window": work.window,
                "span": list(work.span),
                "chunk_frames": self.arrays.chunk_frames,
                "digests": dict(digests),
                "info": dict(work.info),
                "seconds": round(work.seconds, 6),
                "rss_bytes": work.rss_bytes,
                "vram_bytes": work.vram_bytes,
            }
        )
        fault_point(f"{work.stage}.journal")
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
        self.settle()
        self._append({"kind": "drop", "arrays": list(names), "stop": stop})
        fault_point("drop.journal")
        for name in names:
            self.arrays.drop_before(name, stop)

    def finish(self, files: Mapping[str, str]) -> Record:
        """Declare the run finished; `files` are the sha256 of the finished files by name."""
        self.settle()
        for folder in {(self.path / name).parent for name in files}:
            fsync_folder(folder)
        fsync_folder(self.path)
        fault_point("finish.before")
        return self._append({"kind": "finish", "files": dict(files)})

    def revoke(self, stages: Iterable[str], window: int) -> None:
        """Declare the stages' commits from this window on void, so that they are done again; all in one record.

        Without any stage it only takes back that the run is finished.
        """
        self.settle()
        self._append({"kind": "revoke", "stages": list(stages), "window": window})

    def keep_all(self) -> None:
        """Keep raw windows and every window's states from here on: `skate redo` needs them."""
        if self._change is not None:
            self._keep_all = True
        elif self.log.kept_since is None:
            self._append({"kind": "keep"})

    def note_attempt(self, window: int, attempt: int, iou_min: float) -> None:
        """Note that an attempt at this window was judged, so that a resumed run does not make it again."""
        self._append({"kind": "attempt", "window": window, "attempt": attempt, "iou_min": iou_min})

    # -- windows made again beside the run: `skate redo` --------------------------------------------------------------

    @property
    def beside(self) -> RunArrays:
        """The store of windows that are made again and do not count yet; opened when first asked for."""
        if self._beside is None:
            self._beside = RunArrays(self.path / REDO, self._specs, self._chunk_frames)
        return self._beside

    def note_redo(self, windows: Iterable[int], seed: int, text: str) -> None:
        """Note that these windows are to be generated again, so that an interrupted redo is finished; none: no more."""
        self.settle()
        self._append({"kind": "redo", "windows": list(windows), "seed": seed, "text": text})
        if self.log.redo is None:
            self._drop_redo()

    def commit_beside(self, work: Commit) -> Record:
        """Make a window of a redo durable beside the run: it counts once `take_over` says so."""
        return self._record("made", work, store(self.beside, work, fault=True))

    def made_intact(self) -> list[int]:
        """The windows of the redo under way that are made and are on the disk as they were written."""
        return [
            window
            for window, record in sorted(self.log.made.items())
            if all(file_digest(self.path / REDO / key) == wanted for key, wanted in record["digests"].items())
        ]

    def take_over(self, stages: Iterable[str], window: int) -> None:
        """Put what the redo made in place of what stood; what these stages did from this window on is void.

        One record says both. A crash after it leaves files to be moved: `sweep` moves them.
        """
        self._append({"kind": "redone", "stages": list(stages), "window": window})
        fault_point("redo.journal")
        self._place_redone()

    def _place_redone(self) -> None:
        """Move to its place what was made beside the run and counts by now."""
        if not (self.path / REDO).is_dir():
            return
        wanted = {key: self.log.commits[task]["digests"][key] for key, task in self.log.writers.items()}
        keys = [path.relative_to(self.path / REDO).as_posix() for path in (self.path / REDO / "state").rglob("*")]
        ready = [key for key in keys if key in wanted and file_digest(self.path / REDO / key) == wanted[key]]
        self.arrays.adopt(self.beside, ready)
        fault_point("redo.placed")
        self._drop_redo()

    def _drop_redo(self) -> None:
        self._beside = None
        shutil.rmtree(self.path / REDO, ignore_errors=True)

    def adopt(self, record: Record) -> None:
        """Take over a commit record of another run whose arrays are copied here."""
        self._append({key: value for key, value in record.items() if key != "n"} | {"digests": dict(record["digests"])})

    def _append(self, record: Mapping[str, Any]) -> Record:
        assert self.journal is not None  # a pending change is settled first
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
            if self._change is not None:
                shutil.rmtree(self.path / SCRATCH, ignore_errors=True)
            if self.journal is not None:
                self.journal.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
