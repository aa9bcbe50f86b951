"""What looks ahead into a window that is tracked anew: it is done again, and what reads it stands if it is the same.

A view of window k - 1 is fixed with what is seen in window k. After a correction in window k it is made again first of
all; only where it comes out other than it was, window k - 1 has to be generated, encoded and scored again as well.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from stages.base import Window
from storage.log import CommitLog
from storage.rundir import SCRATCH, RunDirectory, store
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.reach import void_from
from stream.engine.signals import InterruptShield
from stream.engine.tasks import Done, Task
from stream.engine.windows import beyond_shot, committed_windows
from stream.run.repair import repair_run


def settle(
    run: RunDirectory,
    before: CommitLog,
    begin: Callable[[RunDirectory], Executor],
    chain: Chain,
    interrupts: InterruptShield,
    note: Callable[[str], None],
) -> None:
    """Do again what others have gone beyond, and void what they made of it where it is other than it was.

    Args:
        run: locked; it is to replace another. before: that one's commits.
        begin: makes an executor of the run's chain. interrupts: holds interruptions back while something is committed.
        note: takes a line for the person who watches.
    """
    windows = committed_windows(run.log, chain.source.name)
    while (name := _overtaken(run.log, chain, windows)) is not None:
        repair_run(run, begin, note, before, _works_from(chain, name))
        with begin(run) as executor:
            while _overtaken(run.log, chain, windows) == name:
                task = Task(*_first_lacking(run.log, chain, windows, name))
                done = executor.run(task)
                with interrupts.shield():
                    if not _as_before(run, before, done):
                        _void_readers(run, chain, windows, task)
                    executor.commit(done)


def _overtaken(log: CommitLog, chain: Chain, windows: Sequence[Window]) -> str | None:
    """A node that looks ahead, and has to do windows again that others have read; None: there is none."""
    ahead = {node.name for node in chain if any(read.window > 0 for _, read in node.reads)} - {*chain.making}
    for node in chain:
        last = log.done(node.name) - 1
        for array, read in node.reads:
            writer, of = chain.writer(array), last + read.window
            if writer not in ahead or last < 0 or of >= len(windows) or _beyond(windows, last, read.window):
                continue
            if log.done(writer) <= of:
                return writer
    return None


def _works_from(chain: Chain, name: str) -> set[str]:
    """A node and all whose work it needs."""
    found, waiting = set[str](), {name}
    while waiting:
        node = chain[waiting.pop()]
        found.add(node.name)
        needed = {*node.facts.values(), *(chain.writer(array) or "" for array, _ in node.reads)}
        waiting |= {other for other in needed if other in chain and other not in found}
    return found


def _first_lacking(log: CommitLog, chain: Chain, windows: Sequence[Window], name: str) -> tuple[str, Window]:
    """What has to be done first before this node can do its next window, or that."""
    index = log.done(name)
    for array, read in chain[name].reads:
        writer, of = chain.writer(array), index + max(0, read.window)
        if writer is None or of >= len(windows) or _beyond(windows, index, read.window):
            continue
        if log.done(writer) <= of:
            return _first_lacking(log, chain, windows, writer)
    for other in chain[name].facts.values():
        if other in chain and log.done(other) <= index:
            return _first_lacking(log, chain, windows, other)
    return name, windows[index]


def _beyond(windows: Sequence[Window], index: int, offset: int) -> bool:
    known = dict(enumerate(windows))
    return beyond_shot(windows[index], offset, known.get)


def _as_before(run: RunDirectory, before: CommitLog, done: Done) -> bool:
    """Whether what others read of this work is what it was in the run before."""
    record = before.get(done.commit.stage, done.commit.window)
    found = store(run.arrays_at(SCRATCH), done.commit)
    run.store.delete_all(SCRATCH)
    return (
        record is not None
        and _read_by_others(found) == _read_by_others(record["digests"])
        and json.loads(json.dumps(done.commit.info)) == record["info"]
    )


def _read_by_others(digests: Any) -> dict[str, str]:
    return {key: value for key, value in digests.items() if not key.startswith("state/")}


def _void_readers(run: RunDirectory, chain: Chain, windows: Sequence[Window], task: Task) -> None:
    """Void what was made of this window of a node."""
    found = void_from(chain, windows, {task.node: task.window.index})
    stages = [name for name in chain.names if name != task.node and found.get(name, len(windows)) < run.log.done(name)]
    if stages:  # in one record: a kill leaves all or nothing of it
        run.revoke(stages, min(found[name] for name in stages))
