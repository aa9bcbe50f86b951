"""The servers of a run: which is free, which is dead, and moving a window from one to another."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from stages.server.client import ComfyClient
from stages.server.errors import ServerUnreachable
from storage.errors import Interrupted

T = TypeVar("T")
REVIVAL_SECONDS = 60.0  # after this long a dead server is asked again


class ServerPool:
    """Hands each window to the first server, in the order given, that is alive and idle."""

    def __init__(self, clients: Sequence[ComfyClient], stop: threading.Event) -> None:
        self.clients = list(clients)
        self._stop = stop
        self._changed = threading.Condition()
        self._busy: set[int] = set()
        self._dead: dict[int, float] = {}  # index -> when it was found dead (monotonic seconds)

    def alive(self) -> int:
        """How many servers are not known to be dead."""
        return len(self.clients) - len(self._dead)

    def run(self, work: Callable[[ComfyClient], T]) -> T:
        """Do `work` on a server; when it turns out dead, on the next one.

        Raises:
            ServerUnreachable: when all are dead, with what each said.
        """
        tried: dict[int, ServerUnreachable] = {}
        self._revive()
        while True:
            index = self._take(tried)
            client = self.clients[index]
            client.patience = client.timeouts.patience if self.alive() == 1 else client.timeouts.failover
            try:
                return work(client)
            except ServerUnreachable as error:
                tried[index] = error
                with self._changed:
                    self._dead[index] = time.monotonic()
            finally:
                with self._changed:
                    self._busy.discard(index)
                    self._changed.notify_all()

    def _revive(self) -> None:
        """Forget deaths long ago; all of them when no server is left (the run is being tried again)."""
        with self._changed:
            now = time.monotonic()
            everyone = len(self._dead) == len(self.clients)
            self._dead = {i: t for i, t in self._dead.items() if not everyone and now - t < REVIVAL_SECONDS}

    def _take(self, tried: dict[int, ServerUnreachable]) -> int:
        with self._changed:
            while True:
                usable = [i for i in range(len(self.clients)) if i not in self._dead and i not in tried]
                if not usable:
                    said = "; ".join(str(error) for error in tried.values())
                    if len(self.clients) == 1 and tried:
                        raise next(iter(tried.values()))
                    raise ServerUnreachable(f"none of the {len(self.clients)} ComfyUI servers is left: {said}")
                for index in usable:
                    if index not in self._busy:
                        self._busy.add(index)
                        return index
                self._changed.wait(0.25)
                if self._stop.is_set():
                    raise Interrupted("interrupted while waiting for a free ComfyUI server: `skate resume` continues")

    def each_alive(self, work: Callable[[ComfyClient], None]) -> None:
        """Do something on every server that is not known to be dead; an unreachable one is noted as dead.

        Raises:
            ServerUnreachable: when all are dead, with what each said.
        """
        said = []
        for index, client in enumerate(self.clients):
            if index in self._dead:
                continue
            client.patience = client.timeouts.failover  # nothing is under way yet that patience could save
            try:
                work(client)
            except ServerUnreachable as error:
                said.append(str(error))
                with self._changed:
                    self._dead[index] = time.monotonic()
        if len(self._dead) == len(self.clients):
            raise ServerUnreachable("; ".join(said) or "no ComfyUI server is left: see that one runs")
