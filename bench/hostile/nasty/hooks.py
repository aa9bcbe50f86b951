"""Called in a forked child before the command (`tests/_zygote.py`): what runs out, jumps, or is not there."""

import itertools
import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

YEARS = 365 * 86400.0


def surroundings(
    environment: Mapping[str, str | None] | None = None,
    limits: Mapping[str, int] | None = None,
    mask: int | None = None,
    closed: Sequence[int] = (),
    full: Sequence[int] = (),
    folder: str = "",
    gone: bool = False,
) -> None:
    """Set all of it.

    Args:
        environment: variables; None unsets. limits: of `resource`, by name. mask: umask. closed: descriptors.
        full: descriptors that have no room. folder: to work in. gone: and to remove then.
    """
    for name, value in (environment or {}).items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = None
    if folder:
        os.chdir(folder)
        if gone:
            Path(folder).rmdir()
    if mask is not None:
        os.umask(mask)
    for descriptor in closed:
        os.close(descriptor)
    for descriptor in full:
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
    for name, most in (limits or {}).items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most, hard))


CLOCKS: dict[str, Callable[[float, int], float]] = {
    "back": lambda now, count: now - 10.0 * count,
    "ten years back": lambda now, count: now - 10 * YEARS,
    "1970": lambda now, count: 1.0,
    "before 1970": lambda now, count: -YEARS - count,
    "ten thousand years on": lambda now, count: now + 8000 * YEARS,
    "to and fro": lambda now, count: now + (-1) ** count * YEARS,
    "stands": lambda now, count: 1.7e9,
    "1e18": lambda now, count: 1e18,
}


def clock(kind: str) -> None:
    """The wall clock is not what it was."""
    real, counter = time.time, itertools.count()

    def now() -> float:
        return CLOCKS[kind](real(), next(counter))

    time.time = now
    time.time_ns = lambda: int(now() * 1e9)


def waits_at_commit(commits: int, reached: str, go: str) -> None:
    """In its n-th commit the process tells so, and waits until it is let go."""
    from _hooks import _at_commit

    def act() -> None:
        Path(reached).write_text(str(os.getpid()))
        end = time.monotonic() + 90
        while not Path(go).exists() and time.monotonic() < end:
            time.sleep(0.02)

    _at_commit(commits, act)


def signalled(numbers: Sequence[int], seconds: float) -> None:
    """Signals come, one after the other; a stopped process goes on after a moment."""

    def send() -> None:
        time.sleep(seconds)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(seconds)

    if signal.SIGSTOP in numbers:
        if os.fork() == 0:
            parent = os.getppid()
            for number in numbers:
                time.sleep(seconds)
                os.kill(parent, number)
            os._exit(0)
        return
    threading.Thread(target=send, daemon=True).start()


def none_there(name: str) -> None:
    """A module that is not installed."""
    import sys

    gone: Any = None
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]
    sys.modules[name] = gone
