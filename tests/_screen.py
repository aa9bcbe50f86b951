"""A command on a pseudo-terminal, and what its screen shows: enough of a terminal for what this program writes."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Columns x rows of characters; what scrolls out at the top is kept.

    Understands printable text with wrapping at the edge, CR, LF, cursor up, and erase to the end of the screen.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._lines: list[str] = [""]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        """Show text as a terminal does."""
        for match in TOKEN.finditer(text):
            count, command, motion, shown = match.groups()
            if shown:
                self._print(shown)
            elif motion == "\r":
                self._column = 0
            elif motion == "\n":
                self._column = 0  # as the terminal driver makes CR LF of it
                self._down()
            elif command == "A":
                self._row = max(self._top(), self._row - int(count or 1))
            elif command == "J" and not count:
                self._lines = [*self._lines[: self._row], self._lines[self._row][: self._column]]
            else:
                raise AssertionError(f"the screen does not know {match[0]!r}")

    def _print(self, text: str) -> None:
        for letter in text:
            if self._column == self.columns:
                self._down()
                self._column = 0
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        while len(self._lines) <= self._row:
            self._lines.append("")

    def _top(self) -> int:
        """The first row that the cursor can reach."""
        return max(0, len(self._lines) - self.rows)

    @property
    def lines(self) -> list[str]:
        """Everything that was ever shown and not replaced, without the empty lines at the end."""
        found = [line.rstrip() for line in self._lines]
        while found and not found[-1]:
            found.pop()
        return found


def on_terminal(
    words: list[str], folder: Path, columns: int, rows: int, when: Callable[[Screen], bytes | None] | None = None
) -> tuple[int, Screen]:
    """Run a Python module with a terminal of this size as its stdin, stdout and stderr.

    Args:
        words: after `python -m`. folder: to run in.
        when: asked whenever something was written; the keys that it gives are typed, once.

    Returns:
        Exit code and the last screen.
    """
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    root = str(Path(__file__).resolve().parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": root, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    os.close(slave)
    screen, deadline, data = Screen(columns or 80, rows or 24), time.monotonic() + 240, b""
    try:
        while chunk := _read(master, deadline):
            data += chunk
            text = data.decode("utf-8", "ignore")
            whole = text[: text.rfind("\n") + 1]  # escape sequences are never split by a line's end
            data = text[len(whole) :].encode()
            screen.write(whole)
            keys = when(screen) if when is not None else None
            if keys:
                os.write(master, keys)
                when = None
        screen.write(data.decode())
        return process.wait(30), screen
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _read(master: int, deadline: float) -> bytes:
    """What is written next; empty when the other side is closed."""
    ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
    assert ready, "the command did not end"
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says EIO where the other side is closed
        return b""
