"""The run directory: one process at a time, one manifest (`run.json`), and the commit protocol.

A commit is: arrays, durable; then the carried state, durable; then one journal record, durable. Whatever a crash leaves
behind without its record is written again with the same bytes, or swept away when the directory is opened next.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from storage.arrays import RunArrays, block_key, state_key
from storage.backend import Backend, open_store
from storage.change import REDO, SCRATCH, Change, check_identity
from storage.closing import Closing
from storage.commit import Commit, store
from storage.errors import EnvironmentFault, RunDirectoryError
from storage.faults import fault_point
from storage.journal import JOURNAL, Journal
from storage.layout import Layout
from storage.log import STATE_KEEP_EVERY, CommitLog, Task, read_log
from storage.manifest import FORMAT_VERSION, MANIFEST, Manifest, ManifestDamaged, is_run, read_manifest, write_manifest
from storage.next import NEXT, sweep
from storage.reader import RunReader
from storage.records import Record, segment_of
from storage.verify import journal_gone, metadata_of

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
    "is_run",
    "read_log",
    "read_manifest",
    "store",
    "write_manifest",
]


class RunDirectory(Closing):
    """A run directory opened by the one process that may write to it.

    Attributes:
        mended: what was damaged and has been mended on opening, relative to the directory.
        worked: whether anything was committed since it was opened.
    """

    def __init__(
        self, path: Path, layout: Layout, manifest: Manifest, note: Callable[[str], None] = lambda text: None
    ) -> None:
        """Lock the directory, clean up after a crash, open arrays and journal; write `manifest` where none is.

        Args:
            layout: what the chain stores.
            manifest: what `run.json` says from the next commit on; until then every byte of it stays.
            note: told when another process's hold has to run out first.
        """
        self.path = path
        self.store: Backend = open_store(path)
        self.manifest = manifest
        self.worked = False
        self._layout = layout
        with ExitStack() as opening:
            opening.enter_context(self.store.lock(note))
            self.store.clean()
            self._manifest_due = self.store.size(MANIFEST) is not None
            if not self._manifest_due:
                write_manifest(path, manifest)
            self.store.folder("segments")  # encoders write into it
            self.journal = opening.enter_context(Journal(self.store))
            self.log = CommitLog(self.journal.take_records())
            check_identity(path, manifest, self.log)
            if journal_gone(self.store, self.log):  # what was redone or corrected is not known: it would be lost
                raise RunDirectoryError(
                    f"{path}: its journal holds nothing of the work that is there: put {JOURNAL} back, or start anew "
                    "with `skate run ... --overwrite`"
                )
            self._note_config()
            self._note_layout()
            self.mended = [f"run.zarr/{key}" for key in self._mend_metadata()] if self.log.finished is not None else []
            self.arrays = self.arrays_at("run.zarr")
            self.sweep()
            self._open = opening.pop_all()

    def arrays_at(self, part: str) -> RunArrays:
        """A store of the run's arrays below `part` of its directory."""
        return RunArrays(self.store.below(part), self._layout, self.log)

    def _mend_metadata(self) -> list[str]:
        """Write the arrays' `zarr.json` where they are not what they must be; nothing of ours reads them."""
        return metadata_of(self.store, self.log).mend()

    def settle(self) -> None:
        """See that `run.json` says what the run goes on with: other servers, another path of the same input."""
        if not self._manifest_due:
            return
        try:
            stands = read_manifest(self.path) == self.manifest
        except ManifestDamaged:  # the journal knows that it was of this config
            stands = False
        if not stands:
            self.manifest = write_manifest(self.path, self.manifest)
        self._manifest_due = False

    def _note_config(self) -> None:
        digest = self.manifest.get("config_digest")
        if digest is not None and digest != self.log.config_digest:
            self._append({"kind": "config", "digest": digest})

    def _note_layout(self) -> None:
        if self._layout == self.log.layout:
            return
        for name, spec in self.log.layout.arrays.items():
            if self.log.spans(name) and self._layout.arrays.get(name) != spec:
                raise RunDirectoryError(
                    f"{self.path}: its array '{name}' is not stored as this program stores it: finish the run with the "
                    "version that began it, or start anew with --overwrite"
                )
        self._append({"kind": "layout", "layout": self._layout.to_json()})

    def sweep(self) -> None:
        """Delete what the journal says is forgotten or never happened: left by a crash between record and deletion."""
        sweep(self.store, self.log)
        self.store.delete_all(NEXT)  # who goes on with the run itself has given up what was to replace it
        self.store.delete_all(SCRATCH)
        if self.log.redo is None:
            self._place_redone()

    def commit(self, work: Commit) -> Record:
        """Make one stage's work on one window durable, in the order that resuming relies on."""
        fault_point(f"{work.stage}.begin")
        self.settle()
        self.worked = True
        digests = store(self.arrays, work, fault=True)
        segment = segment_of({"info": work.info})
        if segment is not None:
            self.store.flush([f"segments/{segment}"])
        record = self._record("commit", work, digests)
        self._prune_state(work.stage, work.window - 2)
        self._drop_blocks(work.stage, work.window)
        return record

    def _record(self, kind: str, work: Commit, digests: Mapping[str, str]) -> Record:
        record = self._append(
            {
                "kind": kind,
                "stage": work.stage,
                "window": work.window,
                "span": list(work.span),
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
        if window >= 0 and not self.log.is_landmark(window) and not self.log.is_kept((stage, window)):
            self.arrays.objects.delete(state_key(stage, window))

    def _drop_blocks(self, stage: str, window: int) -> None:
        """Delete what was kept by window until this stage has read it."""
        for name, spec in self._layout.blocks.items():
            key = block_key(name, window - spec.after)
            writer = self.log.writer_of(key) if spec.until == stage else None
            if writer is not None and self.log.is_forgotten(writer, key):
                self.arrays.objects.delete(key)

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
        self._mend_metadata()
        self.store.flush(files)
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
        if self.log.kept_since is None:
            self._append({"kind": "keep"})

    def note_attempt(self, window: int, attempt: int, iou_min: float) -> None:
        """Note that an attempt at this window was judged, so that a resumed run does not make it again."""
        self._append({"kind": "attempt", "window": window, "attempt": attempt, "iou_min": iou_min})

    # -- windows made again beside the run: `skate redo` --------------------------------------------------------------

    @property
    def beside(self) -> RunArrays:
        """The store of windows that are made again and do not count yet."""
        return self.arrays_at(REDO)

    def note_redo(self, stages: Iterable[str], windows: Iterable[int], seed: int = 0, text: str = "") -> None:
        """Note that these stages do these windows again, so that an interrupted redo is finished; none: no more."""
        self.settle()
        what = {"stages": list(stages), "windows": list(windows), "seed": seed, "text": text}
        self._append({"kind": "redo", **what})
        if self.log.redo is None:
            self._drop_redo()

    def commit_beside(self, work: Commit) -> Record:
        """Make a window of a redo durable beside the run: it counts once `take_over` says so."""
        return self._record("remade", work, store(self.beside, work, fault=True))

    def made_intact(self) -> set[Task]:
        """What of the redo under way is made and is on the disk as it was written."""
        return {
            task
            for task, record in self.log.made.items()
            if all(self.store.digest(f"{REDO}/{key}") == wanted for key, wanted in record["digests"].items())
        }

    def take_over(self, stages: Iterable[str], window: int) -> None:
        """Put what the redo made in place of what stood; what these stages did from this window on is void.

        One record says both. A crash after it leaves files to be moved: `sweep` moves them.
        """
        self._append({"kind": "redone", "stages": list(stages), "window": window})
        fault_point("redo.journal")
        self._place_redone()

    def _place_redone(self) -> None:
        """Move to its place what was made beside the run and counts by now."""
        keys = [key.removeprefix(f"{REDO}/") for key in self.store.keys(REDO)]
        self.take(REDO, [key for key in keys if self._holds(key, self.store.digest(f"{REDO}/{key}"))])
        if keys:
            fault_point("redo.placed")
        self._drop_redo()

    def _holds(self, key: str, digest: str | None) -> bool:
        """Whether an object with this digest is what the journal says, and is not forgotten."""
        task = self.log.writers.get(key)
        return task is not None and self.log.digests[key] == digest and not self.log.is_forgotten(task, key)

    def take(self, part: str, keys: Iterable[str]) -> None:
        """Move these objects of the arrays from below `part` to their place; durable when it returns."""
        for key in keys:
            self.store.move(f"{part}/{key}", f"run.zarr/{key}")
        self.store.flush()

    def _drop_redo(self) -> None:
        self.store.delete_all(REDO)

    def adopt(self, record: Record) -> None:
        """Take over a commit record of another run whose arrays are copied here."""
        self._append({key: value for key, value in record.items() if key != "n"})

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
        self._open.close()
