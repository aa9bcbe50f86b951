"""The commits that hold: what the journal's records add up to."""

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from storage.backend import open_store
from storage.held import HeldRecord
from storage.journal import read_records
from storage.layout import Layout
from storage.records import Record, window_of
from storage.spans import Span

STATE_KEEP_EVERY = 10  # besides the latest state and the one before: where a repair can begin

Task = tuple[str, int]  # stage, window


class CommitLog:
    """The commits that hold, replayed from journal records.

    Attributes:
        commits: the record of each stage and window.
        layout: what the chain stores.
        dropped: by array, the frame before which what it holds is deleted.
        finished: the record with the digests of the finished files; None when something was committed since.
        config_digest: of the config under which the last commits were made.
        attempts: by window, what was tried after the first attempt failed the gate.
        redo: the `skate redo` that is under way: windows, seed, text; None: none is.
        made: by stage and window, what it has generated beside the run so far.
        redone_at: number of the record that put redone windows in place last; None: none.
        kept_since: number of the record from which on raw windows and every window's states are kept; None: they
            are not.
    """

    def __init__(self, records: list[Record]) -> None:
        self.commits: dict[Task, Record] = {}
        self.dropped: dict[str, int] = {}
        self.layout = Layout()
        self._spans: dict[str, dict[int, Span]] = {}  # by array: the frames that each window wrote
        self._windows: dict[str, list[int]] = {}  # by array: its windows, in order
        self.finished: Record | None = None
        self.config_digest: str | None = None
        self.attempts: dict[int, list[Record]] = {}
        self.kept_since: int | None = None
        self.redo: Record | None = None
        self.made: dict[Task, Record] = {}
        self.redone_at: int | None = None
        self._done: dict[str, int] = {}
        self._again_from: dict[str, int] = {}  # by stage, the window from which on it was done again last
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        """Take in one more record."""
        kind = record["kind"]
        for derived in ("writers", "digests"):
            self.__dict__.pop(derived, None)
        if kind in ("commit", "revoke", "redone"):
            self.finished = None
        if kind == "commit":
            self._commit(record)
        elif kind == "revoke":
            self._revoke(record)
        elif kind == "layout":
            self.layout = Layout.from_json(record["layout"])
        elif kind == "drop":
            for name in record["arrays"]:
                self.dropped[name] = max(self.dropped.get(name, 0), record["stop"])
        elif kind == "finish":
            self.finished = record
        elif kind == "redo":
            self.redo = record if record["windows"] else None
            self.made = {}
        elif kind == "remade":
            self.made[record["stage"], record["window"]] = record
        elif kind == "redone":
            for made in self.made.values():
                self._commit(made)
            self._revoke(record)
            self.redo, self.made, self.redone_at = None, {}, int(record["n"])
        elif kind == "keep":
            self.kept_since = int(record["n"])
        elif kind == "attempt":
            self.attempts.setdefault(record["window"], []).append(record)
        elif kind == "config":
            self.config_digest = record["digest"]
            self.attempts.clear()  # made under another config: they say nothing about this one
            if self.redo is not None and not any(map(self.done, self.redo["stages"])):
                self.redo, self.made = None, {}  # what it replaces is made anew, as this config says

    def _commit(self, record: Record) -> None:
        window = int(record["window"])
        self.commits[record["stage"], window] = HeldRecord(record)
        for name in _arrays_of(record):
            if window not in self._spans.setdefault(name, {}):
                insort(self._windows.setdefault(name, []), window)
            self._spans[name][window] = Span(*record["span"])
        self._count(record["stage"])

    def _revoke(self, record: Record) -> None:
        for stage in record["stages"]:
            if record["window"] < self.done(stage):
                self._want_again(stage, int(record["window"]))
        for key in sorted(key for key in self.commits if key[0] in record["stages"] and key[1] >= record["window"]):
            self._void(self.commits.pop(key))
            self._done[key[0]] = min(self._done[key[0]], key[1])

    def _want_again(self, stage: str, window: int) -> None:
        """The stage works on from this window: what that reads of the one before is no longer forgotten."""
        self._again_from[stage] = window
        before = self.commits.get((stage, window - 1))
        if before is None:
            return
        for name in _arrays_of(before):
            self.dropped[name] = min(self.dropped.get(name, 0), before["span"][0])

    def _void(self, record: Record) -> None:
        """What a revoked commit wrote is written again, so it is no longer dropped."""
        for name in _arrays_of(record):
            self.dropped[name] = min(self.dropped.get(name, 0), record["span"][0])
            del self._spans[name][record["window"]]
            self._windows[name].remove(record["window"])

    def done(self, stage: str) -> int:
        """How many windows, counted from the first, the stage has committed."""
        return self._done.get(stage, 0)

    def _count(self, stage: str) -> None:
        window = self._done.get(stage, 0)
        while (stage, window) in self.commits:
            window += 1
        self._done[stage] = window

    def get(self, stage: str, window: int) -> Record | None:
        """The commit record of a stage and window, or None."""
        return self.commits.get((stage, window))

    def of(self, stage: str) -> list[Record]:
        """The stage's commits in order of windows."""
        return [self.commits[stage, window] for window in range(self.done(stage))]

    def infos(self, window: int) -> dict[str, Mapping[str, Any]]:
        """The facts that the stages committed about this window, by stage."""
        found = {stage: self.commits.get((stage, window)) for stage in self._done}
        return {stage: record["info"] for stage, record in found.items() if record is not None}

    @cached_property
    def writers(self) -> dict[str, Task]:
        """Which stage and window wrote each key of `run.zarr`."""
        return {key: task for task, record in self.commits.items() for key in record["digests"]}

    def writer_of(self, key: str) -> Task | None:
        """Which stage and window wrote this key, without reading every record for it."""
        tasks = ((stage, window_of(key)) for stage in self._done)
        return next((task for task in tasks if task in self.commits and key in self.commits[task]["digests"]), None)

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of each key of `run.zarr`."""
        return {key: value for record in self.commits.values() for key, value in record["digests"].items()}

    def spans(self, name: str) -> Mapping[int, Span]:
        """The frames that each window wrote of this array."""
        return self._spans.get(name, {})

    def covering(self, name: str, start: int, stop: int) -> Iterator[tuple[int, Span]]:
        """The windows that wrote any of the frames `[start, stop)` of this array, in order, each with its span."""
        windows, spans = self._windows.get(name, []), self.spans(name)
        for place in range(bisect_right(windows, start, key=lambda window: spans[window].stop), len(windows)):
            span = spans[windows[place]]
            if span.start >= stop:
                return
            yield windows[place], span

    def frames(self, name: str) -> int:
        """How many frames of this array are committed, from the first."""
        windows = self._windows.get(name)
        return self._spans[name][windows[-1]].stop if windows else 0

    def joined_spans(self) -> dict[str, list[Span]]:
        """By array, the spans of its windows from frame 0 on, as far as they follow one another."""
        joined: dict[str, list[Span]] = {}
        for name, windows in self._windows.items():
            reached = 0
            for window in windows:
                span = self._spans[name][window]
                if span.start != reached:
                    break
                joined.setdefault(name, []).append(span)
                reached = span.stop
        return joined

    def is_kept(self, task: Task) -> bool:
        """Whether this commit was made with `--keep all`, so that its state and raw window stay."""
        commit = self.commits.get(task)
        return commit is not None and self.kept_since is not None and int(commit["n"]) > self.kept_since

    @staticmethod
    def is_landmark(window: int) -> bool:
        """Whether the states after this window are kept for later repairs."""
        return window % STATE_KEEP_EVERY == 0

    def is_forgotten(self, task: Task, key: str) -> bool:
        """Whether this object of a commit is deleted on purpose."""
        stage, window = task
        folder, name = key.split("/")[:2]
        if folder == "blocks":
            spec = self.layout.blocks.get(name)
            if spec is None or spec.until is None or (self.is_kept(task) and not spec.passing):
                return False
            unread = window + max(0, spec.after - 1) < self._again_from.get(spec.until, 0)
            return unread or (spec.until, window + spec.after) in self.commits
        if folder == "state":
            wanted = max(self.done(stage) - 2, self._again_from.get(stage, 0) - 1)
            return not self.is_kept(task) and not self.is_landmark(window) and window < wanted
        return bool(self.commits[task]["span"][1] <= self.dropped.get(array_of(key), 0))


def is_block(key: str) -> bool:
    """Whether a key belongs to a carried state or a block, not to an array by frame."""
    return key.startswith(("state/", "blocks/"))


def array_of(key: str) -> str:
    """The array that an object belongs to: "masks/object" of "masks/object/c.5.0.0"."""
    return key.rpartition("/")[0]


def _arrays_of(record: Mapping[str, Any]) -> list[str]:
    """The arrays by frame that a commit wrote."""
    return [array_of(key) for key in record["digests"] if not is_block(key)]


def read_log(path: Path) -> CommitLog:
    """The commits of the run in `path`, which another process may be writing (nothing is locked or changed)."""
    return CommitLog(read_records(open_store(path))[0])
