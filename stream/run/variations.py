"""Many looks of one tracking: each variation is a run of its own, made by a process of its own.

As many processes work at a time as there are servers, each with another server first; what one server cannot do while
another is dead, or what one variation gets wrong, stops no other. A variation that is there already is continued, and a
finished one only reported: the same command again does nothing twice.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stream.run.children import Children, Made, Tell


@dataclass(frozen=True)
class Variation:
    """What one look has otherwise.

    Attributes:
        name: of its folder. words: options of `skate generate`, as on the command line.
    """

    name: str
    words: tuple[str, ...]


class Workers:
    """Processes of `skate generate`, a few at a time.

    Args:
        command: of one variation, without its own options.
        servers: all of them; a process begins with the one of its place. none: one process at a time.
        tell: called with a variation's name and each of its lines, from whichever thread.
    """

    def __init__(self, command: Sequence[str], servers: Sequence[str], tell: Tell) -> None:
        self._command = list(command)
        self._servers = list(servers)
        self._children = Children(tell)
        self._free = list(range(max(1, len(self._servers))))
        self._lock = threading.Lock()

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
                self._children.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, variation: Variation, folder: Path) -> Made:
        with self._lock:
            place = self._free.pop(0)
        try:
            turned = self._servers[place:] + self._servers[:place]
            servers = [word for server in turned for word in ("--server", server)]
            words = [*self._command, "--out", str(folder / variation.name), *servers, *variation.words]
            return self._children.follow(variation.name, words)
        finally:
            with self._lock:
                self._free.insert(0, place)
