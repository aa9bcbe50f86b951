"""Decoding of the next window while this one is being worked on, through a bounded queue."""

import queue
import threading
import time
from dataclasses import dataclass

from stages.base import Inputs, Output, Stage, State
from stream.engine.windows import WindowPlan


@dataclass(frozen=True)
class Decoded:
    """One window as the decode stage returned it, with the state that belongs to it."""

    index: int
    output: Output
    state: State
    seconds: float


class DecodeAhead:
    """Runs the decode stage in a thread of its own, at most `depth` windows ahead of what was taken.

    The stage is open and its state set; from `start` until `close` it belongs to the thread.
    """

    def __init__(self, stage: Stage, plan: WindowPlan, first: int, depth: int = 1) -> None:
        self._stage = stage
        self._plan = plan
        self._next = first
        self._queue: queue.Queue[Decoded | BaseException] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()

    def take(self) -> Decoded:
        """The next window, in order; raises what decoding raised."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def hand_over(self, decoded: Decoded) -> None:
        """Put a window into the queue, once there is room."""
        self._queue.put(decoded)

    def close(self) -> None:
        """Stop the thread and wait for it; may be called twice."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.05)

    def _work(self) -> None:
        try:
            last = False
            while not last and not self._stop.is_set():
                started = time.perf_counter()
                wanted = self._plan.at(self._next, self._plan.new_span(self._next).stop, last=False)
                output = self._stage.process(wanted, Inputs())
                seconds = time.perf_counter() - started
                self.hand_over(Decoded(self._next, output, self._stage.get_state(), seconds))
                last = bool(output.info["last"])
                self._next += 1
        except BaseException as error:  # noqa: BLE001 - handed to the thread that takes, which raises it
            self._queue.put(error)
