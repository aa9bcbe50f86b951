"""Repairing a run: what no longer matches its commit record is made again, and must come out with the same bytes.

    damaged or missing  ->  which stage wrote it in which window
                        ->  from which window on it must be done again: after its newest intact state
                        ->  what that reads and is not there any more: dropped frames are decoded again, dropped blended
                            frames and raw windows are generated again, and so on backwards
                        ->  in order of windows: do it again, compare with the digests in the record, move it in place

Nothing is written to the journal: the records hold as they are. What was made from a repaired window need not be done
again, because the repaired bytes are those it was made from. Other bytes than recorded are an error, never accepted.
"""

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

from stages.base import Window
from stages.generator import Request
from storage.arrays import block_key, state_key
from storage.errors import GeneratorError, RunDirectoryError
from storage.faults import fault_point
from storage.log import CommitLog, is_block
from storage.log import Task as Key
from storage.metadata import object_key
from storage.records import segment_of
from storage.rundir import SCRATCH, RunDirectory, store
from storage.spans import Span
from storage.verify import Damage, find_damage
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor, carries_state
from stream.engine.tasks import Task
from stream.engine.windows import beyond_shot, committed_windows, span_of

NOTE_SECONDS = 60.0  # between lines that tell how far it is: of a long run it may take hours


def repair_run(
    run: RunDirectory,
    begin: Callable[[RunDirectory], Executor],
    note: Callable[[str], None],
    before: CommitLog | None = None,
    among: Container[str] | None = None,
) -> Damage:
    """Verify everything that is committed, and make again what is damaged or was let go of; returns what was.

    Args:
        run: locked.
        begin: makes an executor of the run's chain; only called when something is to be made again.
        note: takes a line for the person who watches.
        before: of the finished run that this one is to replace; None: it replaces none.
        among: only what these nodes wrote; None: whichever did.

    Raises:
        RunDirectoryError: when what is made again is not what was recorded.
        GeneratorError: when it was not damaged, and a server gives other pictures than then.
    """
    damage = find_damage(run.path, run.log, before)
    tasks = {run.log.writers[key] for key in damage.lacking}
    tasks |= {task for task, record in run.log.commits.items() if segment_of(record) in damage.segments}
    for name in (*run.mended, *damage.paths()):
        note(f"damaged: {name}")
    tasks = {task for task in tasks if among is None or task[0] in among}
    if tasks:
        _make_again(run, begin, note, damage, tasks)
        run.sweep()
    return damage


def bring_back(
    run: RunDirectory,
    begin: Callable[[RunDirectory], Executor],
    note: Callable[[str], None],
    tasks: set[Key],
) -> None:
    """Make again what these commits wrote and what was deleted on purpose since; it lies in its place until the run is
    swept, and counts for nothing.

    Args:
        run, begin, note: as for `repair_run`.

    Raises:
        RunDirectoryError, GeneratorError: when what is made again is not what was recorded.
    """
    if not tasks:
        return
    log = run.log
    keys = {key for task in tasks for key in log.commits[task]["digests"] if log.is_forgotten(task, key)}
    _make_again(run, begin, note, Damage(let_go=frozenset(keys)), tasks)


def _make_again(
    run: RunDirectory,
    begin: Callable[[RunDirectory], Executor],
    note: Callable[[str], None],
    damage: Damage,
    tasks: set[Key],
) -> None:
    """Do these windows of stages again, and all whose work they need and that is not there."""
    windows = committed_windows(run.log)
    with begin(run) as executor:
        chain = executor.chain
        needed = Needed(run.log, chain, windows, damage).all(tasks)
        what = "repairing" if damage.keys or damage.segments else "what is read again was not kept"
        note(f"{what}: {len(needed)} windows of stages are done again: {_counts(needed, chain)}")
        lags = {node: chain.lag(node) for node in chain.names}
        reached, told = -1, time.monotonic()
        order = sorted(needed, key=lambda task: (task[1] + lags[task[0]], chain.names.index(task[0])))
        for done, (name, index) in enumerate(order):
            if time.monotonic() - told >= NOTE_SECONDS:
                note(f"{what}: {done} of {len(order)} are done")
                told = time.monotonic()
            step = index + lags[name]
            if step != reached:  # what the nodes furthest behind still read stays
                _drop_again(run, windows[max(0, step - max(lags.values()))], damage.let_go)
            reached = step
            _do_again(run, executor, Task(name, windows[index]), damage)
            fault_point("repair.window")


def _counts(needed: set[Key], chain: Chain) -> str:
    counts = {node.name: sum(name == node.name for name, _ in needed) for node in chain}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


class Needed:
    """Finds out which windows of which stages have to be done again."""

    def __init__(self, log: CommitLog, chain: Chain, windows: Sequence[Window], damage: Damage) -> None:
        self._log = log
        self._chain = chain
        self._windows = windows
        self._damage = damage

    def all(self, tasks: set[Key]) -> set[Key]:
        """`tasks` and everything they need that is not there.

        Raises:
            RunDirectoryError: when something is needed that no committed window can make.
        """
        needed: set[Key] = set()
        waiting = set(tasks)
        while waiting:
            task = waiting.pop()
            if task[0] not in self._chain or not 0 <= task[1] < len(self._windows) or task not in self._log.commits:
                raise RunDirectoryError(
                    f"window {task[1]} of stage '{task[0]}' is needed for a repair and is not committed: "
                    "the journal does not fit this run; start anew with --overwrite"
                )
            needed.add(task)
            waiting |= self.before(*task) - needed
        return needed

    def before(self, name: str, index: int) -> set[Key]:
        """Who wrote what this window of this stage works from and is not there."""
        node = self._chain[name]
        missing = self._state(node, index - 1)
        for array, read in node.reads:
            writer = self._chain.writer(array)
            if writer is None or self._chain.is_source(array):
                continue  # intact, damaged (then decode is among the tasks), or decoded again by the source
            offset = 0 if read.span == "context" else read.window
            if beyond_shot(self._windows[index], offset, self._at) or index + offset >= len(self._windows):
                continue
            of = index + offset
            if self._chain.port(array).span == "window":
                missing |= self._missing([block_key(array, of)], {(writer, of)})
            else:
                missing |= self._chunks(array, span_of(self._windows[of], read))
        return missing

    def _at(self, index: int) -> Window | None:
        return self._windows[index] if index < len(self._windows) else None

    def _state(self, node: Node, index: int) -> set[Key]:
        """The window whose carried state is needed, unless it is there or nothing is carried."""
        if index < 0 or not carries_state(node.stage):
            return set()
        return self._missing([state_key(node.name, index)], {(node.name, index)})

    def _chunks(self, array: str, span: Span) -> set[Key]:
        dimensions = len(self._log.layout.arrays[array].frame_shape)
        return self._missing(object_key(array, window, dimensions) for window, _ in self._log.covering(array, *span))

    def _missing(self, keys: Iterable[str], unwritten: set[Key] | None = None) -> set[Key]:
        """Who wrote those of the keys that are not there; `unwritten`: who should have, where nobody has."""
        writers = {key: self._log.writer_of(key) for key in keys}
        lost = {task for key, task in writers.items() if task is not None and not self._there(key, task)}
        return lost | (unwritten or set() if None in writers.values() else set())

    def _there(self, key: str, task: Key) -> bool:
        return key not in self._damage.lacking and not self._log.is_forgotten(task, key)


def _do_again(run: RunDirectory, executor: Executor, task: Task, damage: Damage) -> None:
    """Do a committed window again, compare it with its record, and put in place what is not there."""
    key = (task.node, task.window.index)
    record = run.log.commits[key]
    done = executor.run(task)
    found = store(run.arrays_at(SCRATCH), done.commit)
    wanted: Mapping[str, str] = record["digests"]
    wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    chain = executor.chain
    served = task.node in chain.picturing and any(node.stage.lane == "server" for node in chain.generators)
    if wrong and damage.let_go and not damage.keys and served:
        why = "the server gives other pictures than then"
        if _follows_redo(run.log, chain, *key):
            why = f"it went on from a window {key[1] - 1} that `skate redo` has replaced since"
        raise GeneratorError(
            f"{run.path}: window {key[1]} (counted from 0) was not kept and cannot be generated once more: {why} "
            f"({wrong[0]}); nothing has changed: begin again with another --out, where --keep all keeps what this needs"
        )
    if wrong and _follows_redo(run.log, chain, *key):
        raise RunDirectoryError(
            f"{run.path}: window {key[1]} (counted from 0) is damaged and cannot be made again: it was generated "
            f"after a window {key[1] - 1} that `skate redo` has replaced since ({wrong[0]}): "
            f"`skate generate {run.path} --out RUN2` generates all windows anew and keeps masks and poses"
        )
    if wrong or done.commit.info.get("sha256") != record["info"].get("sha256"):
        raise _mismatch(run.path, *key, wrong or [f"segments/{segment_of(record)}"])
    missing = [
        name for name in wanted if name in damage.lacking or (run.log.is_forgotten(key, name) and not is_block(name))
    ]
    run.take(SCRATCH, missing)
    if segment_of(record) in damage.segments:
        run.store.flush([f"segments/{segment_of(record)}"])
    run.store.delete_all(SCRATCH)


def _follows_redo(log: CommitLog, chain: Chain, name: str, index: int) -> bool:
    """Whether the window before was replaced: with ComfyUI this one continues the tail and colour of what it was."""
    before = [log.get(node.name, index - 1) for node in chain.generators]
    redone = any(record is not None and Request.of(record["info"]).seed is not None for record in before)
    return redone and name in chain.picturing


def _mismatch(path: Path, stage: str, window: int, keys: Sequence[str]) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path}: stage '{stage}' done again for window {window} gives other bytes than were recorded ({keys[0]}"
        f"{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}): the packages, the models or the machine changed; "
        "use those it was begun with (versions in run.json), or start anew with --overwrite"
    )


def _drop_again(run: RunDirectory, window: Window, wanted: Container[str]) -> None:
    """Delete again what was brought back for earlier windows and is no longer read: disk stays bounded.

    Args:
        wanted: the objects that were asked for.
    """
    for name, stop in run.log.dropped.items():
        if name in run.arrays.layout.arrays:
            keys = ((object_key(name, index, len(run.arrays.layout.arrays[name].frame_shape)), span)
                    for index, span in run.log.spans(name).items())  # fmt: skip
            first = min((span.start for key, span in keys if key in wanted), default=stop)
            run.arrays.drop_before(name, min(stop, first, window.read.start, window.final.start))
