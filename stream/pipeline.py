"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> composite -> blend -> sink -> score

Per window every node reads what earlier ones committed, works, and is committed: arrays, state, one journal record.
A node that has already committed a window is passed over, which is all there is to resuming.
"""

from collections.abc import Callable

from stages.base import GeneratorStage, Window
from storage.rundir import RunDirectory
from stream.engine.ahead import decoded_windows
from stream.engine.arenas import give_back_free_memory
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.order import begun_early, done_by
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
        by_turns: whether ours and a server's models have the GPU by turns.
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
        by_turns: bool = False,
        opened: OpenStages | None = None,
    ) -> None:
        self.run = run
        self.chain = chain
        self.plan = plan
        self.executor = Executor(run, chain, source, by_turns, opened)
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
            decoded = decoded_windows(self.run.log, self.plan, self.executor, self._commit, self.guard)
            tracked = begun_early(done_by(tracking, decoded, self._work), self._lookahead(), self._begin)
            window = None
            for window in done_by(making, tracked, self._work):
                if self.retry is not None and making:
                    self.retry(window, self._commit)
                self._release(window)
                if (window.index + 1) % GIVE_BACK_EVERY == 0:
                    give_back_free_memory()
            assert window is not None  # decode refuses a clip without frames
            self.executor.finish()
            return window.read.stop

    def _work(self, name: str, window: Window) -> None:
        """Let a node do the window, unless it has."""
        if self.run.log.get(name, window.index) is None:
            self._commit(self.executor.run(Task(name, window)))

    def _lookahead(self) -> int:
        """How many windows the generator begins before it is their turn."""
        stages = [node.stage for node in self.chain.generators[:1]]
        return max((stage.lookahead for stage in stages if isinstance(stage, GeneratorStage)), default=0)

    def _begin(self, window: Window) -> None:
        name = self.chain.generators[0].name
        if self.run.log.get(name, window.index) is None:
            self.executor.prefetch(Task(name, window))

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
