"""Commands of this program, each in a process of its own: what one of them does wrong, or dies of, ends no other."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.errors import EnvironmentFault, Interrupted

SKATE = (sys.executable, "-P", "-m", "stream.cli")  # -P: nothing of the folder that it is called in is imported
STOPPED = "interrupted: what is committed is kept, the same command continues"
STOP_SECONDS = 30.0  # in which a process that is told to stop commits what it has

Tell = Callable[[str, str], None]
"""Called with a process's name and each of its lines, from whichever thread."""


@dataclass(frozen=True)
class Made:
    """How a command ended.

    Attributes:
        name: its own. code: of its process. done: the last line of `--json`; None where it failed.
        message: why it failed; empty where it did not.
    """

    name: str
    code: int
    done: Mapping[str, Any] | None
    message: str


class Children:
    """The processes under way.

    Args:
        tell: told all that they print.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def follow(self, name: str, words: Sequence[str]) -> Made:
        """Run a command of this program, `--json`, to its end.

        Raises:
            Interrupted: after `stop`.
        """
        with self._lock:
            if self._stopped:
                raise Interrupted(STOPPED)
            process = subprocess.Popen(
                [*words, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # where this process is killed they end at their next line
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        last: Mapping[str, Any] | None = None
        with process:
            errors = threading.Thread(target=self._notes, args=(name, process), daemon=True)
            errors.start()
            assert process.stdout is not None
            for line in process.stdout:
                self.tell(name, line.rstrip("\n"))
                with contextlib.suppress(ValueError):
                    last = json.loads(line)
            errors.join()
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        return made_of(name, code, last if isinstance(last, dict) else {})

    def _notes(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.tell(name, line.rstrip("\n"))

    def stop(self) -> None:
        """Tell all processes to stop at their next commit, and wait until they have; none is begun any more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def argument(text: str) -> str:
    """A path as an argument of a command: one that begins with a dash is no option."""
    return f"./{text}" if text.startswith("-") else text


@contextlib.contextmanager
def continued_by_itself() -> Iterator[None]:
    """Of a command that works through others: interrupted, it is not `skate resume` that continues it.

    Raises:
        Interrupted: in place of KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(STOPPED) from error


def made_of(name: str, code: int, last: Mapping[str, Any]) -> Made:
    """How it ended, from its exit code and its last line."""
    if last.get("event") == "done":
        return Made(name, code, last, "")
    if last.get("event") == "error":
        return Made(name, code, None, str(last["message"]))
    if code < 0:
        return Made(name, EnvironmentFault.exit_code, None, f"was killed by signal {-code}: the same command continues")
    return Made(name, code, None, f"ended with code {code} and said nothing")


def whole_code(codes: Iterable[int]) -> int:
    """The exit code of several commands: of the first that failed, else 1 where a gate did."""
    found = list(codes)
    return next((code for code in found if code not in (0, 1)), max(found, default=0))
