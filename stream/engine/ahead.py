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

    index: int
    worked: Worked


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
                task = Task(self._stage.name, self._plan.wanted(self._next))
                worked = Ready(task, self._stage, Inputs()).work()
                self.hand_over(Decoded(self._next, worked))
                last = bool(worked.output.info["last"])
                self._next += 1
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
    index, last = 0, False
    while not last:
        record = log.get(source.name, index)
        if record is not None:
            last = bool(record["info"]["last"])
            yield window_of(record)
        else:
            if ahead is None:
                executor.make_ready(Task(source.name, plan.wanted(index)))
                ahead = DecodeAhead(source.stage, plan, index)
                executor.on_exit(ahead.close)
            decoded = ahead.take()
            if guard is not None:
                guard.check()
            facts = decoded.worked.output.info
            last = bool(facts["last"])
            window = plan.at(index, plan.new_span(index).start + int(facts["frames"]), last)
            commit(executor.done(Task(source.name, window), decoded.worked))
            del decoded
            yield window
        index += 1
