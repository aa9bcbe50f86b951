"""What works side by side: a thread a lane, one task each; or, where nothing is to overlap, the caller's own thread."""

import ctypes
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from stream.engine.tasks import Ready, Worked

JOIN_SECONDS = 0.1  # between two looks whether a thread that is to end has ended
GRACE_SECONDS = 15.0  # what a server is told at the end takes two requests
TORCH = "gpu"  # the lane of all models' work, with or without a GPU


@dataclass(frozen=True)
class Ended:
    """A task whose work has ended: with what came of it, or with what was raised."""

    ready: Ready
    worked: Worked | None = None
    error: BaseException | None = None


class Lanes:
    """Carries out the work of tasks, as many at a time in each lane as it has slots.

    All work of models of ours is done in one thread of its own, so that no two stages use one model at a time.

    Args:
        slots: by lane, how many tasks it works on at a time. None: everything is done here, one after the other.
    """

    def __init__(self, slots: Mapping[str, int] | None) -> None:
        self.side_by_side = slots is not None
        self.busy: Counter[str] = Counter()
        self._slots = dict(slots or {})
        self._events: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()
        self._jobs: dict[str, queue.SimpleQueue[tuple[Ready, queue.SimpleQueue[Ended | None]] | None]] = {}
        self._threads: list[threading.Thread] = []
        self._working: dict[int, Ready] = {}  # by thread
        self._closed = False  # nothing is begun any more
        for lane, count in self._slots.items():
            self._jobs[lane] = queue.SimpleQueue()
            self._threads += [
                threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}-{place}", daemon=True)
                for place in range(count)
            ]
        for thread in self._threads:
            thread.start()

    def is_free(self, lane: str) -> bool:
        """Whether a task of this lane would be begun at once."""
        return self.busy[lane] < self._slots[lane] if self.side_by_side else not self.busy.total()

    def start(self, ready: Ready) -> None:
        """Begin a task; `ended` tells once it has ended."""
        lane = ready.lane
        self.busy[lane] += 1
        if self.side_by_side:
            self._jobs[lane].put((ready, self._events))
        else:
            self._events.put(Ended(ready, ready.work()))

    def ended(self) -> Ended | None:
        """Wait for the next task that ends, or for `wake`: None."""
        event = self._events.get()
        if event is not None:
            self.busy[event.ready.lane] -= 1
        return event

    def wake(self) -> None:
        """Have `ended` return; from whichever thread."""
        self._events.put(None)

    def carry_out(self, ready: Ready) -> Worked:
        """Do a task and wait for it, in the thread of our models where it is theirs."""
        if not self.side_by_side or ready.lane != TORCH:
            return ready.work()
        answer: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()
        self._jobs[TORCH].put((ready, answer))
        ended = answer.get()
        assert ended is not None
        if ended.error is not None:
            raise ended.error
        assert ended.worked is not None
        return ended.worked

    def close(self) -> None:
        """Interrupt what is under way and wait until every thread has ended: then stages can be closed.

        A thread that waits for a server which does not answer is left behind after `GRACE_SECONDS`.
        """
        self._closed = True
        for lane, count in self._slots.items():
            for _ in range(count):
                self._jobs[lane].put(None)
        leave = {thread: time.monotonic() + GRACE_SECONDS for thread, ready in list(self._working.items())
                 if not ready.conditions and ready.stage.interrupt()}  # fmt: skip
        for thread in list(self._working):
            if thread not in leave:
                _interrupt(thread)
        for running in self._threads:
            while running.is_alive() and time.monotonic() < leave.get(running.ident or 0, math.inf):
                try:
                    running.join(JOIN_SECONDS)
                except KeyboardInterrupt:  # once more: no server is waited for; a stage of ours must not work on
                    leave = dict.fromkeys(leave, 0.0)
        self._threads.clear()

    def _work(self, lane: str) -> None:
        thread = threading.get_ident()
        try:
            while (job := self._jobs[lane].get()) is not None:
                ready, answer = job
                self._working[thread] = ready  # before the look: who is past it is seen and interrupted by `close`
                if self._closed:
                    self._working.pop(thread, None)
                    return
                try:
                    event = Ended(ready, ready.work())
                except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
                    event = Ended(ready, error=error)
                self._working.pop(thread, None)
                answer.put(event)
                del job, ready, event  # the next job may be long in coming
        except KeyboardInterrupt:  # of `close`, which came as the work had just ended
            return


def _interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in another thread, as Ctrl-C does in the main one: before its next line of Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
