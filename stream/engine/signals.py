"""Ending a run early: Ctrl-C, SIGTERM, or a token that a caller holds; between commits, never inside one."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from storage.errors import Interrupted, UsageError


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


class InterruptShield:
    """While installed, SIGINT and SIGTERM raise KeyboardInterrupt, but only after the commit in hand.

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
        """Handle both signals until the block ends."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        for number in (signal.SIGINT, signal.SIGTERM):
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
        if self._shielded:
            self._pending = True
        else:
            raise KeyboardInterrupt
