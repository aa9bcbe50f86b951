"""Progress on a terminal: a few lines at its bottom, drawn anew in place, with everything else written above them."""

import contextlib
import importlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from io import TextIOBase
from typing import IO

from storage.boundary import visible_lines
from storage.closing import Closing
from stream.progress.counts import Progress, memory_text
from stream.progress.events import Event, Note, RunBegins
from stream.progress.memory import peak_vram_bytes, rss_bytes

TICK_SECONDS = 1.0  # between drawings while nothing is committed: a sign of life
FALLBACK_SIZE = 80, 24  # where the terminal tells none, as that of `script` or a serial line
INDENT = " " * 9  # under the label of a note ("plan     ...") when it takes more than one line
BARS = ("█░", "#.")
UP, CLEAR_BELOW = "\x1b[{}A", "\x1b[J"  # ECMA-48: cursor up, erase to the end of the screen


def room(out: IO[str]) -> tuple[int, int]:
    """Columns and rows of a terminal without the last of each: some terminals wrap at the last column."""
    try:
        columns, rows = os.get_terminal_size(out.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return (columns or FALLBACK_SIZE[0]) - 1, (rows or FALLBACK_SIZE[1]) - 1


class Board:
    """Lines at the bottom of a terminal. Between calls the cursor stands at the beginning of the line below them.

    Args:
        out: the terminal.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._shown: list[str] = []

    def size(self) -> tuple[int, int]:
        """Columns and rows that may be written."""
        return room(self._out)

    def draw(self, lines: Sequence[str], above: Sequence[str] = ()) -> None:
        """Replace what is shown by `lines`, the last ones where there are more than rows; `above` scrolls away.

        A terminal that was closed shows nothing, and nothing fails for that.
        """
        columns, rows = self.size()
        shown = [line[:columns] for line in lines][-rows:]
        text = self._start(columns) + "".join(f"{line}\n" for line in (*above, *shown))
        self._shown = shown
        with contextlib.suppress(OSError):
            self._out.write(text)
            self._out.flush()

    def _start(self, columns: int) -> str:
        """Moves to the first of the lines that are shown and erases them; a narrower terminal has wrapped them."""
        rows = sum(max(1, -(-len(line) // (columns + 1))) for line in self._shown)
        return "\r" + (UP.format(rows) if rows else "") + CLEAR_BELOW


class _Above(TextIOBase):
    """Stands in for stderr while lines are shown: warnings and the like go above them, line by line."""

    def __init__(self, told: "TerminalLines") -> None:
        self._told = told
        self._part = ""

    def write(self, text: str) -> int:
        *whole, self._part = (self._part + text).split("\n")
        for line in whole:
            self._told.note(line)
        return len(text)

    def finish(self) -> None:
        """Show what has no end of line."""
        if self._part:
            self.write("\n")


class TerminalLines(Closing):
    """One line a stage, the whole run and the IoU so far, at the bottom of stderr's terminal.

    Args:
        out: the terminal; stderr when it is None.
        tick_seconds: how often the lines are drawn while nothing is committed; 0 = never.
    """

    def __init__(self, out: IO[str] | None = None, tick_seconds: float = TICK_SECONDS) -> None:
        self._out = out or sys.stderr
        self._board = Board(self._out)
        self._progress = Progress()
        self._glyphs = next(bar for bar in BARS if _can_write(self._out, bar))
        self._lock = threading.RLock()  # the generator's steps come from a thread of their own, ticks too
        self._tick_seconds = tick_seconds
        self._ended = threading.Event()
        self._started: float | None = None
        self._ticker: threading.Thread | None = None
        self._above = _Above(self)
        self._redirected = contextlib.ExitStack()
        if os.name == "nt":
            importlib.import_module("colorama").just_fix_windows_console()

    def __call__(self, event: Event) -> None:
        """Show the event: a note above the lines that stay, everything else in them."""
        if isinstance(event, Note):
            self.note(event.text)
            return
        with self._lock:
            self._progress(event)
            if isinstance(event, RunBegins):
                self._started = time.monotonic()
            self._redraw()
        if isinstance(event, RunBegins):
            self._stay()

    def _stay(self) -> None:
        """From now on everything else on stderr is written above the lines, and they show signs of life."""
        if sys.stderr is self._out:
            self._redirected.enter_context(contextlib.redirect_stderr(self._above))
        if self._tick_seconds:
            ticker = threading.Thread(target=self._tick, name="skate-progress", daemon=True)
            ticker.start()
            self._ticker = ticker  # not before: where Ctrl-C comes in between there is nothing that could be joined

    def note(self, text: str) -> None:
        """Write lines above those that stay, wrapped between words."""
        with self._lock:
            columns, _ = self._board.size()
            rows = [row for line in visible_lines(text).rstrip("\n").split("\n") for row in wrapped(line, columns)]
            self._redraw(rows)

    def close(self) -> None:
        """Leave the lines as they stand at last; what is written later comes below them."""
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
        with self._lock:
            self._redirected.close()
            self._above.finish()
            if self._started is not None:
                self._redraw()
                self._started = None
                self._board = Board(self._out)

    def _redraw(self, above: Sequence[str] = ()) -> None:
        lines: list[str] = []
        if self._started is not None:
            memory = memory_text(rss_bytes(), peak_vram_bytes())
            seconds, columns = time.monotonic() - self._started, self._board.size()[0]
            lines = self._progress.lines(seconds, memory, columns, self._glyphs, self._ended.is_set())
        self._board.draw(lines, above)

    def _tick(self) -> None:
        while not self._ended.wait(self._tick_seconds):
            with self._lock:
                self._redraw()


def wrapped(line: str, columns: int) -> list[str]:
    """The line in pieces that fit; a path or command longer than the terminal stays in one, to be copied."""
    if len(line) <= columns:
        return [line]
    return textwrap.wrap(
        line, columns, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False, drop_whitespace=True,
    )  # fmt: skip


def fitting(text: str) -> str:
    """Lines for stdout: in pieces that fit where it is a terminal, else as they are."""
    if not sys.stdout.isatty():
        return text
    columns = room(sys.stdout)[0]
    return "\n".join(piece for line in text.splitlines() for piece in wrapped(line, columns))


def _can_write(out: IO[str], text: str) -> bool:
    try:
        text.encode(getattr(out, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
