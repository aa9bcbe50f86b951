"""Ending a run early: a signal, or a token that a caller holds; between commits, never inside one."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from storage.errors import Interrupted, UsageError


def asked_by() -> tuple[signal.Signals, ...]:
    """The signals that ask a program to end: SIGINT, SIGTERM, and a closed terminal's SIGHUP, but under `nohup`."""
    closed: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if closed is None or signal.getsignal(closed) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, closed


class Cancel:
    """Asks a run to end. Looked at after every commit, so what is committed is kept and `resume` continues.

    Args:
        deadline_seconds: from now on; the run ends at the first commit after them. None: no deadline.
    """

    def __init__(self, deadline_seconds: float | None = None) -> None:
        if deadline_seconds is not None and math.isnan(deadline_seconds):
            raise UsageError("Cancel: a deadline of NaN seconds never comes: give seconds, or None")
        self._asked = threading.Event()
        self._deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds

    def cancel(self) -> None:
        """Ask; may be called from any thread, any number of times."""
        self._asked.set()

    @property
    def due(self) -> bool:
        """Whether the run is to end now: it was asked to, or its deadline has passed."""
        return self._asked.is_set() or (self._deadline is not None and time.monotonic() >= self._deadline)

    def check(self) -> None:
        """Called after a commit.

        Raises:
            Interrupted: when the run is to end.
        """
        if self.due:
            raise Interrupted("cancelled: what is committed is kept, `skate resume` continues")


class Leaving:
    """A program's own handler of the signals that ask it to end: the first raises KeyboardInterrupt, the next ends it.

    A run can be killed anywhere; nobody who asks twice is to wait.

    Args:
        leave: ends the process.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.asked = False
        self._leave = leave

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._leave()
        self.asked = True
        raise KeyboardInterrupt

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle them until the block ends, or somebody else does; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self) for number in asked_by()}
        try:
            yield
        finally:
            for number, handler in before.items():
                if signal.getsignal(number) is self:
                    signal.signal(number, handler)


class InterruptShield:
    """While installed, SIGINT and the like raise KeyboardInterrupt, but only after the commit in hand; where `Leaving`
    handled them before, the second one is its.

    Outside the main thread (the Python API, tests) no signal is handled; there it is for `cancel` to end a run.

    Args:
        cancel: looked at after every commit.
    """

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel or Cancel()
        self._shielded = False
        self._pending = False
        self._previous: dict[signal.Signals, Any] = {}

    @contextmanager
    def installed(self) -> Iterator["InterruptShield"]:
        """Handle them until the block ends."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        for number in asked_by():
            self._previous[number] = signal.signal(number, self._handle)
        try:
            yield self
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            self._previous.clear()

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Hold an interruption back until the block has ended."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
            if self._pending:
                self._pending = False
                raise KeyboardInterrupt
        self._cancel.check()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        leaving = self._previous.get(signal.Signals(number))
        if isinstance(leaving, Leaving):
            if leaving.asked:
                leaving(number, frame)
            leaving.asked = True
        if self._shielded:
            self._pending = True
        else:
            raise KeyboardInterrupt
