"""Decoding of the next window while this one is being worked on, through a bounded queue."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stages.base import Inputs, Stage, Window
from storage.log import CommitLog
from storage.records import Record
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

    def __init__(
        self,
        stage: Stage,
        plan: WindowPlan,
        before: Window | None,
        depth: int = 1,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            before: the last window that is decoded already, None at the start.
            tell: called, in that thread, whenever there is something to take.
        """
        self._stage = stage
        self._tell = tell
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
        self._tell()

    @property
    def is_ready(self) -> bool:
        """Whether `take` would not wait."""
        return not self._queue.empty()

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
            self._tell()


class DecodedWindows:
    """The windows of a clip, in order: those decoded before from the journal, the others as decoding goes on.

    Args:
        commit: makes what is decoded durable; its frames are in the executor's hands alone afterwards.
        guard: tells when the input is no longer what it was.
        tell: called, in another thread, whenever a window may be taken without waiting.

    Attributes:
        broken: why there are no more; None: nothing is wrong.
    """

    def __init__(
        self,
        log: CommitLog,
        plan: WindowPlan,
        executor: Executor,
        commit: Callable[[Done], None],
        guard: InputGuard | None = None,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self.broken: Exception | None = None
        self._log, self._plan, self._executor, self._commit = log, plan, executor, commit
        self._guard, self._tell = guard, tell
        self._source = executor.chain.source
        self._ahead: DecodeAhead | None = None
        self._before: Window | None = None

    @property
    def is_ready(self) -> bool:
        """Whether `take` would not wait."""
        return self._record() is not None or self._begun().is_ready

    def take(self) -> Window | None:
        """The next window, decoded and committed; None: it cannot be decoded, `broken` says why."""
        record = self._record()
        if record is not None:
            self._before = window_of(record)
            return self._before
        try:
            decoded = self._begun().take()
            if self._guard is not None:
                self._guard.check()
        except Exception as error:  # noqa: BLE001 - raised by who takes, once what can be done without is done
            self.broken = error
            return None
        task = Ready(Task(self._source.name, decoded.window), self._source.stage, Inputs())
        self._commit(self._executor.take(task, decoded.worked))
        self._before = decoded.window
        return decoded.window

    def _record(self) -> Record | None:
        return self._log.get(self._source.name, 0 if self._before is None else self._before.index + 1)

    def _begun(self) -> DecodeAhead:
        """The thread that decodes; started when the first window is asked for that the journal does not have."""
        if self._ahead is None:
            self._executor.make_ready(Task(self._source.name, self._plan.after(self._before)))
            self._ahead = DecodeAhead(self._source.stage, self._plan, self._before, tell=self._tell)
            self._executor.on_exit(self._ahead.close)
        return self._ahead
