"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> composite -> blend -> sink -> score

Per window every node reads what earlier ones committed, works, and is committed: arrays, state, one journal record.
A node that has already committed a window is passed over, which is all there is to resuming.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from stages.base import GeneratorStage, Window
from storage.rundir import RunDirectory
from stream.engine.ahead import DecodeAhead
from stream.engine.arenas import give_back_free_memory
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.signals import InterruptShield
from stream.engine.source import FrameSource, InputGuard
from stream.engine.tasks import Done, OpenStages, Task
from stream.engine.windows import WindowPlan
from stream.progress.events import Reporter

GIVE_BACK_EVERY = 10  # windows: pages given back are touched anew, which each window would cost 1 to 2 % on a slow host
Retry = Callable[[Window, Callable[[Done], None]], None]


class Pipeline:
    """Runs a chain over a run directory until the clip ends.

    Args:
        run: the locked run directory.
        chain: each of its stages is opened only when it has something to do.
        plan: the clip's windows.
        source: gives frames again that were dropped from the store.
        reporter: told about every committed window.
        keep: "none", "frames" or "all": what is not dropped from the store.
        interrupts: holds an interruption back while something is committed.
        guard: tells when the input is no longer what it was; None: nobody looks.
        courtesy: whether ours and a server's models have the GPU by turns.
        opened: the chain's stages, some of them open already; None: all are closed.
    """

    def __init__(
        self,
        run: RunDirectory,
        chain: Chain,
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
        self.chain = chain
        self.plan = plan
        self.executor = Executor(run, chain, plan, source, courtesy, opened)
        self.reporter = reporter
        self.droppable = chain.droppable(keep)
        self.interrupts = interrupts or InterruptShield()
        self.guard = guard
        self.retry: Retry | None = None

    def process(self) -> int:
        """Work through the clip; returns its length in frames."""
        with self.executor:
            # A generator that cannot work says so before anything is tracked.
            self.executor.open_early([node.name for node in self.chain.generators[:1]])
            tracking, making = self.chain.lags()
            window = None
            for window in self._done_by(making, self._begun(self._done_by(tracking, self._decoded_windows()))):
                if self.retry is not None and making:
                    self.retry(window, self._commit)
                self._release(window)
                if (window.index + 1) % GIVE_BACK_EVERY == 0:
                    give_back_free_memory()
            assert window is not None  # decode refuses a clip without frames
            self.executor.finish()
            return window.read.stop

    def _done_by(self, lags: Mapping[str, int], windows: Iterable[Window]) -> Iterator[Window]:
        """Windows that all these nodes have done: one that reads the window after works a window behind the others."""
        most = max(lags.values(), default=0)
        seen: deque[Window] = deque(maxlen=most + 1)
        for window in windows:
            seen.append(window)
            for name, lag in lags.items():
                if lag < len(seen):
                    self._work(name, seen[-1 - lag])
            if len(seen) > most:
                yield seen[0]
        for behind in reversed(range(min(most, len(seen)))):  # the clip has ended: nothing comes behind the last window
            for name, lag in lags.items():
                if most - lag <= behind:
                    self._work(name, seen[-1 - behind])
            yield seen[-1 - behind]

    def _begun(self, windows: Iterable[Window]) -> Iterator[Window]:
        """The windows, while a generator that works ahead has begun later ones."""
        generator = next((node for node in self.chain.generators), None)
        stage = generator.stage if generator is not None else None
        ahead = stage.lookahead if isinstance(stage, GeneratorStage) else 0
        waiting: deque[Window] = deque()
        for window in windows:
            waiting.append(window)
            if ahead and generator is not None and self.run.log.get(generator.name, window.index) is None:
                self.executor.prefetch(Task(generator.name, window))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def _work(self, name: str, window: Window) -> None:
        """Let a node do the window, unless it has."""
        if self.run.log.get(name, window.index) is None:
            self._commit(self.executor.run(Task(name, window)))

    def _decoded_windows(self) -> Iterator[Window]:
        """Every window of the clip: those decoded before from the journal, the others as decoding goes on."""
        decode, ahead = self.chain.source, None
        index, last = 0, False
        while not last:
            record = self.run.log.get(decode.name, index)
            if record is not None:
                last = bool(record["info"]["last"])
                yield self.plan.at(index, record["span"][1], last)
            else:
                if ahead is None:
                    wanted = self.plan.at(index, self.plan.new_span(index).stop, last=False)
                    self.executor.make_ready(Task(decode.name, wanted))
                    ahead = DecodeAhead(decode.stage, self.plan, index)
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
        task = Task(self.chain.source.name, window)
        self._commit(self.executor.done(task, output, decoded.state.to_parts(), decoded.seconds))
        return window

    def _commit(self, done: Done) -> None:
        with self.interrupts.shield():
            record = self.executor.commit(done)
        task = done.task
        self.reporter.window(record["n"], task.node, task.window.index, done.span, done.seconds, record["info"])

    def _release(self, window: Window) -> None:
        """Drop frames that no later step reads; a shifted last window looks back as far as the window does."""
        if self.droppable:
            with self.interrupts.shield():
                self.run.drop(self.droppable, window.read.stop if window.last else window.final.start)
