"""Decoding of the next window while this one is being worked on, through a bounded queue."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.base import Inputs, Stage, Window
from storage.log import CommitLog
from stream.engine.executor import Executor
from stream.engine.source import InputGuard
from stream.engine.tasks import Done, Ready, Task, Worked
from stream.engine.windows import WindowPlan, window_of


@dataclass(frozen=True)
class Decoded:
    """One window as the decode stage returned it."""

    window: Window
    worked: Worked


class DecodeAhead:
    """Runs the decode stage in a thread of its own, at most `depth` windows ahead of what was taken.

    The stage is open and its state set; from `start` until `close` it belongs to the thread.
    """

    def __init__(self, stage: Stage, plan: WindowPlan, before: Window | None, depth: int = 1) -> None:
        """
        Args:
            before: the last window that is decoded already, None at the start.
        """
        self._stage = stage
        self._plan = plan
        self._before = before
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
            while not self._stop.is_set() and (self._before is None or not self._before.last):
                wanted = self._plan.after(self._before)
                worked = Ready(Task(self._stage.name, wanted), self._stage, Inputs()).work()
                self._before = self._plan.decoded(wanted, worked.output.info)
                self.hand_over(Decoded(self._before, worked))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that takes, which raises it
            self._queue.put(error)


def decoded_windows(
    log: CommitLog,
    plan: WindowPlan,
    executor: Executor,
    commit: Callable[[Done], None],
    guard: InputGuard | None = None,
) -> Iterator[Window]:
    """Every window of the clip: those decoded before from the journal, the others as decoding goes on.

    Args:
        commit: makes what is decoded durable; its frames are in the executor's hands alone afterwards.
        guard: tells when the input is no longer what it was.
    """
    source = executor.chain.source
    ahead: DecodeAhead | None = None
    window: Window | None = None
    while window is None or not window.last:
        record = log.get(source.name, 0 if window is None else window.index + 1)
        if record is not None:
            window = window_of(record)
        else:
            if ahead is None:
                executor.make_ready(Task(source.name, plan.after(window)))
                ahead = DecodeAhead(source.stage, plan, window)
                executor.on_exit(ahead.close)
            decoded = ahead.take()
            if guard is not None:
                guard.check()
            window = decoded.window
            commit(executor.done(Task(source.name, window), decoded.worked))
            del decoded
        yield window
