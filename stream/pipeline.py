"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> blend -> sink -> score

Per window every stage reads what earlier ones committed, works, and is committed: arrays, state, one journal record.
A stage that has already committed a window is passed over, which is all there is to resuming.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from stages.base import GeneratorStage, Stage, Window
from storage.rundir import RunDirectory
from stream.engine.ahead import DecodeAhead
from stream.engine.arenas import give_back_free_memory
from stream.engine.executor import Executor
from stream.engine.signals import InterruptShield
from stream.engine.source import FrameSource, InputGuard
from stream.engine.tasks import Done, OpenStages, Task
from stream.engine.windows import WindowPlan
from stream.progress.events import Reporter

TRACKING = ("pose", "track")
GIVE_BACK_EVERY = 10  # windows: pages given back are touched anew, which each window would cost 1 to 2 % on a slow host
Retry = Callable[[Window, Callable[[Done], None]], None]
DROPPABLE = {"none": ("frames", "generated"), "frames": ("generated",), "all": ()}


class Pipeline:
    """Runs a chain of stages over a run directory until the clip ends.

    Args:
        run: the locked run directory.
        stages: decode first, then in order; each is opened only when it has something to do.
        plan: the clip's windows.
        source: gives frames again that were dropped from the store.
        reporter: told about every committed window.
        keep: "none", "frames" or "all": what is not dropped from the store.
        interrupts: holds an interruption back while something is committed.
        guard: tells when the input is no longer what it was; None: nobody looks.
        courtesy: whether ours and a server's models have the GPU by turns.
        opened: the same stages, some of them open already; None: all are closed.
    """

    def __init__(
        self,
        run: RunDirectory,
        stages: Sequence[Stage],
        plan: WindowPlan,
        source: FrameSource,
        reporter: Reporter,
        keep: str = "none",
        interrupts: InterruptShield | None = None,
        guard: InputGuard | None = None,
        courtesy: bool = False,
        opened: OpenStages | None = None,
    ) -> None:
        self.run = run
        self.decode = stages[0]
        self.tracking = [stage for stage in stages[1:] if stage.name in TRACKING]
        self.making = [stage for stage in stages[1:] if stage.name not in TRACKING]
        self.plan = plan
        self.executor = Executor(run, stages, source, courtesy, opened)
        self.reporter = reporter
        self.droppable = DROPPABLE[keep]
        self.interrupts = interrupts or InterruptShield()
        self.guard = guard
        self.retry: Retry | None = None

    def process(self) -> int:
        """Work through the clip; returns its length in frames."""
        with self.executor:
            self._open_early()
            window = None
            for window in self._tracked_windows():
                self._work(self.making, window)
                if self.retry is not None and self.making:
                    self.retry(window, self._commit)
                self._release(window)
                if (window.index + 1) % GIVE_BACK_EVERY == 0:
                    give_back_free_memory()
            assert window is not None  # decode refuses a clip without frames
            self.executor.finish()
            return window.read.stop

    def _open_early(self) -> None:
        """A generator that cannot work says so before anything is tracked, and every stage before anything is void."""
        early = [*self.making[:1], *(self.executor.stages.values() if self.run.pending else ())]
        self.executor.open_early([stage.name for stage in early])

    def _tracked_windows(self) -> Iterator[Window]:
        """Windows in which pose and track are done; where the generator works ahead, later ones are begun by then."""
        waiting: deque[Window] = deque()
        generator = next((stage for stage in self.making if isinstance(stage, GeneratorStage)), None)
        ahead = generator.lookahead if generator is not None else 0
        for window in self._decoded_windows():
            self._work(self.tracking, window)
            waiting.append(window)
            if ahead and generator is not None and self.run.log.get(generator.name, window.index) is None:
                self.executor.prefetch(Task(generator.name, window))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def _work(self, stages: Sequence[Stage], window: Window) -> None:
        """Let each stage do the window that has not done it."""
        for stage in stages:
            if self.run.log.get(stage.name, window.index) is None:
                self._commit(self.executor.run(Task(stage.name, window)))

    def _decoded_windows(self) -> Iterator[Window]:
        """Every window of the clip: those decoded before from the journal, the others as decoding goes on."""
        ahead = None
        index, last = 0, False
        while not last:
            record = self.run.log.get("decode", index)
            if record is not None:
                last = bool(record["info"]["last"])
                yield self.plan.at(index, record["span"][1], last)
            else:
                if ahead is None:
                    wanted = self.plan.at(index, self.plan.new_span(index).stop, last=False)
                    self.executor.make_ready(Task(self.decode.name, wanted))
                    ahead = DecodeAhead(self.decode, self.plan, index)
                    self.executor.on_exit(ahead.close)
                window = self._take_decoded(ahead, index)
                last = window.last
                yield window
            index += 1

    def _take_decoded(self, ahead: DecodeAhead, index: int) -> Window:
        """Commit the next decoded window; its frames are in the executor's hands alone afterwards."""
        decoded = ahead.take()
        if self.guard is not None:
            self.guard.check()
        output = decoded.output
        stop = self.plan.new_span(index).start + int(output.info["frames"])
        window = self.plan.at(index, stop, bool(output.info["last"]))
        task = Task(self.decode.name, window)
        self._commit(self.executor.done(task, output, decoded.state.to_parts(), decoded.seconds))
        return window

    def _commit(self, done: Done) -> None:
        stage, index = done.task.stage, done.task.window.index
        with self.interrupts.shield():
            record = self.executor.commit(done)
        self.reporter.window(record["n"], stage, index, done.span, done.seconds, record["info"])

    def _release(self, window: Window) -> None:
        """Drop frames that no later step reads; a shifted last window looks back as far as the window does."""
        if not self.droppable:
            return
        stop = window.read.stop if window.last else window.final.start
        with self.interrupts.shield():
            self.run.drop(self.droppable, stop)
