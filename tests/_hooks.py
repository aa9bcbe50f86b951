"""Called in a forked child before the command (see `_zygote`): what goes wrong, and when."""

import os
import signal
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
    _at_commit(commits, lambda: os.kill(os.getpid(), number))


def kill_at_commit(commits: int) -> None:
    """Kill this process right before its commit number `commits + 1`."""
    _at_commit(commits + 1, lambda: os.kill(os.getpid(), signal.SIGKILL))
