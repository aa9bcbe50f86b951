"""Called in a forked child before the command (see `_zygote`): what goes wrong, and when."""

import errno
import os
import pkgutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storage import rundir


def _at_commit(commits: int, act: Any) -> None:
    count = 0
    original = rundir.RunDirectory.commit

    def commit(self: rundir.RunDirectory, work: rundir.Commit) -> Any:
        nonlocal count
        count += 1
        if count == commits:
            act()
        return original(self, work)

    rundir.RunDirectory.commit = commit  # type: ignore[method-assign]


def signal_after_commits(commits: int, number: int) -> None:
    """Send this process a signal while it makes its n-th commit."""
    signal.signal(number, signal.SIG_DFL)  # under `nohup` the tests ignore SIGHUP, and what they fork does
    _at_commit(commits, lambda: os.kill(os.getpid(), number))


def signals_at_commit(commits: int, numbers: Iterable[int]) -> None:
    """Send this process several signals in its n-th commit, one right after the other."""

    def act() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    _at_commit(commits, act)


def kill_at_commit(commits: int) -> None:
    """Kill this process right before its commit number `commits + 1`."""
    _at_commit(commits + 1, lambda: os.kill(os.getpid(), signal.SIGKILL))


def kill_at_call(name: str, calls: int = 1) -> None:
    """Kill this process where it calls "module:function" or "module:Class.method" for the n-th time."""
    owner, _, function = name.replace(":", ".").rpartition(".")
    found = pkgutil.resolve_name(owner)
    original, count = getattr(found, function), 0

    def call(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **named)

    setattr(found, function, call)


def at_decode_commit(window: int, action: str, path: str, other: str = "") -> None:
    """Do something to a file right before the decoded window is checked and committed.

    Args:
        window: which.
        action: "delete", "truncate" or "replace" (by `other`).
        path: the file.
    """
    from stream.engine import ahead

    original = ahead.DecodeAhead.take

    def take(self: ahead.DecodeAhead) -> ahead.Decoded:
        decoded = original(self)
        file = Path(path)
        if decoded.window.index == window:
            if action == "delete":
                file.unlink()
            elif action == "truncate":
                os.truncate(file, file.stat().st_size // 2)
            else:
                Path(other).replace(file)
        return decoded

    ahead.DecodeAhead.take = take  # type: ignore[method-assign]


def no_space(writes: int) -> None:
    """From the n-th write on, of an object or of anything that is flushed, the disk is full."""
    from storage.local import LocalBackend

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    count = 0

    def another() -> None:
        nonlocal count
        count += 1
        if count >= writes:
            raise full

    original_write, original_fsync = LocalBackend.write, os.fsync

    def write(self: LocalBackend, key: str, parts: Iterable[bytes]) -> str:
        another()
        return original_write(self, key, parts)

    def fsync(handle: int) -> None:
        another()
        original_fsync(handle)

    LocalBackend.write = write  # type: ignore[method-assign]
    os.fsync = fsync  # type: ignore[assignment]


def unplanned() -> None:
    """The plan takes every run to fit: what happens when the disk fills up all the same."""
    from stream.plan.plan import Plan

    Plan.check = lambda self: None  # type: ignore[method-assign]


def small_disk(free: int) -> None:
    """The plan sees so few free bytes."""
    from stream.plan import projection

    projection.free_disk_bytes = lambda out: free


def note_work(path: str) -> None:
    """Write what is worked on ("generate 3") and what is read of the arrays ("blocks/overlap/2") to a file, a line
    each, until the report is made: that is of the whole clip."""
    from storage.arrays import RunArrays
    from stream.engine.executor import Executor
    from stream.run import lifecycle

    finishing: list[None] = []

    def noted(kind: Any, name: str, line: Any) -> None:
        original = getattr(kind, name)

        def call(self: Any, *given: Any, **named: Any) -> Any:
            text = line(self, *given)
            if not finishing:
                with Path(path).open("a") as file:
                    file.write(f"{text}\n")
            return original(self, *given, **named)

        setattr(kind, name, call)

    noted(lifecycle, "finish_run", lambda *_: finishing.append(None))
    noted(Executor, "prepare", lambda _, task, *__: f"{task.node} {task.window.index}")
    noted(RunArrays, "_whole", lambda _, key, *__: key)
    noted(RunArrays, "_get", lambda _, name, key, *__: key)


def meanwhile(arguments: Iterable[str], at: str = "stream.run.lifecycle:announce_plan") -> None:
    """Another process of `skate` works from its begin to its end behind this one's first call of a function, which is
    the one with which it makes its plan."""
    owner, _, name = at.replace(":", ".").rpartition(".")
    module = pkgutil.resolve_name(owner)
    original, waiting = getattr(module, name), [list(arguments)]

    def call(*given: Any, **named: Any) -> Any:
        found = original(*given, **named)
        if not waiting:
            return found
        words = waiting.pop()
        other = os.fork()
        if other == 0:
            from stream.cli import main

            try:
                main(words)
            except SystemExit as error:
                os._exit(error.code if isinstance(error.code, int) else 70)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) in (0, 1)
        return found

    setattr(module, name, call)
