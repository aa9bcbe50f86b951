"""Interruption: Ctrl-C and SIGTERM end the run between commits, never inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class InterruptShield:
    """While installed, SIGINT and SIGTERM raise KeyboardInterrupt, but only after the commit in hand.

    Outside the main thread (the Python API, tests) nothing is installed and `shield` does nothing.
    """

    def __init__(self) -> None:
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._shielded:
            self._pending = True
        else:
            raise KeyboardInterrupt
