"""Many looks of one tracking: each variation is a run of its own, made by a process of its own.

As many processes work at a time as there are servers, each with another server first; what one server cannot do while
another is dead, or what one variation gets wrong, stops no other. A variation that is there already is continued, and a
finished one only reported: the same command again does nothing twice.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import Interrupted

STOP_SECONDS = 30.0  # in which a process that is told to stop commits what it has


@dataclass(frozen=True)
class Variation:
    """What one look has otherwise.

    Attributes:
        name: of its folder. words: options of `skate generate`, as on the command line.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """How a variation ended.

    Attributes:
        name: its own. code: of its process. done: the last line of `skate generate --json`; None where it failed.
        message: why it failed; empty where it did not.
    """

    name: str
    code: int
    done: Mapping[str, Any] | None
    message: str


class Workers:
    """Processes of `skate generate`, a few at a time.

    Args:
        command: of one variation, without its own options.
        servers: all of them; a process begins with the one of its place. none: one process at a time.
        tell: called with a variation's name and each of its lines, from whichever thread.
    """

    def __init__(self, command: Sequence[str], servers: Sequence[str], tell: Callable[[str, str], None]) -> None:
        self._command = list(command)
        self._servers = list(servers)
        self._tell = tell
        self._running: set[subprocess.Popen[str]] = set()
        self._free = list(range(max(1, len(self._servers))))
        self._lock = threading.Lock()
        self._stopped = False

    def make(self, variations: Sequence[Variation], folder: Path) -> list[Made]:
        """Make all; returns how each ended, in their order.

        Raises:
            Interrupted: when this process is; what is committed is kept.
        """
        with ThreadPoolExecutor(len(self._free), "variation") as pool:
            futures = [pool.submit(self._one, variation, folder) for variation in variations]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, variation: Variation, folder: Path) -> Made:
        with self._lock:
            place = self._free.pop(0)
        try:
            turned = self._servers[place:] + self._servers[:place]
            servers = [word for server in turned for word in ("--server", server)]
            words = [*self._command, "--out", str(folder / variation.name), *servers, *variation.words, "--json"]
            return self._follow(variation.name, words)
        finally:
            with self._lock:
                self._free.insert(0, place)

    def _follow(self, name: str, words: list[str]) -> Made:
        with self._lock:
            if self._stopped:
                raise Interrupted("interrupted: what is committed is kept, the same command continues")
            process = subprocess.Popen(
                words,
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
                self._tell(name, line.rstrip("\n"))
                with contextlib.suppress(ValueError):
                    last = json.loads(line)
            errors.join()
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        done = last if last is not None and last.get("event") == "done" else None
        told = str(last["message"]) if last is not None and last.get("event") == "error" else ""
        return Made(name, code, done, told or ("" if done is not None else f"ended with code {code} and said nothing"))

    def _notes(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._tell(name, line.rstrip("\n"))

    def _stop(self) -> None:
        """Tell all processes to stop at their next commit, and wait until they have."""
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


def generating(source: Path, config: Path) -> list[str]:
    """The command line of one variation, without what is its own."""
    return [sys.executable, "-m", "stream.cli", "generate", str(source), "--config", str(config)]
